"""The default script of a run: exercises every command once, then keeps an eye on the node in each later contact.

A command that is lost is tried again in the next contact; a contact that ends early is no failure. Nothing here waits
without a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ground.operator import COMPLETED, LOST, REJECTED, Operator

CONTACTS_MAX = 256
CONTACT_WAIT_S = 6 * 3600.0
CONTACT_S_MAX = 1800.0
TRIES_MAX = 4
POLL_S = 5.0
REPORT_WAIT_S = 20.0
LINES_MAX = 100
_CANCELLABLE = ("waiting", "queued")


@dataclass(slots=True)
class ScriptLog:
    """What the script saw. `surprises` are outcomes other than expected, one line each, at most `LINES_MAX`."""

    contacts: int = 0
    done: int = 0
    lost: int = 0
    given_up: int = 0
    surprises: list[str] = field(default_factory=list)

    def surprise(self, text: str) -> None:
        if len(self.surprises) < LINES_MAX:
            self.surprises.append(text)


# A step: True when done, False to try again at the next contact.
Step = Callable[[Operator, ScriptLog], Awaitable[bool]]


async def first_orbit(operator: Operator, log: ScriptLog | None = None) -> None:
    """Run the script until `CONTACTS_MAX` contacts, or until no contact came for `CONTACT_WAIT_S`."""
    log = log if log is not None else ScriptLog()
    waiting: list[tuple[Step, int]] = [(step, 0) for step in _SCRIPT]
    for _ in range(CONTACTS_MAX):
        if not await operator.wait_contact(CONTACT_WAIT_S):
            return
        log.contacts += 1
        end_s = operator.now_s() + CONTACT_S_MAX
        waiting = await _run(operator, log, waiting, end_s)
        await _until_silence(operator, end_s)
        if not waiting:
            waiting = [(step, 0) for step in _WATCH]


async def _run(
    operator: Operator, log: ScriptLog, waiting: list[tuple[Step, int]], end_s: float
) -> list[tuple[Step, int]]:
    """Steps in order while the contact lasts; those that are left, with their count of tries."""
    left = list(waiting)
    while left and operator.now_s() < end_s and await operator.wait_contact(0.0):
        step, tries = left.pop(0)
        if await step(operator, log):
            log.done += 1
        elif tries + 1 < TRIES_MAX:
            left.insert(0, (step, tries + 1))
        else:
            log.given_up += 1
            log.surprise(f"given up after {TRIES_MAX} tries: {getattr(step, '__name__', 'step')}")
    return left


async def _until_silence(operator: Operator, end_s: float) -> None:
    """Wait for the end of the contact, so that the next one is a new one."""
    while operator.now_s() < end_s and await operator.wait_contact(0.0):
        await operator.sleep(POLL_S)


def _command(expected: str, name: str, *, raw: bool = False, **arguments: object) -> Step:
    """A step of one command whose outcome should be `expected`."""

    async def step(operator: Operator, log: ScriptLog) -> bool:
        record = await (operator.send_raw if raw else operator.send)(name, **arguments)
        if record.outcome == LOST or (record.outcome == REJECTED and record.code is None):
            log.lost += 1
            return False  # nobody answered, or it never went up
        if record.outcome != expected:
            log.surprise(f"{name}: {record.outcome} instead of {expected}: {record.reason}")
        return True

    step.__name__ = name
    return step


async def _list_and_cancel(operator: Operator, log: ScriptLog) -> bool:
    """Cancel the waiting job that is listed last: it is the furthest from being run."""
    listed = await operator.send("list_jobs")
    if listed.outcome != COMPLETED:
        log.lost += listed.outcome == LOST
        return listed.outcome != LOST
    job: int | float | str | None = None
    for reports in range(64):
        status = await operator.wait_for("job_status", REPORT_WAIT_S if not reports else 1.0)
        if status is None:
            break
        # The list also has jobs that are running or ended lately.
        if status.get("state") in _CANCELLABLE:
            job = status.get("job", job)
    if job is None:
        log.surprise("list_jobs: no job that waits is listed")
        return True
    cancelled = await operator.send("cancel_job", job=job)
    # The job may have been run in the meantime: that is a failure with a reason, and no surprise.
    return cancelled.outcome != LOST


_SCRIPT: tuple[Step, ...] = (
    _command(COMPLETED, "ping"),
    _command(COMPLETED, "set_hk_period", structures={"power": 5.0}),
    _command(COMPLETED, "report_parameters", parameters=["soc_safe_frac"]),
    _command(COMPLETED, "set_parameters", parameters={"soc_safe_frac": 0.55}),
    # Deliberately out of bounds: the node has to refuse it at acceptance and say why.
    _command(REJECTED, "set_parameters", raw=True, parameters={"soc_safe_frac": 7.0}),
    _command(COMPLETED, "submit_job", tiles=4, priority=1, deadline_s=1800.0),
    _command(COMPLETED, "submit_job", tiles=2, priority=6, deadline_s=3600.0),
    _list_and_cancel,
    _command(COMPLETED, "payload_power", state="off"),
    _command(COMPLETED, "payload_power", state="on"),
    _command(COMPLETED, "set_power_mode", mode="eco"),
    _command(COMPLETED, "set_power_mode", mode="nominal"),
    _command(COMPLETED, "ping"),
)
_WATCH: tuple[Step, ...] = (
    _command(COMPLETED, "ping"),
    _command(COMPLETED, "report_parameters", parameters=["soc_safe_frac"]),
    _command(COMPLETED, "list_jobs"),
)
