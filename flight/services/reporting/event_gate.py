"""Which events leave the node: those that ground has not disabled, and of each no more than a number per window.

A window begins with an event and lasts `window_s`. What comes beyond `burst` in it is counted, and the count is
reported when the window has ended. The boot event has no window, and no command can disable it.
"""

# A fault that repeats itself must not fill the downlink, and must not be hidden either: the first `burst` reports say
# what it is, and one more event says how many were held back. That event is never held back itself, nor is the event of
# a boot, by which the ground knows that all counters begin again.
#
# What is disabled is a row of the vault per event, `events.APID.NUMBER`, and survives a reboot. Windows and counts are
# in memory. A row of an event that this software does not have is deleted at boot and reported: if a later version
# gives that number to another event, that event must not be silent because of it.
#
# The gate only decides on reports. Whoever listens to an event (ST[19]) is called whether it is reported or not.

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flight.contract.dictionary import EventDefinition
from flight.contract.service import Service, ServiceTask
from flight.core.config import key
from flight.core.errors import StorageError
from flight.core.future import Event
from flight.core.nanoseconds import NS, ns
from flight.core.step_budget import PACKETS
from flight.core.task import Task
from flight.store.vault import Vault

BOOT = "boot"
THROTTLED = "events_throttled"
_PREFIX = "events."

Key = tuple[int, int]  # APID and number of an event


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """Mission section [events]."""

    burst: int = key(100, minimum=1, maximum=10_000, text="reports of one event in a window at most")
    window_s: float = key(60.0, minimum=1, maximum=3600, text="length of that window; what is beyond is counted")


@dataclass(slots=True)
class _Window:
    """A window of one event: how many were reported in it, and how many held back."""

    event: EventDefinition
    end_ns: int
    passed: int = 0
    held_back: int = 0


class EventGate(Service):
    """Decides for all APIDs of a node which events are reported.

    `on_withheld` gets an event and how many of it were held back in a window that has ended. `held_back` and `disabled`
    count events that were not reported. `dropped` has the rows of the vault, by APID and number, that belong to no
    event of this software.
    """

    def __init__(
        self, declared: Iterable[EventDefinition], config: EventsConfig, vault: Vault, now_ns: Callable[[], int],
        on_withheld: Callable[[EventDefinition, int], None],
    ) -> None:  # fmt: skip
        self.held_back = 0
        self.disabled = 0
        self.dropped: list[str] = []
        self._config = config
        self._now_ns = now_ns
        self._on_withheld = on_withheld
        self._off: set[Key] = set()  # disabled from ground
        self._windows: dict[Key, _Window] = {}
        self._holding = Event()  # some window has held an event back
        self._restore({row_of(e.apid, e.number): (e.apid, e.number) for e in declared}, vault)

    def _restore(self, known: dict[str, Key], vault: Vault) -> None:
        for name, _ in vault.rows(_PREFIX):
            event_key = known.get(_PREFIX + name)
            if event_key is None:
                self.dropped.append(name)
            else:
                self._off.add(event_key)
        if self.dropped:
            try:
                vault.stage({_PREFIX + name: None for name in self.dropped})
            except StorageError:
                pass  # the next boot finds them, and drops them, again

    def switch(self, enabled: bool, keys: Iterable[Key]) -> None:
        """Enable or disable events, as of now. The command that asks for it stores the rows."""
        if enabled:
            self._off.difference_update(keys)
        else:
            self._off.update(keys)

    def off(self, apid: int) -> list[int]:
        """Return the numbers of the events of `apid` that are disabled, in order."""
        return sorted(number for of, number in self._off if of == apid)

    def admit(self, event: EventDefinition) -> bool:
        """Whether this occurrence is to be reported. It is counted if it is not."""
        event_key = (event.apid, event.number)
        if event_key in self._off:
            self.disabled += 1
            return False
        if event.name in (BOOT, THROTTLED):
            return True
        now_ns = self._now_ns()
        window = self._windows.get(event_key)
        if window is None or now_ns >= window.end_ns:
            # The task may not have had its turn since that window ended.
            if window is not None:
                self._end(window)
            window = self._windows[event_key] = _Window(event, now_ns + ns(self._config.window_s))
        if window.passed < self._config.burst:
            window.passed += 1
            return True
        window.held_back += 1
        self.held_back += 1
        self._holding.set()
        return False

    def _end(self, window: _Window) -> None:
        count, window.held_back = window.held_back, 0
        if count:
            self._on_withheld(window.event, count)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that reports windows that have ended."""
        return (ServiceTask("events", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Report each window that held something back when it ends."""
        while True:
            holding = [window for window in self._windows.values() if window.held_back]
            if not holding:
                self._holding.clear()
                await self._holding.wait()
                continue
            now_ns = self._now_ns()
            reported = 0
            for window in holding:
                if window.end_ns <= now_ns:
                    self._end(window)
                    reported += 1
                    # Many windows may end at once; a step sends a few packets only.
                    if reported % PACKETS == 0:
                        await task.sleep(0)
            next_ns = min((window.end_ns for window in holding if window.held_back), default=now_ns)
            await task.sleep((next_ns - self._now_ns()) / NS)


def row_of(apid: int, number: int) -> str:
    """Return the vault's key for a disabled event."""
    return f"{_PREFIX}{apid}.{number}"
