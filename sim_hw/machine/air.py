"""The air between a node and its ground stations: two channels, a modem at each end, driven by the virtual loop."""

# Who drives whom. `Channel` (sim_hw/world/channel.py) is pure and knows no loop; `_Direction` puts it on one: it asks
# for the next instant at which something happens, sets one timer, and moves the channel there. An `offer` can only
# bring that instant forward if there was none, so the timer is set again only then.
#
# The node is nudged, not polled: when the carrier comes or goes, and when half of the transmit buffer is free. Half,
# because a nudge per frame would run the radio task for each, and an empty buffer would leave the transmitter idle
# until the task has run.
#
# Passes over two stations may overlap. The station that rose first is served until it sets, then the next one takes
# over without a loss of lock: a hand-over, in which the light time changes and the channel keeps its order of units.
#
# What arrives is recorded for the digest on both ways, after the bit errors: two runs with one digest heard the same.
# Each direction draws its errors from a generator of its own.
#
# What a spacecraft without power does: its modem hears nothing and forgets what was not fetched. The way down is not
# touched, since nobody feeds it: what is in its buffer still leaves, as from a modem that lives a little longer.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from sim_hw.machine.loop import Call, VirtualLoop
from sim_hw.machine.platform import Record
from sim_hw.world.channel import Channel, ChannelConfig, Delivery
from sim_hw.world.orbit import Pass
from sim_hw.world.world import World

_RECEIVED_MAX = 1024  # CLTUs that wait for the node: far above what a pass sends between two of its steps


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
        """Put a unit into the transmit buffer; return False if it does not fit."""
        taken = self.channel.offer(octets, self._loop.now_ns())
        if self._timer is None:
            self._arm()
        return taken

    def turn(self) -> None:
        """Hand on what has arrived, nudge the modem about room and carrier, and come back at the next event."""
        self._timer = None
        now_ns = self._loop.now_ns()
        for delivery in self.channel.deliveries(now_ns):
            self._deliver(delivery)
        carrier = self.channel.carrier(now_ns)
        half_free = 2 * self.channel.room_octets(now_ns) >= self.channel.config.buffer_octets
        if carrier != self._had_carrier or half_free:
            self._had_carrier = carrier
            self._nudge()
        # A delivery or a nudge may have led to an offer, which has set the timer already.
        if self._timer is None:
            self._arm()

    def edge(self) -> None:
        """Look at the channel now: a pass has begun or ended."""
        if self._timer is not None:
            self._timer.cancel()
        self.turn()

    def _arm(self) -> None:
        next_ns = self.channel.next_event_ns()
        if next_ns is not None:
            self._timer = self._loop.call_at(next_ns, self.turn)


class Air:
    """Two directions and who hears them. The node's end is a hal Radio, the ground's end are callbacks.

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
        """Put rise and set of each of `passes` on the loop."""
        for contact in passes:
            self._loop.call_at(contact.start_ns, partial(self.rise, contact))
            self._loop.call_at(contact.end_ns, partial(self.set, contact))

    def light_time_ns(self, t_ns: int) -> int:
        """Return the light time one way to the station that is served, or 0 if none is."""
        return self._world.light_time(self.in_sight[0].station)(t_ns) if self.in_sight else 0

    def uplink(self, octets: bytes) -> bool:
        """Give one CLTU to the station's transmitter; return False if its buffer is full."""
        return self.up.offer(octets)

    def rise(self, contact: Pass) -> None:
        """Begin a pass; it is served at once if no other one is."""
        self.in_sight.append(contact)
        if len(self.in_sight) == 1:
            self._serve(contact)

    def _serve(self, contact: Pass) -> None:
        delay = self._world.light_time(contact.station)
        for direction in (self.down, self.up):
            direction.channel.on_rise(self._loop.now_ns(), delay)
            direction.edge()
        self.on_contact(contact.station.name)

    def set(self, contact: Pass) -> None:
        """End a pass; a station that rose meanwhile takes over."""
        served = self.in_sight[0] is contact
        self.in_sight.remove(contact)
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
    """hal.base.Radio on the spacecraft's end of the air. `overrun` counts units that a node did not fetch in time."""

    def __init__(self, air: Air, loop: VirtualLoop) -> None:
        self.overrun = 0
        self._powered = True
        self._air = air
        self._loop = loop
        self._received: deque[bytes] = deque()
        self._call: Callable[[], None] = lambda: None

    def set_power(self, on: bool) -> None:
        """Switch the receiver. What was heard and not fetched is gone either way."""
        self._powered = on
        self._received.clear()

    def carrier(self) -> bool:
        """Return whether the receiver is locked to a carrier."""
        return self._powered and self._air.up.channel.carrier(self._loop.now_ns())

    def send(self, unit: bytes) -> bool:
        """Put a unit into the transmit buffer; return False if it does not fit."""
        return self._air.down.offer(unit)

    def free_ns(self) -> int:
        """Return when the last bit of all that was sent leaves."""
        return self._air.down.channel.busy_until_ns

    def receive(self) -> bytes | None:
        """Return the oldest unit that was heard and not fetched, or None."""
        return self._received.popleft() if self._received else None

    def dropped(self) -> int:
        """Return how many units were lost because nobody fetched them."""
        return self.overrun

    def on_event(self, call: Callable[[], None]) -> None:
        """Have `call` called when something was heard, the carrier changed, or there is room to send."""
        self._call = call

    def hear(self, octets: bytes) -> None:
        """Take a unit from the air. A node that does not fetch loses the newest ones, counted in `overrun`."""
        if not self._powered:
            return
        if len(self._received) >= _RECEIVED_MAX:
            self.overrun += 1
            return
        self._received.append(octets)
        self._call()

    def nudge(self) -> None:
        """Tell the node that the carrier changed or that there is room to send."""
        self._call()
