"""What a worker does behind its guards: wait for a request, run the app on the tile in the slot, answer. Edge code."""

# The worker owns the slot from a request to its reply (payloads/worker/wire.py). The app sees the tile as a read-only
# view of the slot, without a copy, so the view is valid during the call only. Answer and product are put into the slot
# before the reply is sent: when the node reads the reply, they are there.

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import sys
import time

import numpy as np

from payloads.apps.base import WorkerApp
from payloads.worker.packing import answer_octets, product_of
from payloads.worker.settings import Failed, WorkerSettings, find_app, guarded
from payloads.worker.wire import MESSAGE_OCTETS_MAX, Answer, Request, SlotShape, Status


def serve(control: socket.socket, slot_fd: int, settings: WorkerSettings) -> int:
    """Start the app and answer requests until the parent closes its end. Returns the process's exit code."""
    shape = settings.shape
    with mmap.mmap(slot_fd, shape.octets) as slot:
        started_ns = time.monotonic_ns()
        app = guarded(settings.code, lambda: find_app(settings.code)(settings.app_settings()))
        if isinstance(app, Failed):
            control.send(Answer(Status.NOT_READY, 0, os.getpid(), detail=app.detail).encode())
            return 3
        control.send(Answer(Status.READY, 0, os.getpid(), time.monotonic_ns() - started_ns).encode())
        while raw := control.recv(MESSAGE_OCTETS_MAX):
            _begin_log()
            control.send(_answer(app, settings, Request.decode(raw), slot, shape).encode())
    return 0


def _begin_log() -> None:
    """Have what is printed start at the beginning of the log again."""
    # The log has a fixed size, and if this request fails, what it printed is what somebody will ask for.
    with contextlib.suppress(OSError, ValueError, AttributeError):  # the app filled it, closed it, or took it away
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.lseek(1, 0, os.SEEK_SET)


def _answer(app: WorkerApp, settings: WorkerSettings, request: Request, slot: mmap.mmap, shape: SlotShape) -> Answer:
    """Run the app on the tile in the slot, and put answer and product into the slot."""
    count = request.bands * request.height * request.width
    tile = np.frombuffer(slot, dtype=np.uint16, count=count).reshape(request.bands, request.height, request.width)
    tile.flags.writeable = False
    started_ns = time.monotonic_ns()
    answer = guarded(settings.code, lambda: answer_octets(app.ANSWER, app.run(tile), (request.height, request.width)))
    infer_ns = time.monotonic_ns() - started_ns
    if isinstance(answer, Failed):
        return Answer(answer.status, request.sequence, os.getpid(), infer_ns, detail=answer.detail)
    product = product_of(app.ANSWER, answer, tile, request, settings.name)
    pack_ns = time.monotonic_ns() - started_ns - infer_ns
    slot[shape.answer_at : shape.answer_at + len(answer)] = answer
    slot[shape.product_at : shape.product_at + len(product)] = product
    return Answer(Status.DONE, request.sequence, os.getpid(), infer_ns, pack_ns, len(answer), len(product))
