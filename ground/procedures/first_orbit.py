"""The default script of a run: it gives the node every kind of command once, then looks at it in later contacts.

Missions differ in apps, power modes, parameters and structures, so the script asks the dictionary what there is. A step
whose command, argument, label or report the dictionary does not have is left out.
"""

# A step that did not get through is tried again in the next contact, TRIES_MAX times in all, and keeps its place: later
# steps may build on it. Only two outcomes mean "not through": lost, or rejected by the ground itself (without a failure
# code of the node). Whatever the node answered is an answer, and one that was not expected is noted as a surprise.
#
# A contact that ends early is not a failure: passes are short, and their links fade. Every wait and every list here has
# a bound.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flight.contract.dictionary import Dictionary, Setting
from flight.contract.fields import Field, FieldError
from flight.contract.parameter_table import admit, contradiction
from ground.operator import COMPLETED, LOST, REJECTED, Operator

CONTACTS_MAX = 256
CONTACT_WAIT_S = 6 * 3600.0  # several orbits: not each of them passes over a station
CONTACT_S_MAX = 1800.0  # longer than a pass in low orbit; a link that is always up must not hold the script for ever
TRIES_MAX = 4
POLL_S = 5.0
REPORT_WAIT_S = 20.0
LINES_MAX = 100
_CANCELLABLE = ("waiting", "queued")  # states of a job, by the labels of `job_status`
# What the script prefers if the dictionary has it.
_STRUCTURE, _PERIOD_S = "power", 5.0
_SETTING, _VALUE = "soc_safe_frac", 0.55
_MODES = ("eco", "nominal")


@dataclass(slots=True)
class ScriptLog:
    """What the script saw. `surprises`: outcomes other than expected, one line each, at most `LINES_MAX`."""

    contacts: int = 0
    done: int = 0
    lost: int = 0
    given_up: int = 0
    surprises: list[str] = field(default_factory=list)

    def surprise(self, text: str) -> None:
        """Note an outcome that was not expected, if there is room for it."""
        if len(self.surprises) < LINES_MAX:
            self.surprises.append(text)


# A step: True when done, False to try again at the next contact.
Step = Callable[[Operator, ScriptLog], Awaitable[bool]]


async def first_orbit(operator: Operator, log: ScriptLog | None = None) -> None:
    """Run the script for `CONTACTS_MAX` contacts, or until none came for `CONTACT_WAIT_S`."""
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
    """Run steps in order while the contact lasts; return those that remain, each with its number of tries."""
    remaining = list(waiting)
    while remaining and operator.now_s() < end_s and await operator.wait_contact(0.0):
        step, tries = remaining.pop(0)
        if await step(operator, log):
            log.done += 1
        elif tries + 1 < TRIES_MAX:
            remaining.insert(0, (step, tries + 1))
        else:
            log.given_up += 1
            log.surprise(f"given up after {TRIES_MAX} tries: {getattr(step, '__name__', 'step')}")
    return remaining


async def _until_silence(operator: Operator, end_s: float) -> None:
    """Wait for the end of the contact, so that the next one is a new one."""
    while operator.now_s() < end_s and await operator.wait_contact(0.0):
        await operator.sleep(POLL_S)


# Which steps there are


def _script(dictionary: Dictionary) -> list[Step]:
    """Return every step once, as far as the dictionary has what it needs."""
    # Ping first and last: is the node there, and is it still there after all that it was told?
    return [*_ping(dictionary), *_reports(dictionary), *_jobs(dictionary), *_board(dictionary), *_ping(dictionary)]


def _watch(dictionary: Dictionary) -> list[Step]:
    """Return the steps of each contact after the script is through."""
    setting = _setting(dictionary)
    asked = (
        [] if setting is None else [*_command(dictionary, COMPLETED, "report_parameters", parameters=[setting.name])]
    )
    return [*_ping(dictionary), *asked, *_command(dictionary, COMPLETED, "list_jobs")]


def _ping(dictionary: Dictionary) -> Iterator[Step]:
    yield from _command(dictionary, COMPLETED, "ping")


def _reports(dictionary: Dictionary) -> Iterator[Step]:
    """Yield steps on housekeeping and parameters."""
    names = [structure.name for structure in dictionary.structures if structure.period_s]
    if names:
        structure = _STRUCTURE if _STRUCTURE in names else names[0]
        yield from _command(dictionary, COMPLETED, "set_hk_period", structures={structure: _PERIOD_S})
    setting = _setting(dictionary)
    if setting is not None:
        value = _another_value(dictionary, setting)
        yield from _command(dictionary, COMPLETED, "report_parameters", parameters=[setting.name])
        yield from _command(dictionary, COMPLETED, "set_parameters", parameters={setting.name: value})
        # Deliberately out of bounds, past the ground's own check: the node has to refuse it at acceptance and say why.
        beyond = {setting.name: max(7.0, 2 * abs(setting.maximum) + 1)}
        yield from _command(dictionary, REJECTED, "set_parameters", raw=True, parameters=beyond)


def _jobs(dictionary: Dictionary) -> Iterator[Step]:
    """Yield steps for an app that takes jobs, as the payload manager does."""
    yield from _command(dictionary, COMPLETED, "submit_job", tiles=4, priority=1, deadline_s=1800.0)
    yield from _command(dictionary, COMPLETED, "submit_job", tiles=2, priority=6, deadline_s=3600.0)
    status = next((report for report in dictionary.reports if report.name == "job_status"), None)
    has_job_and_state = {"job", "state"} <= {field.name for field in (() if status is None else status.fields)}
    if has_job_and_state and _fits(dictionary, "list_jobs", {}) and _fits(dictionary, "cancel_job", {"job": 1}):
        yield _list_and_cancel


def _board(dictionary: Dictionary) -> Iterator[Step]:
    """Yield steps on the payload's supply and the power modes."""
    yield from _command(dictionary, COMPLETED, "payload_power", state="off")
    yield from _command(dictionary, COMPLETED, "payload_power", state="on")
    usual = [step for mode in _MODES for step in _command(dictionary, COMPLETED, "set_power_mode", mode=mode)]
    if len(usual) == len(_MODES):
        yield from usual
        return
    # A mission with modes of its own: any of them may be the present one, so the step has to ask first.
    modes = next((field.labels for field in _arguments(dictionary, "set_power_mode") if field.name == "mode"), ())
    shown = [field for s in dictionary.structures if s.name == _STRUCTURE for field in s.fields if field.name == "mode"]
    if modes and shown and shown[0].labels == modes and _fits(dictionary, "set_power_mode", {"mode": modes[0]}):
        yield _mode_and_back(modes)


def _setting(dictionary: Dictionary) -> Setting | None:
    """Return the parameter that is asked for and set, None if there is none."""
    ordered = sorted(dictionary.settings, key=lambda setting: setting.name != _SETTING)
    return ordered[0] if ordered else None


def _another_value(dictionary: Dictionary, setting: Setting) -> float:
    """Return a value that the node admits: `_VALUE` if its bounds allow that, else the default."""
    defaults = {known.name: known.default for known in dictionary.settings}
    try:
        value = admit(setting, _VALUE)
    except FieldError:
        return setting.default
    return setting.default if contradiction(dictionary.settings, {**defaults, setting.name: value}) else value


def _arguments(dictionary: Dictionary, name: str) -> tuple[Field, ...]:
    return next((command.arguments for command in dictionary.commands if command.name == name), ())


def _fits(dictionary: Dictionary, name: str, given: Mapping[str, object]) -> bool:
    """Return whether there is such a command, and it takes these arguments and no others.

    Rows are not looked into: they name things of the dictionary, which the encoder looks up.
    """
    if name not in {command.name for command in dictionary.commands}:
        return False
    known = {field.name: field for field in _arguments(dictionary, name)}
    if not given.keys() <= known.keys():
        return False
    if any(field.default is None for name, field in known.items() if name not in given):
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
    """Yield a step of one command whose outcome should be `expected`; none if the dictionary has no such command."""
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
    """Return a step that goes to another power mode than the present one, which reports tell, and back again."""
    present: list[str] = []  # kept over tries: a second try must go back to the first mode, not to the one in between

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
    for reports in range(64):  # a bound only: the list ends with a wait in which no report comes
        status = await operator.wait_for("job_status", REPORT_WAIT_S if not reports else 1.0)
        if status is None:
            break
        # The list also has jobs that are running or ended lately.
        if status.get("state") in _CANCELLABLE:
            job = status.get("job", job)
    if job is None:
        log.surprise("list_jobs: no waiting job is listed")
        return True
    cancelled = await operator.send("cancel_job", job=job)
    # The job may have been run in the meantime: the command then fails for a good reason, which is not a surprise.
    return cancelled.outcome != LOST
