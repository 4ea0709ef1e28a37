"""Worker processes and their shared memory, as External work for the flight loop. Edge code.

A worker is a fresh interpreter (never a fork), a socket that keeps message bounds, and a slot of anonymous shared
memory. Slots have no name, so none can be left behind, whoever is killed how. A worker that dies, hangs, or says
nonsense is replaced at once, up to `restarts_max` times without a good reply in between; then the pool gives up
until `reset`.

Whether a worker is free depends on replies that were taken (`poll`, `wait`, `kill`), not on what the processes
have come to meanwhile: in virtual time that is what keeps wall time out of every decision.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from flight.core.errors import DecodeError, SetupError
from hal.base import Image
from payloads.product_header import ProductHeader
from payloads.wire import MESSAGE_OCTETS_MAX, Answer, Request, Status
from payloads.worker_settings import WorkerSettings, find_app

FailureReason = Literal["died", "hung", "bad output", "app error"]
_LOG_TAIL_OCTETS = 600
_REAP_S = 2.0


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """model: an ONNX file with its statistics. cloudy_frac: above it a product carries no clear pixels.

    hang_s: wall time that `wait` grants a reply. restarts_max: in a row, without a good reply between them.
    memory_mib: limit of a worker's address space, 0 for none (a CUDA app needs none).
    """

    model: Path
    app: str = "payloads.apps.screen:Screen"
    workers: int = 1
    threads: int = 1
    bands: int = 4
    height: int = 256
    width: int = 256
    cloudy_frac: float = 1.0
    hang_s: float = 60.0
    restarts_max: int = 8
    nice: int = 5
    memory_mib: int = 0


@dataclass(frozen=True, slots=True)
class Screened:
    """A finished tile. mask: uint8 [row, column]; product: octets for payloads.product.decode_product.

    infer_s, pack_s and pid are of the wall-clock world: for the summary, never for a decision or for telemetry.
    """

    mask: bytes
    product: bytes
    cloud_frac: float
    has_clear: bool
    infer_s: float
    pack_s: float
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """No result. `detail` is for the report, `log` the end of what the worker printed, for the person."""

    reason: FailureReason
    detail: str
    log: str = ""


Reply = Screened | WorkerFailure


@dataclass(slots=True)
class PoolStats:
    """Counters since the pool was made.

    `killed`: ended by the caller, who knows and counts why; `died` are deaths that nobody here asked for.
    `hang_limit_fired`: wall time reached a decision, the run is no measure.
    """

    done: int = 0
    died: int = 0
    killed: int = 0
    hung: int = 0
    bad_output: int = 0
    app_error: int = 0
    restarts: int = 0
    given_up: int = 0
    hang_limit_fired: int = 0


class _Process:
    """One life of a worker: process, socket, pidfd, and the memory file that takes what it prints."""

    def __init__(self, settings: WorkerSettings, slot_fd: int, cpus: set[int]) -> None:
        self.channel, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.log_fd = os.memfd_create("orbitnode-worker-log")
        arguments = (str(child.fileno()), str(slot_fd), str(os.getpid()), json.dumps(asdict(settings)))
        # Numerical libraries start a thread a core when imported; the app's own count is the one that holds.
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(os.path.abspath(one) for one in sys.path)
        try:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "payloads.worker", *arguments],
                stdin=subprocess.DEVNULL, stdout=self.log_fd, stderr=self.log_fd,
                pass_fds=(child.fileno(), slot_fd), env=os.environ | single | {"PYTHONPATH": path}, process_group=0,
            )  # fmt: skip
        except OSError:
            self.channel.close()
            os.close(self.log_fd)
            raise
        finally:
            child.close()  # else the end of the process would give no end of file
        _schedule_normally(self.popen.pid, cpus)
        self.pid_fd = os.pidfd_open(self.popen.pid)
        self.ready = False
        self.silent = False  # it closed its end: nothing more will be said, and its exit is near

    def exited(self) -> str | None:
        """How the process ended, None while it lives."""
        code = self.popen.poll()
        if code is None:
            return None
        return f"ended by signal {-code}" if code < 0 else f"exit status {code}"

    def end(self) -> None:
        """Kill it without waiting for it."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)

    def log(self) -> str:
        size = os.fstat(self.log_fd).st_size
        return os.pread(self.log_fd, _LOG_TAIL_OCTETS, max(0, size - _LOG_TAIL_OCTETS)).decode(errors="replace").strip()

    def close(self) -> bool:
        """Give back descriptors; True when the process is reaped too."""
        if self.channel.fileno() >= 0:
            self.channel.close()
            os.close(self.pid_fd)
            os.close(self.log_fd)
        return self.popen.poll() is not None


def _schedule_normally(pid: int, cpus: set[int]) -> None:
    """A process inherits real-time priority and processors, which are the flight loop's alone: a worker beside it
    would take its time. One that has ended by now needs neither."""
    try:
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(pid, cpus)
    except OSError:
        return


class _Work:
    """One tile in one worker, until its reply is taken. Flight code knows it as External[Reply]."""

    def __init__(self, worker: _Worker, process: _Process | None, sequence: int) -> None:
        self._worker = worker
        self._process = process
        self._sequence = sequence
        self.reply: Reply | None = None

    def filenos(self) -> Sequence[int]:
        """Open until the worker's next submission but one, so that a loop has time to forget them.

        A socket that was closed at the other end is not named any more: it would be ready until the process has
        exited.
        """
        process = self._process
        if process is None or process.channel.fileno() < 0:
            return ()
        return (process.pid_fd,) if process.silent else (process.channel.fileno(), process.pid_fd)

    def poll(self) -> Reply | None:
        if self.reply is None and self._process is not None:
            self.reply = self._worker.receive(self._process, self._sequence)
        return self.reply

    def wait(self) -> Reply:
        if self.reply is not None:
            return self.reply
        deadline_s = time.monotonic() + self._worker.hang_s
        while (reply := self.poll()) is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0.0:
                self.reply = reply = self._worker.hang_limit()
                break
            poller = select.poll()
            for descriptor in self.filenos():
                poller.register(descriptor, select.POLLIN)
            poller.poll(left_s * 1000.0)
        return reply

    def kill(self) -> None:
        """End the process. The reply is `died` from now on, also where another one lay unread already."""
        if self.reply is None:
            self.reply = self._worker.kill()


class _Worker:
    """One slot and the process that serves it at the moment."""

    def __init__(self, config: PoolConfig, settings: WorkerSettings, stats: PoolStats) -> None:
        self._config = config
        self._settings = settings
        self._stats = stats
        self._shape = settings.shape
        self._cpus = os.sched_getaffinity(0)  # those of before the flight loop confined itself
        self._slot_fd = os.memfd_create("orbitnode-slot")
        os.ftruncate(self._slot_fd, self._shape.octets)
        self._slot = mmap.mmap(self._slot_fd, self._shape.octets)
        self._process: _Process | None = None
        self._retired: list[tuple[int, _Process]] = []  # with the sequence in which each ended
        self._work: _Work | None = None
        self._sequence = 0
        self._failures = 0
        self.hang_s = config.hang_s

    @property
    def free(self) -> bool:
        return (self._work is None or self._work.reply is not None) and not self.given_up

    @property
    def given_up(self) -> bool:
        return self._failures > self._config.restarts_max

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.popen.pid

    def start(self) -> None:
        """Start the process where none is there."""
        if self._process is None:
            self._process = _Process(self._settings, self._slot_fd, self._cpus)

    def submit(self, image: Image, job: int, time_ns: int) -> _Work:
        """Hand the tile over. A process found dead is replaced first, and that counts as a death."""
        self._forget()
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        if self._process is not None and self._process.exited() is not None and self._process.ready:
            self._stats.died += 1
            self._restart()
        elif self._process is None:
            self._restart()
        request = Request(
            self._sequence, image.number, job, time_ns, image.bands, image.height, image.width,
            self._config.cloudy_frac,
        )  # fmt: skip
        work = self._work = _Work(self, self._process, self._sequence)
        if len(image.samples) > self._shape.input_octets:
            detail = f"tile of {image.bands} x {image.height} x {image.width}, the slot takes {self._shape_text}"
            self._stats.app_error += 1
            work.reply = WorkerFailure("app error", detail)
            return work
        if self._process is None:
            work.reply = WorkerFailure("died", "no process could be started")
            return work
        self._slot[: len(image.samples)] = image.samples
        try:
            self._process.channel.send(request.encode())
        except OSError:  # it died just now; what it said before that still waits to be read
            pass
        return work

    def _forget(self) -> None:
        """Close what a loop may still have watched, but only one whole submission later: it may not have looked yet."""
        self._retired = [
            (ended, process)
            for ended, process in self._retired
            if (self._sequence - ended) & 0xFFFFFFFF < 1 or not process.close()
        ]

    @property
    def _shape_text(self) -> str:
        return f"{self._shape.bands} x {self._shape.height} x {self._shape.width}"

    def receive(self, process: _Process, sequence: int) -> Reply | None:
        """The reply to `sequence` where it is there, or a failure where it will never be; does not block.

        A process that only closed its socket is not dead yet: how it ends is known when it can be reaped, a moment
        later. One that lingers is for the caller's limit.
        """
        how = process.exited()  # asked first: what it said before it ended is still read below
        while True:
            try:
                raw = process.channel.recv(MESSAGE_OCTETS_MAX, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None if how is None else self.fail("died", how)
            except ConnectionResetError:
                continue  # told once, ahead of messages that wait: it closed with our request unread
            except OSError:
                raw = b""
            if not raw:
                process.silent = True
                return None if how is None else self.fail("died", how)
            try:
                answer = Answer.decode(raw)
            except DecodeError as error:
                return self.fail("bad output", str(error))
            if answer.status is Status.READY:
                process.ready = True
                continue
            return self._taken(answer, sequence)

    def _taken(self, answer: Answer, sequence: int) -> Reply:
        """The reply that an answer makes. Only a good one, or an app's own no, leaves the process in place."""
        if answer.status is Status.NOT_READY:
            return self.fail("app error", f"start: {answer.detail}")
        if answer.sequence != sequence:
            return self.fail("bad output", f"answer to {answer.sequence}, asked was {sequence}")
        if answer.status is Status.APP_ERROR:
            self._stats.app_error += 1
            return WorkerFailure("app error", answer.detail)
        if answer.status is Status.BAD_OUTPUT:
            return self.fail("bad output", answer.detail)
        at, end = self._shape.product_at, self._shape.product_at + answer.product_octets
        product = self._slot[at : min(end, self._shape.octets)]
        mask = self._slot[self._shape.mask_at : self._shape.mask_at + min(answer.mask_octets, self._shape.mask_octets)]
        try:
            header = ProductHeader.decode(product)
        except DecodeError as error:
            return self.fail("bad output", str(error))
        if header.total_octets != answer.product_octets or len(mask) != header.height * header.width:
            return self.fail("bad output", f"product of {answer.product_octets} octets, says {header.total_octets}")
        self._failures = 0
        self._stats.done += 1
        return Screened(
            mask, product, header.cloud_frac, header.clear_octets is not None, answer.infer_ns / 1e9,
            answer.pack_ns / 1e9, answer.pid,
        )  # fmt: skip

    def hang_limit(self) -> WorkerFailure:
        self._stats.hang_limit_fired += 1
        return self.fail("hung", f"no reply in {self.hang_s:g} s of wall time")

    def kill(self) -> WorkerFailure:
        """End the process on the caller's wish."""
        self._stats.killed += 1
        return self._replace("died", "killed")

    def fail(self, reason: FailureReason, detail: str) -> WorkerFailure:
        """Count, end the process and start the next one."""
        name = reason.replace(" ", "_")
        setattr(self._stats, name, getattr(self._stats, name) + 1)
        return self._replace(reason, detail)

    def _replace(self, reason: FailureReason, detail: str) -> WorkerFailure:
        log = "" if self._process is None else self._process.log()
        self._restart()
        return WorkerFailure(reason, detail, log)

    def _restart(self) -> None:
        self._retire()
        self._failures += 1
        if self.given_up:
            self._stats.given_up += 1
            return
        self._stats.restarts += 1
        try:
            self.start()
        except OSError:  # no memory, no descriptors: the next submission tries again, and counts again
            self._process = None

    def _retire(self) -> None:
        if self._process is not None:
            self._process.end()
            self._retired.append((self._sequence, self._process))
            self._process = None

    def reset(self) -> None:
        if self.given_up:
            self._failures = 0

    def close(self) -> None:
        """End the process and give back memory and descriptors."""
        self._retire()
        self._failures = self._config.restarts_max + 1
        for _, process in self._retired:
            try:
                process.popen.wait(_REAP_S)
            except subprocess.TimeoutExpired:
                pass  # stuck in the kernel; it was killed and goes when the kernel lets it
            process.close()
        self._retired = []
        if not self._slot.closed:
            self._slot.close()
            os.close(self._slot_fd)


class WorkerPool:
    """A fixed number of workers. Raises SetupError where the app or what it needs is missing."""

    def __init__(self, config: PoolConfig) -> None:
        settings = WorkerSettings(
            config.app, str(config.model.absolute()), config.threads, config.bands, config.height, config.width,
            config.nice, config.memory_mib,
        )  # fmt: skip
        find_app(config.app).check(settings.app_settings())
        self.stats = PoolStats()
        self._workers = [_Worker(config, settings, self.stats) for _ in range(config.workers)]

    def start(self) -> None:
        """Start every process and return at once; they get ready (0.5-1 s) while the node boots."""
        try:
            for worker in self._workers:
                worker.start()
        except OSError as error:
            self.close()
            raise SetupError(f"worker process cannot be started: {error.strerror}") from None

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    @property
    def given_up(self) -> bool:
        """True where no worker is left that would be started again."""
        return all(worker.given_up for worker in self._workers)

    def submit(self, image: Image, *, job: int = 0, time_ns: int = 0) -> _Work | None:
        """Screen `image` for `job`; time_ns is its capture (TAI). None where every worker is taken or given up."""
        for worker in self._workers:
            if worker.free:
                return worker.submit(image, job, time_ns)
        return None

    def reset(self) -> None:
        """Let workers that were given up try again, as after a power cycle."""
        for worker in self._workers:
            worker.reset()

    def close(self) -> None:
        """End every process and give back all shared memory. May be called twice."""
        for worker in self._workers:
            worker.close()
