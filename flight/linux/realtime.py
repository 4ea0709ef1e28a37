"""What a node asks of the kernel at boot, so that its deadlines hold: real-time priority, processors, resident
memory. Edge code.

Timer slack is left alone: it delays sleeps and time-outs, not the timerfd that the loop sleeps on.
"""

from __future__ import annotations

import ctypes
import gc
import os

from flight.core.executive_section import ExecutiveConfig

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def apply(config: ExecutiveConfig) -> list[str]:
    """Set this process, its main thread above all, as `config` asks; call it once, when the node is built.

    One line for each thing that this computer does not give, and why: the node goes on without it. Threads that are
    started later inherit priority and processors, and so do processes that nobody sets back.
    """
    refusals: list[str] = []
    # What has been built by now stays: the collector need not look at it again at every full collection.
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
        refusals.append(f"processors {', '.join(map(str, cpus))}: {_reason(error)}, {os.cpu_count()} are there")


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
