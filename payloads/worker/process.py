"""One life of a worker process, as the node holds it: memory, socket, what it printed, and its end. Edge code.

States, by what the node knows:

    started    it has said nothing yet
    isolated   it has reported which guards hold: `guards` is set
    ready      its app has started: `ready` is set by the reader of answers
    silent     it has closed its end, and will say nothing more: `silent` is set
    exited     it has ended, and its process group is being killed: `exited` says how
    gone       it is reaped, and its control group empty and removed: `close` returns True
"""

# Everything that both sides can reach has a fixed size. Slot and log are memory files that are sealed against shrinking
# and growing, so that a worker can neither take memory away under the node's hands nor use more of it. The node does
# not even map the slot: it reads and writes by descriptor, and gets an error if memory is missing. A mapping would get
# SIGBUS instead. A slot belongs to one process, so that one which was killed, but lingers, cannot write into the tile
# of the next.
#
# The order at the end. A process is looked at before it is reaped: until then its number, which is that of its process
# group, belongs to nobody else, so killing the group cannot hit a stranger. Killing does not wait: a process may be
# stuck in the kernel for as long as a driver keeps it there, and the flight loop must not stand still for that.
#
# A worker inherits none of the node's descriptors, terminal, priority and processors, and of its environment only what
# is named. What the kernel shows of it in /proc is compared with what it reports (`contradicted`).

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

from flight.core.errors import DecodeError
from payloads.worker.control_group import ControlGroup
from payloads.worker.guards import Guard
from payloads.worker.isolation import OOM_SCORE, THREADS_MAX
from payloads.worker.settings import WorkerSettings
from payloads.worker.wire import MESSAGE_OCTETS_MAX, Isolated

LOG_OCTETS = 1 << 16  # that one request, or the start, may print
_LOG_TAIL_OCTETS = 600
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME")  # an interpreter that needs them does not start without them
_GROUP_CHECK_S = 0.005
_NUMBERS = count(1)


def sealed_memory(name: str, octets: int) -> int:
    """Return a descriptor of zeroed anonymous memory whose size nobody can change any more. Raises OSError."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, octets)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def environment(passed: Sequence[str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: of the node's own, only what is named here or in `passed`."""
    # Numerical libraries start a thread per core when imported; the app's own setting is the one that counts.
    variables = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    variables |= {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return variables | {name: inherited[name] for name in (*_KEPT, *passed) if name in inherited}


class Process:
    """Process, socket, pidfd, slot, log and control group. Raises OSError if it cannot be started."""

    def __init__(self, settings: WorkerSettings, passed: Sequence[str], groups: Path | None, cpus: set[int]) -> None:
        self.guards: Guard | None = None  # unknown until it has reported them
        self.ready = False
        self.silent = False  # it has closed its end: it will say nothing more, and its exit is near
        self._settings = settings
        self._group: ControlGroup | None = None
        with contextlib.ExitStack() as undo:
            self.channel, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self.channel.close)
            self.channel.setblocking(False)
            with child:  # if the node kept this end open, it would see no end of file when the process ends
                self.slot_fd = sealed_memory("orbitnode-slot", settings.shape.octets)
                undo.callback(os.close, self.slot_fd)
                self.log_fd = sealed_memory("orbitnode-worker-log", LOG_OCTETS)
                undo.callback(os.close, self.log_fd)
                # -P: no module is to be found in the current folder, "/".
                self.popen = subprocess.Popen(
                    [
                        sys.executable, "-P", "-m", "payloads.worker", str(child.fileno()), str(self.slot_fd),
                        str(os.getpid()), json.dumps(asdict(settings)),
                    ],
                    stdin=subprocess.DEVNULL, stdout=self.log_fd, stderr=self.log_fd, cwd="/", start_new_session=True,
                    pass_fds=(child.fileno(), self.slot_fd), env=environment(passed, os.environ),
                )  # fmt: skip
            undo.callback(self.popen.kill)
            _schedule_normally(self.popen.pid, cpus)
            self.pid_fd = os.pidfd_open(self.popen.pid)
            undo.pop_all()
        if groups is not None and "cgroup" not in settings.guards_off:
            self._enter_group(groups)

    def _enter_group(self, groups: Path) -> None:
        group = ControlGroup.make(groups, next(_NUMBERS))
        threads = THREADS_MAX + self._settings.threads
        if group is None or group.take(self.popen.pid, threads=threads, memory_mib=self._settings.memory_mib):
            self._group = group
        else:
            group.remove()

    def write_slot(self, octets: bytes) -> None:
        """Put a tile into the slot, in which it must fit."""
        done = 0
        while done < len(octets):
            done += os.pwrite(self.slot_fd, memoryview(octets)[done:], done)

    def read_slot(self, at: int, octets: int) -> bytes:
        """Return a copy of what lies at `at` now, shorter if the slot ends."""
        parts = []
        while octets > 0 and (part := os.pread(self.slot_fd, octets, at)):
            parts.append(part)
            at, octets = at + len(part), octets - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def receive(self) -> bytes | None:
        """Return one message, empty octets if no more will come, or None if there is none now. Does not block.

        The first message, which reports the guards, is kept here and not returned. Raises DecodeError if it does not.
        """
        # At most three things to read: a reset, the guards, and one message for the caller.
        for _ in range(3):
            try:
                raw = self.channel.recv(MESSAGE_OCTETS_MAX)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                continue  # reported once, ahead of messages that wait: it closed with our request unread
            except OSError:
                raw = b""
            if raw and self.guards is None:
                self._note_guards(raw)
                continue
            self.silent = not raw
            return raw
        return None

    def _note_guards(self, raw: bytes) -> None:
        """Keep the guards that hold: those reported, and the group's, less those that the kernel contradicts."""
        held = Guard(Isolated.decode(raw).guards & Guard.every())
        if self._group is not None:
            held |= Guard.CGROUP
            if self._group.counts_threads and "thread_limit" not in self._settings.guards_off:
                held |= Guard.THREAD_LIMIT
        self.guards = held & ~contradicted(self.popen.pid, self._settings)

    def wait_for_guards(self, limit_s: float) -> None:
        """Wait until it has reported its guards, has ended, or `limit_s` of wall time has passed."""
        if self.guards is None and not self.silent:
            poller = select.poll()
            poller.register(self.channel.fileno(), select.POLLIN)
            if poller.poll(limit_s * 1000.0):
                # Peeked at first, so that a message which is not the guards is still there for the next request, whose
                # reply then says what was wrong.
                with contextlib.suppress(OSError, DecodeError):
                    raw = self.channel.recv(MESSAGE_OCTETS_MAX, socket.MSG_PEEK)
                    if raw:
                        self._note_guards(raw)
                        self.channel.recv(MESSAGE_OCTETS_MAX)

    def exited(self) -> str | None:
        """Return how the process ended, or None while it lives. What it left in its group is killed."""
        if self.popen.returncode is None:
            # WNOWAIT looks without reaping: see the head of the file.
            with contextlib.suppress(ChildProcessError):  # somebody else has reaped it
                if os.waitid(os.P_PIDFD, self.pid_fd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return None
                self._kill_group()
        code = self.popen.poll()
        if code is None:
            return None
        return f"ended by signal {-code}" if code < 0 else f"exit status {code}"

    @property
    def reaped(self) -> bool:
        """Whether the kernel has let the process go."""
        return self.popen.poll() is not None

    def end(self) -> None:
        """Kill it, and all that is in its group, without waiting for it."""
        if self.exited() is None:
            self._kill_group()

    def _kill_group(self) -> None:
        if self._group is not None:
            self._group.kill()
        with contextlib.suppress(OSError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def log(self) -> str:
        """Return the end of what it printed since its start or the last request."""
        # Both sides share the descriptor's position: it is where the worker's next output goes. The worker may set it
        # to anything, so it is cut to the log's size.
        end = min(max(os.lseek(self.log_fd, 0, os.SEEK_CUR), 0), LOG_OCTETS)
        start = max(0, end - _LOG_TAIL_OCTETS)
        return os.pread(self.log_fd, end - start, start).replace(b"\0", b"").decode(errors="replace").strip()

    def wait(self, limit_s: float) -> None:
        """Wait for its end and for that of its children, for `limit_s` at most: one may be stuck in the kernel."""
        end_s = time.monotonic() + limit_s
        if self.exited() is None:
            poller = select.poll()
            poller.register(self.pid_fd, select.POLLIN)
            poller.poll(limit_s * 1000.0)
            self.exited()
        # The kernel takes its time to kill a group, and to call it empty. It sends no event for that: ask again.
        while self._group is not None and not self._group.remove() and time.monotonic() < end_s:
            self._group.kill()
            time.sleep(_GROUP_CHECK_S)

    def close(self) -> bool:
        """Close descriptors, that of the process itself once it is reaped. Returns True when its group is gone too."""
        if self.channel.fileno() >= 0:
            self.channel.close()
            os.close(self.slot_fd)
            os.close(self.log_fd)
        gone = self.exited() is not None
        if gone and self.pid_fd >= 0:
            os.close(self.pid_fd)
            self.pid_fd = -1
        if gone and self._group is not None and self._group.remove():
            self._group = None
        return gone and self._group is None


def _schedule_normally(pid: int, cpus: set[int]) -> None:
    """Take the flight loop's real-time priority and processors, which a process inherits, away from a worker."""
    with contextlib.suppress(OSError):  # it may have ended by now
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(pid, cpus)


def contradicted(pid: int, settings: WorkerSettings) -> Guard:
    """Return the guards that do not hold by what the kernel shows of the process. What it does not show may hold."""
    found = Guard(0)
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        score = int(Path(f"/proc/{pid}/oom_score_adj").read_text(encoding="ascii"))
        session = os.getsid(pid)
        memory = resource.prlimit(pid, resource.RLIMIT_AS)[1]
        files = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    except (OSError, ValueError):  # it has ended; its reply says how
        return found
    shown = {
        Guard.NO_NEW_PRIVILEGES: status.get("NoNewPrivs") == "1",
        Guard.NO_CAPABILITIES: all(int(status.get(name, "0"), 16) == 0 for name in ("CapPrm", "CapEff", "CapInh")),
        Guard.SYSTEM_CALLS: status.get("Seccomp") == "2",
        Guard.OOM_FIRST: score == OOM_SCORE,
        Guard.OWN_SESSION: session == pid,
        Guard.MEMORY_LIMIT: 0 <= memory <= settings.memory_mib << 20,
        Guard.DESCRIPTOR_LIMIT: 0 <= files < 1 << 16,
    }
    with contextlib.suppress(OSError):  # of the two ways to keep out the network, one is enough
        own = os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        shown[Guard.NO_NETWORK] = own or shown[Guard.SYSTEM_CALLS]
    for guard, holds in shown.items():
        if not holds:
            found |= guard
    return found
