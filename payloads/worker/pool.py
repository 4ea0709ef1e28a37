"""Workers, as External work for the flight loop. Edge code.

A worker is a place that one process after the other serves (payloads/worker/process.py), each a fresh interpreter
(never a fork) behind guards (payloads/worker/guards.py), with a slot of anonymous shared memory. Slots have no name, so
none can be left behind, whoever is killed how. A process that dies, hangs, or says nonsense is replaced at once, up to
`restarts_max` times without a good reply in between; then the pool gives up until `reset`.

An app shares its process with whatever says what it did, so nothing that comes from there is believed: a message is
one that is due or the process ends, none is waited for in sending, and what lies in the slot is copied once and then
judged (payloads/worker/judgement.py).

Whether a worker is free depends on replies that were taken (`poll`, `wait`, `kill`), not on what the processes
have come to meanwhile: in virtual time that is what keeps wall time out of every decision.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flight.core.errors import DecodeError, SetupError, reason_of
from flight.core.nanoseconds import NS
from hal.base import Image
from payloads.product.answers import AnyKind
from payloads.worker import control_group
from payloads.worker.guards import Guard
from payloads.worker.judgement import fault_of, pixels_withheld
from payloads.worker.process import Process
from payloads.worker.settings import WorkerSettings, check_app, declared_answer
from payloads.worker.wire import Answer, Request, Status

FailureReason = Literal["died", "hung", "bad output", "app error"]
_REAP_S = 2.0
_GUARDS_S = 30.0
_RETIRED_MAX = 4  # killed, and not yet gone: stuck in the kernel


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """name: of the app, in its products. code: the app, "module:Class". model: an ONNX file with its statistics, or
    None. cloudy_frac: share of class 1 above which a mask's product carries no pixels.

    hang_s: wall time that `wait` grants a reply. restarts_max: in a row, without a good reply between them.
    memory_mib: limit of a worker's address space, 0 for none (a CUDA app needs none). scratch_mib: size of its folder.
    environment: names of variables that it inherits. readable: what it may read besides Python, app and model.
    guards_off: labels of guards (payloads.worker.guards) that are not to be put up.
    """

    model: Path | None
    code: str = "payloads.apps.screen:Screen"
    name: str = "screen"
    workers: int = 1
    threads: int = 1
    bands: int = 4
    height: int = 256
    width: int = 256
    cloudy_frac: float = 1.0
    hang_s: float = 60.0
    restarts_max: int = 8
    nice: int = 5
    memory_mib: int = 2048
    scratch_mib: int = 16
    environment: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    guards_off: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """A finished tile. answer: octets, as its declaration has them (payloads/product/answers.py); product: octets for
    payloads.product.decode. pixels_withheld: a mask went without its pixels, since there is too much of class 1.

    infer_s, pack_s and pid are of the wall-clock world: for the summary, never for a decision or for telemetry.
    """

    answer: bytes
    product: bytes
    pixels_withheld: bool
    infer_s: float
    pack_s: float
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """No result. `detail` is for the report, `log` the end of what the worker printed, for the person."""

    reason: FailureReason
    detail: str
    log: str = ""


Reply = Answered | WorkerFailure


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


class _Work:
    """One tile in one worker, until its reply is taken. Flight code knows it as External[Reply]."""

    def __init__(self, worker: _Worker, process: Process | None, sequence: int) -> None:
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
    """One place, and the process that serves it at the moment."""

    def __init__(
        self, config: PoolConfig, declared: AnyKind, settings: WorkerSettings, stats: PoolStats, groups: Path | None
    ) -> None:
        self._config = config
        self._declared = declared
        self._settings = settings
        self._stats = stats
        self._groups = groups
        self._shape = settings.shape
        self._cpus = os.sched_getaffinity(0)  # those of before the flight loop confined itself
        self._process: Process | None = None
        self._retired: list[tuple[int, Process]] = []  # with the sequence in which each ended
        self._work: _Work | None = None
        self._request: Request | None = None
        self._sequence = 0
        self._failures = 0
        self.guards: Guard | None = None  # of the newest process that said them
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
        """Start the process if none is there. Raises OSError."""
        if self._process is None:
            self._process = Process(self._settings, self._config.environment, self._groups, self._cpus)

    def wait_for_guards(self) -> None:
        if self._process is not None:
            self._process.wait_for_guards(_GUARDS_S)
            self.guards = self._process.guards

    def submit(self, image: Image, job: int, time_ns: int) -> _Work:
        """Hand the tile over. A process found dead is replaced first, and that counts as a death."""
        self._forget()
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        if self._process is not None and self._process.exited() is not None and self._process.ready:
            self._stats.died += 1
            self._restart()
        elif self._process is None:
            self._restart()
        self._request = request = Request(
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
        try:
            self._process.write_slot(image.samples)
            self._process.channel.send(request.encode())
        except BlockingIOError:
            work.reply = self.fail("bad output", "requests are not read")
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

    def receive(self, process: Process, sequence: int) -> Reply | None:
        """The reply to `sequence` where it is there, or a failure where it will never be; does not block.

        A process that only closed its socket is not dead yet: how it ends is known when it can be reaped, a moment
        later. One that lingers is for the caller's limit.
        """
        how = process.exited()  # asked first: what it said before it ended is still read below
        for _ in range(2):
            try:
                raw = process.receive()
                if not raw:
                    return None if how is None else self.fail("died", how)
                answer = Answer.decode(raw)
            except DecodeError as error:
                return self.fail("bad output", str(error))
            finally:
                self.guards = process.guards if process.guards is not None else self.guards
            if answer.status is not Status.READY:
                return self._taken(process, answer, sequence)
            if process.ready:
                break
            process.ready = True
        return self.fail("bad output", "said twice that it is ready")

    def _taken(self, process: Process, answer: Answer, sequence: int) -> Reply:
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
        shape, asked = self._shape, self._request
        assert asked is not None, "an answer is taken for a request"
        product = process.read_slot(shape.product_at, min(answer.product_octets, shape.product_octets))
        octets = process.read_slot(shape.answer_at, min(answer.answer_octets, shape.answer_octets))
        fault = fault_of(self._declared, product, octets, asked, answer)
        if fault:
            return self.fail("bad output", fault)
        self._failures = 0
        self._stats.done += 1
        return Answered(
            octets, product, pixels_withheld(self._declared, product), answer.infer_ns / NS, answer.pack_ns / NS,
            process.popen.pid,
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
        if sum(not process.reaped for _, process in self._retired) >= _RETIRED_MAX:
            return  # killed ones pile up in the kernel: the next submission tries again, and counts again
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
            process.wait(_REAP_S)
            process.close()
        self._retired = []


class WorkerPool:
    """A fixed number of workers for one app. Raises SetupError if the app or what it needs is missing.

    `answer` is what the app declares that it answers.
    """

    def __init__(self, config: PoolConfig) -> None:
        self.answer = declared_answer(config.code)
        settings = WorkerSettings(
            config.name, config.code, "" if config.model is None else str(config.model.absolute()), config.threads,
            config.bands, config.height, config.width, self.answer.octets_max(config.height, config.width), config.nice,
            config.memory_mib, config.scratch_mib, config.readable, config.guards_off,
        )  # fmt: skip
        try:
            self._wanted = Guard.every() & ~Guard.of(config.guards_off)
        except KeyError as error:
            known = ", ".join(Guard.every().labels)
            raise SetupError(f"guards_off names {error}, should be of {known}") from None
        for limit, guard in ((config.memory_mib, Guard.MEMORY_LIMIT), (config.scratch_mib, Guard.PRIVATE_FOLDER)):
            if not limit:
                self._wanted &= ~guard
        check_app(settings)
        self.stats = PoolStats()
        groups = control_group.home()
        if groups is not None:
            control_group.remove_stale(groups)
        self._workers = [_Worker(config, self.answer, settings, self.stats, groups) for _ in range(config.workers)]

    def start(self) -> None:
        """Start every process, and return once each has said which guards hold (0.1 s).

        They get ready for work (0.5-1 s) while the node boots. That the first word is waited for keeps wall time out
        of what telemetry says of the guards.
        """
        try:
            for worker in self._workers:
                worker.start()
        except OSError as error:
            self.close()
            raise SetupError(f"worker process cannot be started: {reason_of(error)}") from None
        for worker in self._workers:
            worker.wait_for_guards()

    @property
    def guards(self) -> Guard:
        """The guards that hold for every worker; none before the workers were started."""
        held = Guard.every()
        for worker in self._workers:
            held &= worker.guards or Guard(0)
        return held

    @property
    def missing(self) -> Guard:
        """The guards that were asked for and do not hold."""
        return self._wanted & ~self.guards

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run."""
        return tuple(pid for worker in self._workers if (pid := worker.pid) is not None)

    @property
    def given_up(self) -> bool:
        """True where no worker is left that would be started again."""
        return all(worker.given_up for worker in self._workers)

    def submit(self, image: Image, *, job: int = 0, time_ns: int = 0) -> _Work | None:
        """Run the app on `image` for `job`; time_ns is its capture (TAI).

        None if every worker is taken or given up.
        """
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
