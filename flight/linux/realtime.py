"""What a node asks of the kernel at boot for its deadlines: priority, processors, resident memory. Edge code."""

# Everything here is asked for and not required: a node that is refused flies on without it, and says so by an event
# (`realtime_degraded`). Whether a board grants it depends on capabilities and limits that an operator may not control.
#
# Timer slack is left alone: it delays sleeps and time-outs, not the timerfd that the loop sleeps on.

from __future__ import annotations

import ctypes
import gc
import os

from flight.core.executive_section import ExecutiveConfig

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def apply(config: ExecutiveConfig) -> list[str]:
    """Set this process, its main thread above all, as `config` asks. Called once, when the node is built.

    Returns one line per thing that this computer does not give, with the reason. Threads and processes that are started
    later inherit priority and processors, unless somebody sets them back.
    """
    refusals: list[str] = []
    # What the boot has made lives as long as the node. Walked through by the garbage collector now and then, it made a
    # step of the loop 20 to 60 ms long.
    gc.collect()
    gc.freeze()
    if config.cpus:
        _set_cpus(config.cpus, refusals)
    if config.lock_memory:
        _lock_memory(refusals)
    if config.fifo_priority:
        _set_fifo(config.fifo_priority, refusals)
    return refusals


def _set_cpus(cpus: tuple[int, ...], refusals: list[str]) -> None:
    try:
        os.sched_setaffinity(0, cpus)
    except (OSError, ValueError, AttributeError) as error:
        refusals.append(f"processors {', '.join(map(str, cpus))}: {_reason(error)}, this computer has {os.cpu_count()}")


def _lock_memory(refusals: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) < 0:
        error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        refusals.append(f"memory not locked: {_reason(error)}, CAP_IPC_LOCK or a higher RLIMIT_MEMLOCK is needed")


def _set_fifo(priority: int, refusals: list[str]) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        refusals.append(
            f"SCHED_FIFO priority {priority}: {_reason(error)}, CAP_SYS_NICE or a higher RLIMIT_RTPRIO is needed"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "this system has no such call" if isinstance(error, AttributeError) else str(error)
