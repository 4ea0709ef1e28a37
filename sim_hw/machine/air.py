"""The air between a node and its ground stations: two channels, a modem at each end, driven by the virtual loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from sim_hw.machine.loop import Call, VirtualLoop
from sim_hw.machine.platform import Record
from sim_hw.world.channel import Channel, ChannelConfig, Delivery
from sim_hw.world.orbit import Pass
from sim_hw.world.world import World

_RECEIVED_MAX = 1024


class _Direction:
    """One channel on the loop: deliveries at their time, and a nudge when half the buffer is free."""

    def __init__(self, channel: Channel, loop: VirtualLoop, deliver: Callable[[Delivery], None],
                 nudge: Callable[[], None]) -> None:  # fmt: skip
        self.channel = channel
        self._loop = loop
        self._deliver = deliver
        self._nudge = nudge
        self._timer: Call | None = None
        self._had_carrier = False

    def offer(self, octets: bytes) -> bool:
        taken = self.channel.offer(octets, self._loop.now_ns())
        if self._timer is None:
            self._arm()
        return taken

    def turn(self) -> None:
        """Take what has arrived, tell of room and carrier, and come back at the next event."""
        self._timer = None
        now_ns = self._loop.now_ns()
        for delivery in self.channel.deliveries(now_ns):
            self._deliver(delivery)
        carrier = self.channel.carrier(now_ns)
        half_free = 2 * self.channel.room_octets(now_ns) >= self.channel.config.buffer_octets
        if carrier != self._had_carrier or half_free:
            self._had_carrier = carrier
            self._nudge()
        if self._timer is None:
            self._arm()

    def edge(self) -> None:
        """A pass begins or ends."""
        if self._timer is not None:
            self._timer.cancel()
        self.turn()

    def _arm(self) -> None:
        next_ns = self.channel.next_event_ns()
        if next_ns is not None:
            self._timer = self._loop.call_at(next_ns, self.turn)


class Air:
    """Two directions and who hears them. The node's end is a hal Radio; the ground's end is callbacks.

    `on_downlink(octets)` gets each received unit, `on_contact(station or None)` each gain and loss of signal. What
    arrives is recorded as NAME.down and NAME.up; in a run the name is that of the node and its link.
    """

    def __init__(self, loop: VirtualLoop, world: World, down: ChannelConfig, up: ChannelConfig, random: Random, *,
                 record: Record | None = None, name: str = "link") -> None:  # fmt: skip
        self.on_downlink: Callable[[bytes], None] = lambda _: None
        self.on_contact: Callable[[str | None], None] = lambda _: None
        self.modem = SimModem(self, loop)
        self._loop = loop
        self._world = world
        self._record = record
        self._down_channel, self._up_channel = f"{name}.down", f"{name}.up"
        self.in_sight: list[Pass] = []  # the first one is served, the others wait until it sets
        # Each channel has its own errors: what goes up must not shift the errors of what comes down.
        self.down = _Direction(Channel(down, Random(random.getrandbits(64))), loop, self._downlinked, self._nudged)
        self.up = _Direction(Channel(up, Random(random.getrandbits(64))), loop, self._uplinked, self._nudged)

    def schedule(self, passes: Sequence[Pass]) -> None:
        """Rise and set for each of `passes`."""
        for one in passes:
            self._loop.call_at(one.start_ns, lambda one=one: self.rise(one))  # type: ignore[misc]
            self._loop.call_at(one.end_ns, lambda one=one: self.set(one))  # type: ignore[misc]

    def light_time_ns(self, t_ns: int) -> int:
        """One way to the station that is served, 0 where none is."""
        return self._world.light_time(self.in_sight[0].station)(t_ns) if self.in_sight else 0

    def uplink(self, octets: bytes) -> bool:
        """Give one CLTU to the station's transmitter; False where its buffer is full."""
        return self.up.offer(octets)

    def rise(self, one: Pass) -> None:
        """The beginning of a pass; it is served at once if no other one is."""
        self.in_sight.append(one)
        if len(self.in_sight) == 1:
            self._serve(one)

    def _serve(self, one: Pass) -> None:
        delay = self._world.light_time(one.station)
        for direction in (self.down, self.up):
            direction.channel.on_rise(self._loop.now_ns(), delay)
            direction.edge()
        self.on_contact(one.station.name)

    def set(self, one: Pass) -> None:
        """The end of a pass; a station that rose meanwhile takes over."""
        served = self.in_sight[0] is one
        self.in_sight.remove(one)
        if not served:
            return
        if self.in_sight:
            self._serve(self.in_sight[0])
            return
        for direction in (self.down, self.up):
            direction.channel.on_set(self._loop.now_ns())
            direction.edge()
        self.on_contact(None)

    def _downlinked(self, delivery: Delivery) -> None:
        if self._record is not None:
            self._record.enter(delivery.t_ns, self._down_channel, delivery.octets)
        self.on_downlink(delivery.octets)

    def _uplinked(self, delivery: Delivery) -> None:
        if self._record is not None:
            self._record.enter(delivery.t_ns, self._up_channel, delivery.octets)
        self.modem.hear(delivery.octets)

    def _nudged(self) -> None:
        self.modem.nudge()


class SimModem:
    """hal.base.Radio on the spacecraft's end of the air."""

    def __init__(self, air: Air, loop: VirtualLoop) -> None:
        self.overrun = 0
        self._powered = True
        self._air = air
        self._loop = loop
        self._received: deque[bytes] = deque()
        self._call: Callable[[], None] = lambda: None

    def set_power(self, on: bool) -> None:
        """Without power nothing is heard, and what was heard and not fetched is gone."""
        self._powered = on
        self._received.clear()

    def carrier(self) -> bool:
        return self._powered and self._air.up.channel.carrier(self._loop.now_ns())

    def send(self, unit: bytes) -> bool:
        return self._air.down.offer(unit)

    def free_ns(self) -> int:
        return self._air.down.channel.busy_until_ns

    def receive(self) -> bytes | None:
        return self._received.popleft() if self._received else None

    def dropped(self) -> int:
        return self.overrun

    def on_event(self, call: Callable[[], None]) -> None:
        self._call = call

    def hear(self, octets: bytes) -> None:
        """From the air. A node that does not listen loses the newest, counted in `overrun`."""
        if not self._powered:
            return
        if len(self._received) >= _RECEIVED_MAX:
            self.overrun += 1
            return
        self._received.append(octets)
        self._call()

    def nudge(self) -> None:
        self._call()
