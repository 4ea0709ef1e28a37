"""Which events leave the node: those that ground has not disabled, and of each no more than so many in a window.

A window begins with an event and lasts `window_s`. What comes beyond `burst` in it is counted, and the count is told
when the window has ended. What is disabled is stored, one row of the vault an event. The boot event always leaves.
"""

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
    burst: int = key(100, minimum=1, maximum=10_000, text="reports of one event in a window at most")
    window_s: float = key(60.0, minimum=1, maximum=3600, text="length of that window; what is beyond is counted")


@dataclass(slots=True)
class _Window:
    event: EventDefinition
    end_ns: int
    passed: int = 0
    held_back: int = 0


class EventGate(Service):
    """One for all APIDs of a node. `tell` gets an event and how many of it were held back in a window that ended.

    `held_back` and `disabled` count events that were not reported. `dropped` has the rows of the vault, by APID and
    number, that are of no event of this software.
    """

    def __init__(
        self, declared: Iterable[EventDefinition], config: EventsConfig, vault: Vault, now_ns: Callable[[], int],
        tell: Callable[[EventDefinition, int], None],
    ) -> None:  # fmt: skip
        self.held_back = 0
        self.disabled = 0
        self.dropped: list[str] = []
        self._config = config
        self._now_ns = now_ns
        self._tell = tell
        self._off: set[Key] = set()
        self._windows: dict[Key, _Window] = {}
        self._holding = Event()
        self._restore({row_of(e.apid, e.number): (e.apid, e.number) for e in declared}, vault)

    def _restore(self, known: dict[str, Key], vault: Vault) -> None:
        for name, _ in vault.rows(_PREFIX):
            one = known.get(_PREFIX + name)
            if one is None:
                self.dropped.append(name)
            else:
                self._off.add(one)
        if self.dropped:
            try:
                vault.stage({_PREFIX + name: None for name in self.dropped})
            except StorageError:
                pass  # the next boot finds them, and drops them, again

    def switch(self, enabled: bool, keys: Iterable[Key]) -> None:
        if enabled:
            self._off.difference_update(keys)
        else:
            self._off.update(keys)

    def off(self, apid: int) -> list[int]:
        """Numbers of the events of `apid` that are disabled, in order."""
        return sorted(number for of, number in self._off if of == apid)

    def admit(self, event: EventDefinition) -> bool:
        """Whether this occurrence is to be reported; counted where not."""
        one = (event.apid, event.number)
        if one in self._off:
            self.disabled += 1
            return False
        if event.name in (BOOT, THROTTLED):
            return True
        now_ns = self._now_ns()
        window = self._windows.get(one)
        if window is None or now_ns >= window.end_ns:
            if window is not None:
                self._end(window)
            window = self._windows[one] = _Window(event, now_ns + ns(self._config.window_s))
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
            self._tell(window.event, count)

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("events", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Tell of each window that held something back as it ends."""
        while True:
            holding = [window for window in self._windows.values() if window.held_back]
            if not holding:
                self._holding.clear()
                await self._holding.wait()
                continue
            now_ns = self._now_ns()
            told = 0
            for window in holding:
                if window.end_ns <= now_ns:
                    self._end(window)
                    told += 1
                    if told % PACKETS == 0:
                        await task.sleep(0)
            next_ns = min((window.end_ns for window in holding if window.held_back), default=now_ns)
            await task.sleep((next_ns - self._now_ns()) / NS)


def row_of(apid: int, number: int) -> str:
    """The vault's key for a disabled event."""
    return f"{_PREFIX}{apid}.{number}"
