"""The steps of a procedure on stdout: for people, or one JSON object per line."""

# A step is told twice (ground/procedures/steps.py): as it begins, with an empty outcome, and as it has ended. Only what
# has ended is printed for good. What goes on at the moment is shown on a terminal alone, on a line that the next output
# erases. Nothing here may end a procedure: a spacecraft must not be left halfway through because a pipe was closed.

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.text.plain_text import CLEAR_LINE, json_text, plain
from flight.text.plural import plural
from ground.cli.api.client import output
from ground.exact_values import jsonable_all
from ground.operator import COMPLETED
from ground.procedures.steps import CAME, CONTACT, SEND, SEND_RAW, SLEEP, SLEPT, WAIT_CONTACT, WAIT_FOR, Step

if TYPE_CHECKING:
    from rich.text import Text

_VALUES_MAX = 6  # of a packet, on one line for people
_COMMANDS = (SEND, SEND_RAW)
_COLOURS = {COMPLETED: "green", CAME: "cyan", CONTACT: "cyan", SLEPT: "default"}


class Lines(Protocol):
    """A place at which steps are shown."""

    def step(self, step: Step) -> None:
        """Show a step."""

    def end(self, procedure: str, outcome: str, reason: str, *, commands: int, took_s: float) -> None:
        """Show how the procedure ended."""


class LastingLines:
    """Shows steps by `lines` for as long as stdout takes them.

    A reader that goes away, or a full disk, must not end a procedure halfway: the fault is raised at the end.
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._fault: OSError | OrbitnodeError | None = None

    def step(self, step: Step) -> None:
        """Show a step, unless stdout has refused an earlier one."""
        if self._fault is None:
            try:
                self._lines.step(step)
            except (OSError, OrbitnodeError) as error:
                self._fault = error

    def end(self, procedure: str, outcome: str, reason: str, *, commands: int, took_s: float) -> None:
        """Show how the procedure ended. Raises the fault that stdout had with an earlier line, if any."""
        if self._fault is not None:
            raise self._fault
        self._lines.end(procedure, outcome, reason, commands=commands, took_s=took_s)


class JsonLines:
    """Prints an object per step that has ended, and one at the end. `utc_text` gives UTC at an operator's time."""

    def __init__(self, utc_text: Callable[[float], str]) -> None:
        self._utc_text = utc_text
        self._out = sys.stdout  # taken now: while the procedure runs, sys.stdout is redirected

    def step(self, step: Step) -> None:
        """Show a step that has ended; what has only begun is not an object."""
        if not step.outcome:
            return
        # The time at which the step began, not ended: with `took_s` beside it a program has both.
        line: dict[str, Any] = {"time": self._utc_text(step.began_s), "step": step.kind}
        if step.kind in _COMMANDS:
            line |= {"command": step.name, "arguments": jsonable_all(step.values), "code": step.code}
        else:
            line |= {"packet": step.name} if step.kind == WAIT_FOR else {}
            line |= {"limit_s": step.limit_s}
        if step.outcome == CAME:
            line["values"] = jsonable_all(step.values)
        line |= {"outcome": step.outcome, "reason": step.reason, "took_s": round(step.took_s, 6)}
        print(json_text(line), file=self._out, flush=True)

    def end(self, procedure: str, outcome: str, reason: str, *, commands: int, took_s: float) -> None:
        """Show how the procedure ended."""
        line = {"done": True, "procedure": procedure, "outcome": outcome, "reason": reason, "commands": commands,
                "took_s": round(took_s, 6)}  # fmt: skip
        print(json_text(line), file=self._out, flush=True)


class PlainLines:
    """Prints a line per step that has ended, sleeps apart; on a terminal also what goes on at the moment."""

    def __init__(self, utc_text: Callable[[float], str]) -> None:
        self._utc_text = utc_text
        self._console = output()
        self._live = self._console.is_terminal
        self._out = sys.stdout  # taken now: while the procedure runs, sys.stdout is redirected

    def step(self, step: Step) -> None:
        """Show a step."""
        if not step.outcome:
            self._now(step)
        elif step.outcome == SLEPT:
            self._clear()
        else:
            self._ended(step)

    def end(self, procedure: str, outcome: str, _reason: str, *, commands: int, took_s: float) -> None:
        """Show how the procedure ended. Its reason is not shown here: the command prints it to stderr."""
        self._clear()
        number = f"{commands} {plural(commands, 'command')}"
        self._print(plain(f"{procedure} {outcome} after {_duration(took_s)}, {number}"))

    def _ended(self, step: Step) -> None:
        from rich.text import Text

        self._clear()
        took = f" in {_duration(step.took_s)}" if step.kind in _COMMANDS else f" after {_duration(step.took_s)}"
        more = step.reason or ("" if step.kind in _COMMANDS else _values(step.values))
        colour = _COLOURS.get(step.outcome, "red")  # every outcome that is not listed is one that nobody wanted
        line = Text.assemble(  # [11:23]: hours to milliseconds of an ISO time
            f"{self._utc_text(step.began_s)[11:23]}  {plain(_label(step))}  ", (step.outcome, colour),
            took + (f": {plain(more)}" if more else ""),
        )  # fmt: skip
        self._print(line)

    def _now(self, step: Step) -> None:
        """Show what goes on, on a line that the outcome will replace."""
        if self._live:
            limit = f", {_duration(step.limit_s)} at most" if step.kind in (WAIT_FOR, WAIT_CONTACT) else ""
            limit = f" {_duration(step.limit_s)}" if step.kind == SLEEP else limit
            self._write(CLEAR_LINE + plain(f"{self._utc_text(step.began_s)[11:23]}  {_label(step)}{limit} ..."))

    def _clear(self) -> None:
        if self._live:
            self._write(CLEAR_LINE)

    def _print(self, text: str | Text) -> None:
        # Captured and written by ourselves: rich's console would end the process if the reader is gone.
        with self._console.capture() as styled:
            self._console.print(text, soft_wrap=True)
        self._write(styled.get())

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _label(step: Step) -> str:
    """Return the call in words, with the arguments of a command."""
    match step.kind:
        case "wait_for":
            return f"wait for {step.name}"
        case "wait_contact":
            return "wait for contact"
        case "sleep":
            return "sleep"
    raw = " (raw)" if step.kind == SEND_RAW else ""
    return " ".join([step.name, *(f"{name}={_text(value)}" for name, value in step.values.items())]) + raw


def _values(values: Mapping[str, Plain]) -> str:
    """Return the first values of a packet on one line."""
    shown = [f"{name} {_text(value)}" for name, value in list(values.items())[:_VALUES_MAX]]
    more = len(values) - len(shown)
    return ", ".join(shown) + (f", {more} more" if more > 0 else "")


def _text(value: Plain) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _duration(s: float) -> str:
    """Return a duration in seconds with a unit that suits it."""
    if s < 1:
        return f"{s * 1e3:.1f} ms"
    return f"{s:.1f} s" if s < 120 else f"{s / 60:.0f} min" if s < 7200 else f"{s / 3600:.1f} h"
