"""A worker process, from its start until it is safe to let an app in. Edge code.

Started by payloads/worker/process.py as `python -m payloads.worker CONTROL_FD SLOT_FD PARENT_PID SETTINGS`. It puts up
its guards, reports which ones hold, and only then imports numpy and the app (payloads/worker/loop.py).
"""

# Why in this order. The kernel gives a user namespace only to a process of one thread, and numpy starts more. And what
# is said before the app is imported, no app can have said (ADR 0019).
#
# A worker dies with its parent, whatever ends that: the control socket gives end of file, and the kernel kills a worker
# that is computing (PR_SET_PDEATHSIG).

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence

from payloads.worker.isolation import isolate
from payloads.worker.settings import WorkerSettings
from payloads.worker.wire import Isolated


def main(arguments: Sequence[str]) -> int:
    """Serve until the parent closes its end. Returns the exit code: 3 if the app could not be started."""
    control_fd, slot_fd, parent = (int(number) for number in arguments[:3])
    settings = WorkerSettings(**json.loads(arguments[3]))
    with socket.socket(fileno=control_fd) as control:
        control.send(Isolated(isolate(parent, settings)).encode())
        from payloads.worker.loop import serve  # it imports numpy

        return serve(control, slot_fd, settings)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BrokenPipeError, ConnectionResetError):  # the parent went away between request and answer
        sys.exit(1)
