"""A pool of worker processes for one app: the flight loop hands in a tile and gets a reply. Edge code.

A worker is a place that one process after another serves (payloads/worker/process.py). States of a worker:

    FREE      `submit` may give it a tile
    TAKEN     a tile was handed over, and its reply was not taken yet
    GIVEN UP  its process failed more than `restarts_max` times without a good reply in between; until `reset`

A process that dies, hangs or says nonsense is replaced at once. Every submission ends in one Reply: Answered, or a
WorkerFailure that says why not.
"""

# Whether a worker is free depends on replies that the loop has taken (`poll`, `wait`, `kill`), not on what its process
# has come to meanwhile. In virtual time that keeps wall time out of every decision (ADR 0001).
#
# Nothing that comes from a process is believed, because an app shares it with the code that reports what the app did
# (ADR 0019). A message must be one that is due, or the process is ended. Sending never waits: a process that does not
# read its requests is ended. What lies in the slot is copied once and then judged (payloads/worker/judgement.py).
#
# What a restart costs and when it ends. `_failures` counts restarts since the last good reply. A good reply sets it to
# 0; an app's own error neither raises nor clears it, and leaves the process in place. Above `restarts_max` the worker
# is given up: an app that always dies would otherwise take a core for its restarts. `reset` lets it try again, after
# the payload was switched off and on.
#
# An ended process is retired, not forgotten: its descriptors stay open until the submission after next, since the loop
# may still be watching them; and one that is stuck in the kernel cannot be reaped yet. If _RETIRED_MAX of those pile
# up, no new process is started until one is gone.
#
# A process is a fresh interpreter and never a fork, which would copy the loop's descriptors and locks. Its slot is
# anonymous memory without a name, so nothing is left behind, whoever is killed how (ADR 0006).

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
_GUARDS_S = 30.0  # for a first message that takes 0.1 s: a slow disk at boot is not a failure
_RETIRED_MAX = 4  # killed and not yet gone, because stuck in the kernel


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """What a pool is made from.

    name: of the app, in its products. code: the app, "module:Class". model: an ONNX file with its statistics, or None.
    cloudy_frac: share of class 1 above which a mask's product carries no pixels.

    hang_s: wall time that `wait` grants a reply. restarts_max: in a row, without a good reply in between. memory_mib:
    limit of a worker's address space, 0 for none (a CUDA app needs none). scratch_mib: size of its folder, 0 for none.
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
    """A finished tile.

    answer: octets, as the declaration has them (payloads/product/answers.py). product: octets for
    payloads.product.decode. pixels_withheld: the mask is sent without pixels, because there is too much of class 1.

    infer_s, pack_s and pid belong to wall time: for the summary, never for a decision or for telemetry.
    """

    answer: bytes
    product: bytes
    pixels_withheld: bool
    infer_s: float
    pack_s: float
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerFailure:
    """There is no result. `detail` is for reports; `log` is the end of what the worker printed, for a person."""

    reason: FailureReason
    detail: str
    log: str = ""


Reply = Answered | WorkerFailure


@dataclass(slots=True)
class PoolStats:
    """Counters since the pool was made.

    killed: processes ended by the caller, who knows and counts why. died: deaths that nobody here asked for.
    hang_limit_fired: a limit of wall time ended a wait, so the run is not repeatable and its figures do not count.
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

    # Holds the process that it was given to: a later process of the same worker must not answer for it.

    def __init__(self, worker: _Worker, process: Process | None, sequence: int) -> None:
        self._worker = worker
        self._process = process
        self._sequence = sequence
        self.reply: Reply | None = None

    def filenos(self) -> Sequence[int]:
        """Return the descriptors to watch. They stay open until the submission after next, so a loop can forget them.

        A socket that was closed at the other end is left out: it would be ready all the time until the process exits.
        """
        process = self._process
        if process is None or process.channel.fileno() < 0:
            return ()
        return (process.pid_fd,) if process.silent else (process.channel.fileno(), process.pid_fd)

    def poll(self) -> Reply | None:
        """Return the reply if it is there. Does not block."""
        if self.reply is None and self._process is not None:
            self.reply = self._worker.receive(self._process, self._sequence)
        return self.reply

    def wait(self) -> Reply:
        """Wait for the reply and return it. After `hang_s` of wall time, end the process: the reply is `hung`."""
        if self.reply is not None:
            return self.reply
        deadline_s = time.monotonic() + self._worker.hang_s
        while (reply := self.poll()) is None:
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0.0:
                self.reply = reply = self._worker.hang_limit()
                break
            poller = select.poll()
            for descriptor in self.filenos():
                poller.register(descriptor, select.POLLIN)
            poller.poll(remaining_s * 1000.0)
        return reply

    def kill(self) -> None:
        """End the process. The reply is `died` from now on, even if another one was there unread."""
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
        self._cpus = os.sched_getaffinity(0)  # as they were before the flight loop confined itself to some
        self._process: Process | None = None
        self._retired: list[tuple[int, Process]] = []  # with the sequence number at which each was ended
        self._work: _Work | None = None
        self._request: Request | None = None
        self._sequence = 0
        self._failures = 0
        self.guards: Guard | None = None  # of the newest process that reported them
        self.hang_s = config.hang_s

    @property
    def free(self) -> bool:
        """Whether a tile may be handed over."""
        return (self._work is None or self._work.reply is not None) and not self.given_up

    @property
    def given_up(self) -> bool:
        """Whether no process is started any more."""
        return self._failures > self._config.restarts_max

    @property
    def pid(self) -> int | None:
        """The process id, None if no process is there."""
        return None if self._process is None else self._process.popen.pid

    def start(self) -> None:
        """Start the process if none is there. Raises OSError."""
        if self._process is None:
            self._process = Process(self._settings, self._config.environment, self._groups, self._cpus)

    def wait_for_guards(self) -> None:
        """Wait until the process has reported its guards, or has ended."""
        if self._process is not None:
            self._process.wait_for_guards(_GUARDS_S)
            self.guards = self._process.guards

    def submit(self, image: Image, job: int, time_ns: int) -> _Work:
        """Hand over the tile. A process that is found dead is replaced first, and counts as a death."""
        self._close_retired()
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        # One that died while it was starting is not replaced here: its reply, that it could not start, is to be read.
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
        except OSError:  # it died just now; what it said before can still be read
            pass
        return work

    def _close_retired(self) -> None:
        """Close processes that ended before the last submission. A loop may still be watching those ended since."""
        self._retired = [
            (ended, process)
            for ended, process in self._retired
            if (self._sequence - ended) & 0xFFFFFFFF < 1 or not process.close()
        ]

    @property
    def _shape_text(self) -> str:
        return f"{self._shape.bands} x {self._shape.height} x {self._shape.width}"

    def receive(self, process: Process, sequence: int) -> Reply | None:
        """Return the reply to `sequence` if it is there, or a failure if it will never come. Does not block.

        A process that only closed its socket is not dead yet: how it ended is known when it can be reaped, a moment
        later. If it lingers, the caller's limit ends it.
        """
        how = process.exited()  # asked first: what it said before it ended is still read below
        for _ in range(2):  # READY, and the answer
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
                return self._reply_from(process, answer, sequence)
            if process.ready:
                break
            process.ready = True
        return self.fail("bad output", "reported twice that it is ready")

    def _reply_from(self, process: Process, answer: Answer, sequence: int) -> Reply:
        """Turn an answer into a reply. Only a good answer, or an error of the app, leaves the process in place."""
        if answer.status is Status.NOT_READY:
            return self.fail("app error", f"start: {answer.detail}")
        if answer.sequence != sequence:
            return self.fail("bad output", f"answer to request {answer.sequence}, should be to {sequence}")
        if answer.status is Status.APP_ERROR:
            self._stats.app_error += 1
            return WorkerFailure("app error", answer.detail)
        if answer.status is Status.BAD_OUTPUT:
            return self.fail("bad output", answer.detail)
        shape, asked = self._shape, self._request
        assert asked is not None, "an answer is taken for a request"
        # No more than fits, whatever sizes it states: `fault_of` then finds a size that is too large.
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
        """End the process because it has not answered within `hang_s` of wall time."""
        self._stats.hang_limit_fired += 1
        return self.fail("hung", f"no reply in {self.hang_s:g} s of wall time")

    def kill(self) -> WorkerFailure:
        """End the process because the caller asks for it."""
        self._stats.killed += 1
        return self._replace("died", "killed")

    def fail(self, reason: FailureReason, detail: str) -> WorkerFailure:
        """Count the failure, end the process and start the next one."""
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
        """Let a worker that was given up try again. Its process is started at the next submission."""
        if self.given_up:
            self._failures = 0

    def close(self) -> None:
        """End the process and give back memory and descriptors."""
        self._retire()
        self._failures = self._config.restarts_max + 1  # given up: nothing starts a process again
        for _, process in self._retired:
            process.wait(_REAP_S)
            process.close()
        self._retired = []


class WorkerPool:
    """A fixed number of workers for one app. `answer` is the kind of answer that the app declares.

    Raises SetupError if the app, or something that it needs, is missing.
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
        check_app(settings.code, settings.model, settings.threads)
        self.stats = PoolStats()
        groups = control_group.home()
        if groups is not None:
            control_group.remove_stale(groups)
        self._workers = [_Worker(config, self.answer, settings, self.stats, groups) for _ in range(config.workers)]

    def start(self) -> None:
        """Start every process, and return once each has reported which guards hold, in about 0.1 s.

        They get ready for work (0.5 to 1 s) while the node boots. Raises SetupError if one cannot be started.
        """
        # The first message is waited for, so that in virtual time no moment of the wall clock decides when telemetry
        # knows the guards (ADR 0019).
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
        """The guards that hold for every worker. None hold before the workers are started."""
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
        """Whether no worker remains that would be started again."""
        return all(worker.given_up for worker in self._workers)

    def submit(self, image: Image, *, job: int = 0, time_ns: int = 0) -> _Work | None:
        """Have a free worker run the app on `image`, for `job`. time_ns: its capture, TAI.

        Returns None if every worker is taken or given up.
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
