"""The clock of an entity's timers: it runs in contact alone."""

# Between two passes nothing can come, so silence says nothing about the peer. All timers and limits of an entity are in
# the time of this clock. It stands still out of contact, and starts from 0 after a reboot: a record holds no times, and
# a transaction that is restored begins its wait again.

from __future__ import annotations


class ContactClock:
    """How long there has been contact, in nanoseconds, all contacts together. It begins out of contact."""

    __slots__ = ("_before_ns", "_since_ns")

    def __init__(self) -> None:
        self._before_ns = 0  # of the contacts that have ended
        self._since_ns: int | None = None  # when this one began

    @property
    def in_contact(self) -> bool:
        """Whether there is contact."""
        return self._since_ns is not None

    def set_contact(self, in_contact: bool, now_ns: int) -> bool:
        """Take in whether there is contact now; return whether that is new."""
        if in_contact == (self._since_ns is not None):
            return False
        self._before_ns = self.at(now_ns)
        self._since_ns = now_ns if in_contact else None
        return True

    def at(self, now_ns: int) -> int:
        """Return what this clock shows at the time `now_ns` of the other."""
        return self._before_ns if self._since_ns is None else self._before_ns + now_ns - self._since_ns

    def when(self, at_ns: int) -> int | None:
        """Return when this clock will show `at_ns`, None if it stands still."""
        return None if self._since_ns is None else self._since_ns + at_ns - self._before_ns
