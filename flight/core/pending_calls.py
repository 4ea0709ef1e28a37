"""The calls of the host that a scheduler waits for. Nothing that is due is ever forgotten.

A scheduler runs only when its host calls it, and asks for two kinds of call: a turn, when a task has become ready; an
alarm, at the earliest time that a task waits for. At most one of each is pending:

    turn    none --ask_turn--> asked                    --the call--> none
    alarm   none --arm-------> armed for a time --arm for an earlier one--> armed for that
                                                        --the call, or disarm--> none
"""

# A scheduler that believes a call to be pending which is not sleeps for ever, with tasks due. So whether a call is
# pending is written in one place per kind, and only that very call, one that replaces it, or `disarm` takes it back.
#
# Each call carries a number. A call that comes although it was cancelled, or that comes twice, takes back nothing that
# is not its own; it still gives the scheduler a turn, which is harmless.
#
# The clock decides nothing here: a call may come early or late by it, and the processor may be taken away between any
# two lines. So a call is recognised by its number, never by comparing times.

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hal.base import Timeline, Timer


class PendingCalls:
    """What one scheduler has asked its host for. Every call of the host, of either kind, calls `on_turn`."""

    __slots__ = ("_alarm", "_alarm_ns", "_alarm_number", "_host", "_number", "_on_turn", "_turn_number")

    def __init__(self, host: Timeline, on_turn: Callable[[], None]) -> None:
        self._host = host
        self._on_turn = on_turn
        self._number = 0  # of the newest call
        self._turn_number = 0  # of the turn that is pending, 0 for none
        self._alarm: Timer | None = None
        self._alarm_ns = 0
        self._alarm_number = 0

    @property
    def turn_asked(self) -> bool:
        """Whether a turn will come."""
        return bool(self._turn_number)

    @property
    def armed(self) -> bool:
        """Whether an alarm will come."""
        return self._alarm is not None

    def ask_turn(self, t_ns: int) -> None:
        """Have the host call at `t_ns`, unless a turn is pending already."""
        if not self._turn_number:
            self._number = self._turn_number = number = self._number + 1
            self._host.call_at(t_ns, partial(self._take_turn, number))

    def arm(self, t_ns: int) -> None:
        """Have the host call at `t_ns`, or before it if an earlier alarm is pending."""
        if self._alarm is not None:
            if self._alarm_ns <= t_ns:
                return  # an early call is harmless: that turn finds nothing due, and arms again
            self._alarm.cancel()
        self._number = number = self._number + 1
        self._alarm_ns, self._alarm_number = t_ns, number
        self._alarm = self._host.call_at(t_ns, partial(self._take_alarm, number))

    def disarm(self) -> None:
        """Cancel the alarm. A turn that was asked for still comes."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _take_turn(self, number: int) -> None:
        if number == self._turn_number:
            self._turn_number = 0
        self._on_turn()

    def _take_alarm(self, number: int) -> None:
        if number == self._alarm_number:
            self._alarm = None
        self._on_turn()
