"""The ground in virtual time: a station on the air, and an operator whose script is a coroutine on the same loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from flight.contract.fields import Plain
from flight.core.future import Future
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from ground.changes import Change, Packet
from ground.operator import CommandRecord, Operator
from ground.station import GroundStation
from sim_hw.machine.air import Air
from sim_hw.machine.loop import Call, VirtualLoop

T = TypeVar("T")
Script = Callable[[Operator], Awaitable[None]]
_UPLINK_MAX = 1024
_RECENT_MAX = 64
_NAMES_MAX = 256


class GroundSegment:
    """Joins a GroundStation to the air. `uplinked` keeps every CLTU in the order it went to the transmitter."""

    def __init__(self, station: GroundStation, air: Air, loop: VirtualLoop) -> None:
        self.station = station
        self.loop = loop
        self.refused_cltus = 0
        self.script_failures: list[str] = []
        self.on_cltu: Callable[[bytes], None] = lambda _: None
        self._air = air
        self._waiting: deque[bytes] = deque()
        self._timer: Call | None = None
        self._timer_ns = -1
        self._scheduler = Scheduler(loop, loop.now_ns, self._script_failed, restarts_max=0)
        air.on_downlink = self._downlinked
        air.on_contact = self._contact

    def run_script(self, script: Script) -> None:
        """Start an operator's script. A script that fails is noted, the run goes on."""

        async def body(task: Task) -> None:
            await script(VirtualOperator(self, task))

        self._scheduler.spawn("operator", body)

    def uplink(self, cltus: list[bytes]) -> None:
        """CLTUs to the transmitter, in order; what it has no room for waits, bounded."""
        for cltu in cltus:
            if len(self._waiting) >= _UPLINK_MAX:
                self.refused_cltus += 1
                continue
            self._waiting.append(cltu)
        while self._waiting and self._air.uplink(self._waiting[0]):
            self.on_cltu(self._waiting.popleft())
        self._arm()

    def listen_to(self, air: Air, link: str) -> None:
        """Receive also what comes over this air, for the station's further link of that name."""

        def on_downlink(octets: bytes) -> None:
            self.uplink(self.station.on_downlink(octets, self.loop.now_ns(), link))

        def on_contact(station: str | None) -> None:
            if station is None:
                self.uplink(self.station.end_contact(self.loop.now_ns(), link))

        air.on_downlink = on_downlink
        air.on_contact = on_contact

    def close(self) -> None:
        """End scripts, open transfers and the archive's last batch."""
        self._scheduler.close()
        self.station.close(self.loop.now_ns())

    def _downlinked(self, octets: bytes) -> None:
        self.uplink(self.station.on_downlink(octets, self.loop.now_ns()))

    def _contact(self, station: str | None) -> None:
        if station is None:
            self._waiting.clear()
            self.uplink(self.station.end_contact(self.loop.now_ns()))

    def _on_time(self) -> None:
        self._timer = None
        self.uplink(self.station.on_time(self.loop.now_ns()))

    def _arm(self) -> None:
        """One timer, at the earliest time the station asks for."""
        next_ns = self.station.next_time_ns
        if next_ns is None or (self._timer is not None and self._timer_ns <= next_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = max(next_ns, self.loop.now_ns() + 1)
        self._timer = self.loop.call_at(self._timer_ns, self._on_time)

    def _script_failed(self, task: Task, error: BaseException) -> None:
        self.script_failures.append(f"{type(error).__name__}: {error}")


class VirtualOperator:
    """ground.operator.Operator on the virtual timeline."""

    def __init__(self, ground: GroundSegment, task: Task) -> None:
        self._ground = ground
        self._task = task
        # What came since the last command and was not asked for yet: its reports precede its completion.
        self._recent: dict[str, deque[Mapping[str, Plain]]] = {}
        ground.station.listen(self._remember)

    def _remember(self, change: Change, thing: object) -> None:
        if change is Change.PACKET and isinstance(thing, Packet) and thing.decoded is not None:
            name = thing.decoded.name
            if name in self._recent or len(self._recent) < _NAMES_MAX:
                self._recent.setdefault(name, deque(maxlen=_RECENT_MAX)).append(thing.decoded.values)

    def now_s(self) -> float:
        return self._ground.loop.now_ns() / NS

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        return await self._send(command, arguments, raw=False)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        return await self._send(command, arguments, raw=True)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        recent = self._recent.get(what)
        if recent:
            return recent.popleft()
        arrived: Future[Mapping[str, Plain]] = Future()

        def listen(change: Change, thing: object) -> None:
            if change is Change.PACKET and isinstance(thing, Packet):
                decoded = thing.decoded
                if decoded is not None and decoded.name == what and not arrived.done:
                    self._recent.pop(what, None)
                    arrived.set_result(decoded.values)

        return await self._listening(listen, arrived, timeout_s)

    async def wait_contact(self, timeout_s: float) -> bool:
        if self._ground.station.in_contact:
            return True
        gained: Future[bool] = Future()

        def listen(change: Change, thing: object) -> None:
            if change is Change.CONTACT and thing:
                gained.set_result(True)

        return await self._listening(listen, gained, timeout_s) is not None

    async def sleep(self, s: float) -> None:
        await self._task.sleep(s)

    async def _send(self, command: str, arguments: Mapping[str, object], *, raw: bool) -> CommandRecord:
        """The tracker ends every record in time, so this waits without a limit of its own."""
        ground = self._ground
        self._recent.clear()
        record, cltus = ground.station.send(command, arguments, ground.loop.now_ns(), raw=raw)
        ended: Future[None] = Future()

        def listen(change: Change, thing: object) -> None:
            if change is Change.COMMAND and thing is record and not record.is_open:
                ended.set_result(None)

        ground.station.listen(listen)
        try:
            ground.uplink(cltus)
            if record.is_open:
                await ended
        finally:
            ground.station.unlisten(listen)
        return record

    async def _listening(
        self, listen: Callable[[Change, object], None], future: Future[T], timeout_s: float
    ) -> T | None:
        station = self._ground.station
        station.listen(listen)
        try:
            return future.result() if await self._task.wait(future, timeout_s) else None
        finally:
            station.unlisten(listen)
