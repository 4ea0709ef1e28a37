"""How tiles and jobs come in: the camera's pictures, one per period, and requests from the swarm.

A picture just taken goes to the best job that waits for one. If none waits, it becomes a job of the node's own traffic,
of the classes of `pattern` in turn.
"""

# Jobs asked for by command come first, because somebody on the ground waits for them; the node's own traffic takes the
# pictures that remain. Every new job, also one of the node's own, goes through the swarm (`context.swarm`): whichever
# node takes it gives it a number and enters it in its book, so there is one way in. Only jobs that a boot restores
# (job_commands.py) have their number already and go into the book at once.
#
# A job without a picture is durable: it was asked for by command, and survives a loss of power. One with a picture is
# not, since the pixels would not survive either.

from __future__ import annotations

from flight.contract.app import AppContext
from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.core.task import Task
from flight.swarm.protocol import Admission, JobRequest
from hal.base import HalError, Image, Imager
from payloads.accounting import Counters
from payloads.config import PayloadConfig
from payloads.job_book import JobBook
from payloads.jobs import Job, State
from payloads.ledger import Ledger


class Intake:
    """Takes pictures and requests into the book of jobs."""

    def __init__(
        self, context: AppContext, config: PayloadConfig, counters: Counters, ledger: Ledger, jobs: JobBook
    ) -> None:
        self._context = context
        self._config = config
        self._counters = counters
        self._ledger = ledger
        self._jobs = jobs
        self._traffic = {traffic_class.name: traffic_class for traffic_class in config.traffic}
        self._own_tiles = 0
        for app in config.app_names:
            context.swarm.serve(app, self._on_request)

    async def capture(self, imager: Imager, task: Task) -> None:
        """Take one tile per period while the imager has something to see."""
        async for _ in task.every(self._config.capture_period_s):
            try:
                image = imager.capture() if imager.ready() else None
            except HalError as error:
                self._counters.capture_faults += 1
                self._context.events.emit("capture_failed", str(error))
                continue
            if image is not None:
                self._on_picture(image)

    def _on_picture(self, image: Image) -> None:
        self._jobs.drop_overdue()
        now_ns = self._context.platform.now_ns()
        for job in self._jobs.waiting:
            # drop_overdue ends a few jobs per step: one that is overdue may still be here.
            if job.deadline_ns > now_ns:
                self._jobs.waiting.remove(job)
                self._jobs.hold(job, image)
                return
        own = self._traffic[self._config.pattern[self._own_tiles % len(self._config.pattern)]]
        self._own_tiles += 1
        deadline_ns = self._context.platform.now_ns() + ns(own.deadline_s)
        self._context.swarm.submit(JobRequest(own.app or self._config.app_names[0], own.priority, deadline_ns, image))

    def _on_request(self, request: JobRequest) -> Admission:
        """Accept or refuse a job from the swarm. Without a picture it waits for one, and survives a loss of power."""
        try:
            number = self._ledger.next_number()
        except StorageError as error:
            self._context.events.emit("ledger_failed", str(error))
            return Admission(None, str(error))
        job = Job(number, request.priority, request.deadline_ns, request.kind, durable=request.image is None)
        if request.image is not None:
            self._jobs.hold(job, request.image)
        else:
            self._counters.requested += 1
            self._jobs.wait(job)
        if job.state is State.DROPPED:  # of wrong shape, or of lower rank than all that fill the places
            return Admission(None, job.reason.label)
        return Admission(job.number)
