"""The ground in virtual time: a station on the air, and an operator whose script is a coroutine on the same loop."""

# The station (ground/station.py) is the same code as in flight: sans-IO, it takes octets and a time and returns CLTUs
# to send. Here is the other half, in virtual time: who calls it when something arrives, and when it asks to be called.
#
# CLTUs wait in a queue in front of the transmitter, bounded by _UPLINK_MAX; what is too much is refused and counted,
# and COP-1 sends it again. The queue is emptied when the contact ends: a frame of the last pass would only confuse the
# next.
#
# One timer serves all of the station's: it stands at the earliest time the station asks for, and is moved forward when
# an earlier one comes. It is set at least a nanosecond ahead, else a station that asks for the present would be called
# for ever at one instant.
#
# An operator's script is a coroutine in a scheduler of its own on the loop. It sees the same Operator as one in flight,
# so the same file runs there. A script that fails ends by itself, is noted with its line, and the run goes on to its
# end: the spacecraft's results are worth having, and the command says at the end that the script failed.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Plain
from flight.core.errors import OrbitnodeError
from flight.core.future import Cancelled, Future
from flight.core.nanoseconds import NS
from flight.core.scheduler import Scheduler
from flight.core.task import Task
from ground.changes import Change, Packet
from ground.commands.arrivals import Arrivals
from ground.commands.names import check_packet_name
from ground.operator import CommandRecord
from ground.procedures.procedure import Body, fault_text, run_in_task
from ground.station import GroundStation
from sim_hw.machine.air import Air
from sim_hw.machine.loop import Call, VirtualLoop

_UPLINK_MAX = 1024  # CLTUs that wait for the transmitter: more than COP-1's window ever has under way


class GroundSegment:
    """Joins a GroundStation to the air. `on_cltu` is called with every CLTU as it goes to the transmitter.

    `script_failures` says, a line each, where and why an operator's script failed; `refused_cltus` counts those for
    which there was no room.
    """

    def __init__(self, station: GroundStation, air: Air, loop: VirtualLoop) -> None:
        self.station = station
        self.loop = loop
        self.refused_cltus = 0
        self.script_failures: list[str] = []
        self.closed = False
        self._script_file = ""
        self.on_cltu: Callable[[bytes], None] = lambda _: None
        self._air = air
        self._waiting: deque[bytes] = deque()
        self._timer: Call | None = None
        self._timer_ns = -1
        self._scheduler = Scheduler(loop, loop.now_ns, self._script_failed, restarts_max=0)
        air.on_downlink = self._downlinked
        air.on_contact = self._contact

    def run_script(self, script: Body, file: str = "") -> None:
        """Start an operator's script, which stands in `file`. If it fails that is noted, and the run goes on."""
        self._script_file = file

        async def body(task: Task) -> None:
            operator = VirtualOperator(self, task)
            try:
                await run_in_task(script, operator, Cancelled)
            finally:
                operator.close()

        self._scheduler.spawn("operator", body)

    def uplink(self, cltus: list[bytes]) -> None:
        """Send CLTUs to the transmitter, in order; those for which it has no room wait."""
        for cltu in cltus:
            if len(self._waiting) >= _UPLINK_MAX:
                self.refused_cltus += 1
                continue
            self._waiting.append(cltu)
        # Taken off only once the transmitter has it, so that none is lost and none overtakes another.
        while self._waiting and self._air.uplink(self._waiting[0]):
            self.on_cltu(self._waiting.popleft())
        self._arm()

    def listen_to(self, air: Air, link: str) -> None:
        """Receive what comes over this air as well, for the station's further link of that name."""

        def on_downlink(octets: bytes) -> None:
            self.uplink(self.station.on_downlink(octets, self.loop.now_ns(), link))

        def on_contact(station: str | None) -> None:
            if station is None:
                self.uplink(self.station.end_contact(self.loop.now_ns(), link))

        air.on_downlink = on_downlink
        air.on_contact = on_contact

    def close(self) -> None:
        """End scripts and open transfers, and write the archive's last batch."""
        self.closed = True
        self._scheduler.close()
        self.station.close(self.loop.now_ns(), is_last=True)

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
        """Set the one timer to the earliest time the station asks for."""
        next_ns = self.station.next_time_ns
        if next_ns is None or (self._timer is not None and self._timer_ns <= next_ns):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = max(next_ns, self.loop.now_ns() + 1)
        self._timer = self.loop.call_at(self._timer_ns, self._on_time)

    def _script_failed(self, _task: Task, error: BaseException) -> None:
        if not self.closed:  # else the end of the run cut it short, and nothing failed
            self.script_failures.append(fault_text(error, self._script_file))


class VirtualOperator:
    """ground.operator.Operator on the virtual timeline."""

    def __init__(self, ground: GroundSegment, task: Task) -> None:
        self._ground = ground
        self._task = task
        self._arrivals = Arrivals()
        ground.station.listen(self._on_change)

    def close(self) -> None:
        """Stop listening to the station."""
        self._ground.station.unlisten(self._on_change)

    def _on_change(self, change: Change, news: object) -> None:
        if change is Change.PACKET and isinstance(news, Packet) and news.decoded is not None:
            self._arrivals.add(news.decoded.name, news.decoded.values)

    @property
    def dictionary(self) -> Dictionary:
        """What the node can say and be told."""
        return self._ground.station.dictionary

    def now_s(self) -> float:
        """Return seconds since the start of the run."""
        return self._ground.loop.now_ns() / NS

    async def send(self, command: str, **arguments: object) -> CommandRecord:
        """Send a command and wait for its end, see ground.operator.Operator."""
        return await self._send(command, arguments, raw=False)

    async def send_raw(self, command: str, **arguments: object) -> CommandRecord:
        """Send a command without the ground's range checks and wait for its end: to see the node refuse."""
        return await self._send(command, arguments, raw=True)

    async def wait_for(self, what: str, timeout_s: float) -> Mapping[str, Plain] | None:
        """Return the next packet of that name, or None if none comes in time, see ground.operator.Operator."""
        self._check_open()
        check_packet_name(self._ground.station.dictionary, what)
        arrived: Future[None] = Future()

        def listen(change: Change, _news: object) -> None:
            if change is Change.PACKET and self._arrivals.has(what):
                arrived.set_result(None)

        if not self._arrivals.has(what):
            await self._listening(listen, arrived, timeout_s)
        return self._arrivals.take(what)

    async def wait_contact(self, timeout_s: float) -> bool:
        """Return whether there is contact, or comes to be in time."""
        self._check_open()
        if self._ground.station.in_contact:
            return True
        gained: Future[None] = Future()

        def listen(change: Change, station: object) -> None:
            if change is Change.CONTACT and station:
                gained.set_result(None)

        return await self._listening(listen, gained, timeout_s)

    async def sleep(self, s: float) -> None:
        """Let virtual time pass."""
        self._check_open()
        await self._task.sleep(s)

    async def _send(self, command: str, arguments: Mapping[str, object], *, raw: bool) -> CommandRecord:
        """Send a command and wait for its end, without a limit of its own: the tracker ends every record in time."""
        self._check_open()
        ground = self._ground
        record, cltus = ground.station.send(command, arguments, ground.loop.now_ns(), raw=raw)
        self._arrivals.clear()
        ended: Future[None] = Future()

        def listen(change: Change, changed: object) -> None:
            if change is Change.COMMAND and changed is record and not record.is_open:
                ended.set_result(None)

        ground.station.listen(listen)
        try:
            ground.uplink(cltus)
            if record.is_open:
                await ended
        finally:
            ground.station.unlisten(listen)
        return record.snapshot()

    def _check_open(self) -> None:
        """Raise OrbitnodeError once the run is over: no time passes any more, so nothing that waits could be done."""
        if self._ground.closed:
            raise OrbitnodeError("the run has ended")

    async def _listening(
        self, listen: Callable[[Change, object], None], future: Future[None], timeout_s: float
    ) -> bool:
        """Wait until `listen` resolves `future`; return whether it did in time."""
        station = self._ground.station
        station.listen(listen)
        try:
            return await self._task.wait(future, timeout_s)
        finally:
            station.unlisten(listen)
