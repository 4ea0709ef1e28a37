"""One worker process: wait for a request, run the app on the slot, answer. Edge code.

Started by payloads/pool.py as `python -m payloads.worker CONTROL_FD SLOT_FD PARENT_PID SETTINGS`. It dies with
its parent, whatever ends that: the control socket gives end of file, and the kernel kills a worker that is
computing (PR_SET_PDEATHSIG). Ctrl-C is the parent's business.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from payloads.apps.base import BadOutput, WorkerApp
from payloads.product import CLASSES, Mask, encode_product
from payloads.wire import MESSAGE_OCTETS_MAX, Answer, Request, SlotShape, Status
from payloads.worker_settings import WorkerSettings, find_app

_PR_SET_PDEATHSIG = 1
_OUTPUT_OCTETS_MAX = 1 << 20  # of what an app prints; the log is memory
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Failed:
    status: Status
    detail: str


def _guarded(call: Callable[[], T]) -> T | _Failed:
    """The one place where an app's fault, of whatever kind, becomes an answer."""
    try:
        return call()
    except BadOutput as error:
        return _Failed(Status.BAD_OUTPUT, str(error))
    except Exception as error:  # noqa: BLE001 - an app may raise anything; the node goes on
        return _Failed(Status.APP_ERROR, f"{type(error).__name__}: {error}")


def _confine(parent: int, settings: WorkerSettings) -> None:
    """Tie this process to its parent and keep it modest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's loop may have blocked what it reads from a descriptor
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_OCTETS_MAX, _OUTPUT_OCTETS_MAX))
    if settings.memory_mib:
        octets = settings.memory_mib << 20
        resource.setrlimit(resource.RLIMIT_AS, (octets, octets))
    os.nice(settings.nice)


def _answer(app: WorkerApp, request: Request, slot: mmap.mmap, shape: SlotShape) -> Answer:
    """Run the app on the slot's tile and put mask and product into the slot."""
    count = request.bands * request.height * request.width
    tile = np.frombuffer(slot, dtype=np.uint16, count=count).reshape(request.bands, request.height, request.width)
    tile.flags.writeable = False
    started_ns = time.monotonic_ns()
    mask = _guarded(lambda: _checked(app.run(tile), tile.shape[1:]))
    infer_ns = time.monotonic_ns() - started_ns
    if isinstance(mask, _Failed):
        return Answer(mask.status, request.sequence, os.getpid(), infer_ns, detail=mask.detail)
    product = encode_product(
        tile, mask, tile=request.tile, job=request.job, time_ns=request.time_ns, cloudy_frac=request.cloudy_frac
    )
    pack_ns = time.monotonic_ns() - started_ns - infer_ns
    slot[shape.mask_at : shape.mask_at + mask.size] = mask.tobytes()
    slot[shape.product_at : shape.product_at + len(product)] = product
    return Answer(Status.DONE, request.sequence, os.getpid(), infer_ns, pack_ns, mask.size, len(product))


def _checked(mask: Any, shape: tuple[int, ...]) -> Mask:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.shape != shape:
        kind = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise BadOutput(f"app gave {kind}, should be uint8 {shape}")
    if int(mask.max()) >= len(CLASSES):
        raise BadOutput(f"app gave class {int(mask.max())}, highest is {len(CLASSES) - 1}")
    return mask


def main(arguments: Sequence[str]) -> int:
    """Serve until the parent closes its end. Exit code 3: the app could not be started."""
    control_fd, slot_fd, parent = (int(one) for one in arguments[:3])
    settings = WorkerSettings(**json.loads(arguments[3]))
    _confine(parent, settings)
    shape = settings.shape
    with socket.socket(fileno=control_fd) as control, mmap.mmap(slot_fd, shape.octets) as slot:
        started_ns = time.monotonic_ns()
        app = _guarded(lambda: find_app(settings.app)(settings.app_settings()))
        if isinstance(app, _Failed):
            control.send(Answer(Status.NOT_READY, 0, os.getpid(), detail=app.detail).encode())
            return 3
        control.send(Answer(Status.READY, 0, os.getpid(), time.monotonic_ns() - started_ns).encode())
        while raw := control.recv(MESSAGE_OCTETS_MAX):
            control.send(_answer(app, Request.decode(raw), slot, shape).encode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokenPipeError, ConnectionResetError):  # the parent went away between request and answer
        sys.exit(1)
