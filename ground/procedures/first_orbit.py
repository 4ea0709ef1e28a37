"""The default script of a run: tells the node what it can be told, once, then keeps an eye on it in later contacts.

Missions differ: another app, other power modes, parameters and structures. So the script asks the dictionary what there
is. A step whose command, argument, label or report the dictionary does not have is left out.

A command that is lost is tried again in the next contact; a contact that ends early is no failure. Nothing here waits
without a bound.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flight.contract.dictionary import Dictionary, Setting
from flight.contract.fields import Field, FieldError
from flight.contract.parameter_table import admit, contradiction
from ground.operator import COMPLETED, LOST, REJECTED, Operator

CONTACTS_MAX = 256
CONTACT_WAIT_S = 6 * 3600.0
CONTACT_S_MAX = 1800.0
TRIES_MAX = 4
POLL_S = 5.0
REPORT_WAIT_S = 20.0
LINES_MAX = 100
_CANCELLABLE = ("waiting", "queued")
# What is preferred among the things of the dictionary, if it is there.
_STRUCTURE, _PERIOD_S = "power", 5.0
_SETTING, _VALUE = "soc_safe_frac", 0.55
_MODES = ("eco", "nominal")


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
    dictionary = operator.dictionary
    waiting: list[tuple[Step, int]] = [(step, 0) for step in _script(dictionary)]
    for _ in range(CONTACTS_MAX):
        if not await operator.wait_contact(CONTACT_WAIT_S):
            return
        log.contacts += 1
        end_s = operator.now_s() + CONTACT_S_MAX
        waiting = await _run(operator, log, waiting, end_s)
        await _until_silence(operator, end_s)
        if not waiting:
            waiting = [(step, 0) for step in _watch(dictionary)]


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


# What there is to do


def _script(dictionary: Dictionary) -> list[Step]:
    """Every step once, as far as the dictionary has what it takes."""
    return [*_ping(dictionary), *_reports(dictionary), *_jobs(dictionary), *_board(dictionary), *_ping(dictionary)]


def _watch(dictionary: Dictionary) -> list[Step]:
    """What is done in each contact after the script is through."""
    setting = _setting(dictionary)
    asked = (
        [] if setting is None else [*_command(dictionary, COMPLETED, "report_parameters", parameters=[setting.name])]
    )
    return [*_ping(dictionary), *asked, *_command(dictionary, COMPLETED, "list_jobs")]


def _ping(dictionary: Dictionary) -> Iterator[Step]:
    yield from _command(dictionary, COMPLETED, "ping")


def _reports(dictionary: Dictionary) -> Iterator[Step]:
    """Housekeeping and parameters."""
    names = [one.name for one in dictionary.structures if one.period_s]
    if names:
        structure = _STRUCTURE if _STRUCTURE in names else names[0]
        yield from _command(dictionary, COMPLETED, "set_hk_period", structures={structure: _PERIOD_S})
    setting = _setting(dictionary)
    if setting is not None:
        value = _another_value(dictionary, setting)
        yield from _command(dictionary, COMPLETED, "report_parameters", parameters=[setting.name])
        yield from _command(dictionary, COMPLETED, "set_parameters", parameters={setting.name: value})
        # Deliberately out of bounds: the node has to refuse it at acceptance and say why.
        beyond = {setting.name: max(7.0, 2 * abs(setting.maximum) + 1)}
        yield from _command(dictionary, REJECTED, "set_parameters", raw=True, parameters=beyond)


def _jobs(dictionary: Dictionary) -> Iterator[Step]:
    """Of an app that takes jobs, as the payload manager does."""
    yield from _command(dictionary, COMPLETED, "submit_job", tiles=4, priority=1, deadline_s=1800.0)
    yield from _command(dictionary, COMPLETED, "submit_job", tiles=2, priority=6, deadline_s=3600.0)
    status = next((one for one in dictionary.reports if one.name == "job_status"), None)
    told = {"job", "state"} <= {one.name for one in (() if status is None else status.fields)}
    if told and _fits(dictionary, "list_jobs", {}) and _fits(dictionary, "cancel_job", {"job": 1}):
        yield _list_and_cancel


def _board(dictionary: Dictionary) -> Iterator[Step]:
    """The payload's supply, and the power modes."""
    yield from _command(dictionary, COMPLETED, "payload_power", state="off")
    yield from _command(dictionary, COMPLETED, "payload_power", state="on")
    usual = [step for mode in _MODES for step in _command(dictionary, COMPLETED, "set_power_mode", mode=mode)]
    if len(usual) == len(_MODES):
        yield from usual
        return
    modes = next((one.labels for one in _arguments(dictionary, "set_power_mode") if one.name == "mode"), ())
    shown = [one for s in dictionary.structures if s.name == _STRUCTURE for one in s.fields if one.name == "mode"]
    if modes and shown and shown[0].labels == modes and _fits(dictionary, "set_power_mode", {"mode": modes[0]}):
        yield _mode_and_back(modes)


def _setting(dictionary: Dictionary) -> Setting | None:
    """The parameter that is asked for and set, None if there is none."""
    ordered = sorted(dictionary.settings, key=lambda one: one.name != _SETTING)
    return ordered[0] if ordered else None


def _another_value(dictionary: Dictionary, setting: Setting) -> float:
    """A value that the node admits, another than the default if the usual one will do."""
    defaults = {one.name: one.default for one in dictionary.settings}
    try:
        value = admit(setting, _VALUE)
    except FieldError:
        return setting.default
    return setting.default if contradiction(dictionary.settings, {**defaults, setting.name: value}) else value


def _arguments(dictionary: Dictionary, name: str) -> tuple[Field, ...]:
    return next((one.arguments for one in dictionary.commands if one.name == name), ())


def _fits(dictionary: Dictionary, name: str, given: Mapping[str, object]) -> bool:
    """Whether there is such a command, and it takes these arguments and no others. Rows name things of the dictionary,
    which the encoder looks up: here they are rows, and that is enough.
    """
    if name not in {one.name for one in dictionary.commands}:
        return False
    known = {one.name: one for one in _arguments(dictionary, name)}
    if not given.keys() <= known.keys() or any(one.default is None for name, one in known.items() if name not in given):
        return False
    for key, value in given.items():
        if isinstance(value, list | dict):
            if known[key].type != "rows":
                return False
            continue
        try:
            known[key].admit(value)
        except FieldError:
            return False
    return True


# Steps


def _command(
    dictionary: Dictionary, expected: str, name: str, *, raw: bool = False, **arguments: object
) -> Iterator[Step]:
    """A step of one command whose outcome should be `expected`; none if the dictionary has no such command."""
    if not _fits(dictionary, name, arguments):
        return

    async def step(operator: Operator, log: ScriptLog) -> bool:
        record = await (operator.send_raw if raw else operator.send)(name, **arguments)
        if record.outcome == LOST or (record.outcome == REJECTED and record.code is None):
            log.lost += 1
            return False  # nobody answered, or it never went up
        if record.outcome != expected:
            log.surprise(f"{name}: {record.outcome} instead of {expected}: {record.reason}")
        return True

    step.__name__ = name
    yield step


def _mode_and_back(modes: tuple[str, ...]) -> Step:
    """Another power mode than the present one, and that again: which one a mission starts in, its reports say."""
    present: list[str] = []  # and the same one when the step is tried again

    async def step(operator: Operator, log: ScriptLog) -> bool:
        if not present:
            status = await operator.wait_for(_STRUCTURE, REPORT_WAIT_S)
            if status is None:
                return False
            present.append(str(status["mode"]))
        # The first mode is the safe one: any other comes before it.
        another = next((mode for mode in reversed(modes) if mode != present[0]), present[0])
        for mode in (another, present[0]):
            record = await operator.send("set_power_mode", mode=mode)
            if record.outcome == LOST or (record.outcome == REJECTED and record.code is None):
                log.lost += 1
                return False
            if record.outcome != COMPLETED:
                log.surprise(f"set_power_mode: {record.outcome} instead of {COMPLETED}: {record.reason}")
        return True

    step.__name__ = "set_power_mode"
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
