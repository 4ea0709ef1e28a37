"""Radio duty: joins a link's modem to its protocol stack, takes telecommands in, and sends frames while in contact.

Contact is the modem's carrier: with it the modem's buffer is kept full, without it nothing is sent. A packet that goes
down is followed until it has surely left:

    real time   in the channel's queue --frames taken by the modem--> in the modem --_MODEM_UNITS later--> gone
    playback    in the recorder --taken--> in the channel's queue --> in the modem --_MODEM_UNITS later--> departed
    the carrier goes: what may not have been heard goes back to the recorder, and comes down again in the next contact
"""

# No modem says when a unit has left its antenna. A unit counts as gone when the modem has taken _MODEM_UNITS after it:
# that errs towards sending a packet twice, which the ground recognises, rather than towards losing one (ADR 0013).
#
# Positions are counts of octets: each channel counts the octets handed to it, and the link says how many wait. The
# difference is how far the modem has come, whatever the framing makes of packets, and a packet that is split over two
# frames has left with the second one.
#
# A unit that the modem refused is kept and offered again: its frame counts are spent, so throwing it away would look
# like a lost frame on the ground.
#
# The task must not keep others waiting, and the modem's buffer must not run empty. So each step takes in and gives out
# a slice, and playback and files are topped up to _REFILL_FRAMES frames only: what the next frames do not need stays in
# the recorder or the outbox, and is not touched by a contact that ends. If searching the recorder has used up the
# step's budget, the step may leave the modem to send what it has, as long as that lasts for _SEARCH_NS.
#
# A protected link may need its numbers stored before a frame can be made, or one that came can be taken
# (flight/link/security/numbers.py). The store is asked for at once, and takes as long as the disk does. Meanwhile
# nothing more is taken in from the modem, which holds it, and the modem sends what it has; `wake` goes on.
#
# An orderly end of the node (`end`) records what the modem has not taken. It takes no new packets, so the reports that
# are emitted while the node ends are recorded instead.

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from flight.contract.app import EventSink, Sample
from flight.contract.dictionary import Declarations, EventDefinition, Structure
from flight.contract.fields import Field
from flight.contract.service import Sampler, Service, ServiceTask
from flight.core.future import Event
from flight.core.nanoseconds import NS, ns
from flight.core.step_budget import Budget
from flight.core.task import Task
from flight.link.actions import ControlFlood, LinkAction, PacketReceived, SendUnit, StoreSecurity
from flight.link.link import Link, Role
from flight.services.board.device import Device
from flight.services.radio.realtime_packets import RealtimePackets
from flight.services.recorder.retrieval import Taken
from hal.base import Radio

# Playback and files wait in their own stores; the link's queues only ever hold what the next frames need.
_REFILL_FRAMES = 4
# A step takes in and gives out no more than this, so that others are not kept waiting: about a millisecond each.
_SLICE_PACKETS = 8
_SLICE_OCTETS = 1024
_SLICE_UNITS = 16
_SLICE_UNHEARD = 64
# If the modem is busy for this long, a search may go on in the next step before a frame has to be made.
_SEARCH_NS = 20_000_000
# A unit counts as gone when the modem has taken this many after it: so much it may hold when the carrier goes.
_MODEM_UNITS = 16
# A modem that fails may give no event when it works again: it is asked this often.
_RETRY_S = 1.0


def declare(apid: int) -> Declarations:
    """Return the structure "link", which several services fill, and the events of contact."""
    u32 = "u32"
    return Declarations(
        structures=(
            Structure(
                apid, 4, "link", 10.0,
                (
                    Field("contact", "u8", "", "a ground station is heard", labels=("no", "yes")),
                    Field("frames_sent", u32, "", "TM frames sent"),
                    Field("idle_frames", u32, "", "of them without any packet"),
                    Field("tc_frames", u32, "", "TC frames for this spacecraft"),
                    Field("tc_packets", u32, "", "telecommand packets taken by FARM-1"),
                    Field("tc_rejected", u32, "", "units and frames refused, any reason"),
                    Field("outbox_octets", u32, "octet", "products that wait for the downlink"),
                    Field("files_sent", u32, "", "products sent"),
                    Field("files_received", u32, "", "files that came up whole"),
                    Field("files_failed", u32, "", "files that did not come up whole"),
                    Field("file_pdus_refused", u32, "", "parts of files refused, any reason"),
                    Field("rx_dropped", u32, "", "received units lost before they were taken in, for want of room"),
                    Field("codeblocks_corrected", u32, "", "codeblocks of telecommands with a wrong bit, corrected"),
                    Field("control_commands", u32, "", "control commands of COP-1 taken: Unlock, Set V(R)"),
                    Field("control_refused", u32, "", "control commands refused, beyond the rate of the link"),
                ),
            ),
        ),
        events=(
            EventDefinition(apid, 40, "contact", "info", "link {link}: contact", (Field("link", "str"),)),
            EventDefinition(apid, 41, "contact_lost", "info", "link {link}: contact lost", (Field("link", "str"),)),
            EventDefinition(
                apid, 42, "control_flood", "medium",
                "link {link}: more than {per_min} control commands per minute, refused what is more",
                (Field("link", "str"), Field("per_min", "u16")),
            ),
        ),
    )  # fmt: skip


class Source(Protocol):
    """Packets that wait for a free channel."""

    def take(self) -> bytes | None:
        """Take the next packet, or return None if none waits."""


class Playback(Protocol):
    """Packets that are kept until they have left the node."""

    def take(self, budget: Budget) -> Taken | None:
        """Take the next packet, or return None. `budget`: what may be read for it in this step."""

    @property
    def searching(self) -> bool:
        """Whether `take` may find something at the next call although it found nothing now."""

    def departed(self, taken: Taken) -> None:
        """Take in that the packet has left the node."""

    def returned(self, packets: Iterable[Taken]) -> None:
        """Take back packets that were in the modem when the carrier went: whoever asks next gets them again."""

    def unheard(self, packets: Iterable[bytes]) -> None:
        """Take back real-time packets that may not have been heard, those that wait in their queue included."""


# Called for every frame of the real-time channel that the modem has taken: the link, the frame's virtual channel
# count, and when on the node's timeline its first bit leaves.
FrameHook = Callable[["RadioLink", int, int], None]


class RadioLink:
    """One `[[link]]`. In contact it keeps the modem's buffer full, with idle frames if nothing else waits.

    idle_s: if it is not 0, an idle frame goes out only this often, and at once when the link's status (its CLCW) has
    changed.
    """

    def __init__(  # noqa: PLR0913 - what a link joins, each by name
        self,
        name: str,
        radio: Radio,
        link: Link,
        *,
        playback: Playback,
        products: Source,
        on_command: Callable[[bytes], None],
        on_contact: Callable[[], None],
        on_frame: FrameHook,
        on_store: Callable[[StoreSecurity], None] = lambda _: None,
        idle_s: float = 0.0,
        events: EventSink,
        now_ns: Callable[[], int],
    ) -> None:
        self.name = name
        self.link = link
        self.in_contact = False
        self._radio = radio
        # One device per call, so that each has faults of its own: a modem that does not send may still receive.
        calls = ("carrier", "receive", "send", "free_ns", "dropped")
        self._devices = {call: Device(f"radio {name} {call}", events) for call in calls}
        self._dropped = 0
        self._playback = playback
        self._products = products
        self._on_command = on_command
        self._on_contact = on_contact
        self._on_frame = on_frame
        self._on_store = on_store
        self._idle_ns = ns(idle_s)
        self._idle_due_ns = 0
        self._events = events
        self._now_ns = now_ns
        self._wake = Event()
        self._resting = True  # nobody looks into the queues before the modem has something new
        self._commands: deque[bytes] = deque()  # of one received unit
        self._held: bytes | None = None  # the unit that the modem takes next
        self._held_count: int | None = None  # of the frame in it, if that is of the real-time channel
        self._units = 0  # that the modem has taken
        # Playback: octets handed to its channel, those of them that the modem has, and the packets on their way.
        self._queued_octets = 0
        self._sent_octets = 0
        self._queued: deque[tuple[int, Taken]] = deque()  # with the octets handed to the channel up to its end
        self._in_modem: deque[tuple[int, Taken]] = deque()  # with the number of the unit that ended it
        self._realtime = RealtimePackets(_MODEM_UNITS)
        self._unheard: deque[bytes] = deque()  # of a contact that ended, on their way back to the recorder
        self._ended = False
        radio.on_event(self._wake.set)

    @property
    def dropped(self) -> int:
        """Received units lost before they were taken in, for want of room."""
        dropped = self._devices["dropped"].ask(self._radio.dropped)
        if dropped is not None:
            self._dropped = dropped
        return self._dropped

    @property
    def unheard(self) -> int:
        """Real-time packets of a contact that ended which the recorder does not have yet."""
        return len(self._unheard)

    def send_realtime(self, packet: bytes) -> bool:
        """Queue a packet. Return False without contact, or if the queue is full: then the caller has it recorded."""
        if self._ended or not self.in_contact or not self.link.queue(Role.REALTIME, packet):
            return False
        self._realtime.add(packet)
        if self._idle_ns and self._resting:
            self._wake.set()  # the modem may be waiting for nothing
        return True

    def end(self) -> None:
        """End in order: have recorded what the modem has not taken, and take no more packets.

        The modem sends what it has.
        """
        self._ended = True
        self._realtime.drop_taken()  # recorded as well, it would come down twice
        self._give_back()
        while self._unheard:
            self._give_back_realtime()

    def wake(self) -> None:
        """Go on: what a protected link waited for is stored, or cannot be."""
        self._wake.set()

    async def run(self, task: Task) -> None:
        """Serve the modem whenever it has something new."""
        while True:
            self._wake.clear()
            self._resting = False
            self._follow_carrier()
            while self._unheard:
                await task.sleep(0)
                self._give_back_realtime()
            if self._receive():
                await task.sleep(0)  # the commands have their turn, and their reports go into one frame
            self._resting = True
            self._transmit()
            if self._wake.is_set:
                await task.sleep(0)  # there is more; others get their turn first
                continue
            limits_s: list[float] = []
            if not all(device.healthy for device in self._devices.values()):
                limits_s.append(_RETRY_S)
            if self._idle_ns and self._held is None and self.in_contact:
                limits_s.append((self._idle_due_ns - self._now_ns()) / NS)
            await task.first((self._wake.wait(),), min(limits_s, default=None))

    def _follow_carrier(self) -> None:
        # A modem that does not answer is taken as one that hears nobody: packets are recorded, not lost.
        carrier = self._devices["carrier"].ask(self._radio.carrier) is True
        if carrier == self.in_contact:
            return
        self.in_contact = carrier
        self._on_contact()
        if carrier:
            self.link.acquired()
            self._events.emit("contact", self.name)
        else:
            self.link.carrier_lost()
            self._give_back()
            self._events.emit("contact_lost", self.name)

    def _receive(self) -> bool:
        """Take in a slice of what came up. Return True if there were commands in it."""
        room_octets, commands = _SLICE_OCTETS, False
        for _ in range(_SLICE_PACKETS):
            if not self._commands:
                if room_octets <= 0:
                    break
                octets = b""
                if not self.link.waiting:  # else what has come goes on first
                    taken = self._devices["receive"].ask(self._radio.receive)
                    if taken is None:
                        return commands
                    octets = taken
                room_octets -= len(octets)
                for action in self.link.on_uplink(octets, self._now_ns()):
                    if isinstance(action, PacketReceived):  # what was refused, the link has counted
                        self._commands.append(action.packet)
                    elif isinstance(action, ControlFlood):
                        self._events.emit("control_flood", self.name, action.per_min)
                    else:
                        self._store(action)
                if self.link.waiting and not self._commands:
                    return commands
            if self._commands:
                self._on_command(self._commands.popleft())
                commands = True
        self._wake.set()  # the slice is full, so more may wait
        return commands

    def _transmit(self) -> None:
        """Fill the modem, a slice of units at most. A unit that it refused is kept: its frame counts are spent.

        A step that has read as much of the storage as it may ends with the unit in hand, or before that if the unit can
        wait for what the next step finds.
        """
        if not self.in_contact:
            return
        refill, budget = True, Budget()
        for _ in range(_SLICE_UNITS):
            if self._held is None:
                refill = refill and self._refill(budget)
                if budget.spent and self._may_search_on():
                    break
                if self._idle_ns and not self.link.has_packets() and not self._is_idle_due():
                    return
                self._make_unit()
            if self._held is None:
                return  # until a number for it is stored
            # Only for a real-time frame is the instant needed at which it leaves: the time report tells of it. Asked
            # before `send`: the unit begins when the modem is through with those before it.
            free_ns = 0 if self._held_count is None else self._devices["free_ns"].ask(self._radio.free_ns)
            left_ns = None if free_ns is None else max(free_ns, self._now_ns())
            if not self._send(self._held):
                return
            self._units += 1
            if self._held_count is not None:
                self._realtime.unit_taken(self._units, self.link.backlog_octets(Role.REALTIME))
                if left_ns is not None:
                    self._on_frame(self, self._held_count, left_ns)
            self._held = None
            self._realtime.forget(self._units)
            self._follow_playback()
            if budget.spent:
                break
        self._wake.set()  # there may be room for more

    def _send(self, unit: bytes) -> bool:
        """Give the modem a unit. Return True if it has taken it."""
        return self._devices["send"].ask(lambda: self._radio.send(unit)) is True

    def _may_search_on(self) -> bool:
        """Whether less than a frame waits, and the modem has time for a search to go on."""
        link = self.link
        waiting = link.backlog_octets(Role.REALTIME) + link.backlog_octets(Role.PRODUCTS)
        if waiting or link.backlog_octets(Role.PLAYBACK) >= link.frame_octets:
            return False
        if self._idle_ns:
            return not self._is_idle_due()
        free_ns = self._devices["free_ns"].ask(self._radio.free_ns)
        return free_ns is not None and free_ns - self._now_ns() > _SEARCH_NS

    def _is_idle_due(self) -> bool:
        return self._now_ns() >= self._idle_due_ns or self.link.has_news

    def _make_unit(self) -> None:
        if self._idle_ns:
            self._idle_due_ns = self._now_ns() + self._idle_ns
        for action in self.link.next_unit():
            if isinstance(action, SendUnit):
                self._held, self._held_count = action.octets, action.realtime_count
            else:
                self._store(action)

    def _store(self, action: LinkAction) -> None:
        if isinstance(action, StoreSecurity):
            self._on_store(action)

    def _refill(self, budget: Budget) -> bool:
        """Top up the queues of playback and products. Return False if neither has more before the next round."""
        roles = self.link.roles
        more_playback = Role.PLAYBACK in roles and self._refill_playback(budget)
        more_products = Role.PRODUCTS in roles and self._refill_products()
        return more_playback or more_products

    def _refill_playback(self, budget: Budget) -> bool:
        while self._has_room(Role.PLAYBACK):
            taken = self._playback.take(budget)
            if taken is None:
                if not self._playback.searching:
                    return False
                self._wake.set()
                return True
            if not self.link.queue(Role.PLAYBACK, taken.packet):
                self._playback.returned([taken])
                return False
            self._queued_octets += len(taken.packet)
            self._queued.append((self._queued_octets, taken))
        return True

    def _refill_products(self) -> bool:
        while self._has_room(Role.PRODUCTS):
            packet = self._products.take()
            if packet is None:
                return False
            self.link.queue(Role.PRODUCTS, packet)
        return True

    def _has_room(self, role: Role) -> bool:
        return self.link.backlog_octets(role) < _REFILL_FRAMES * self.link.frame_octets

    def _give_back(self) -> None:
        """Give back, as the carrier goes, what may not have been heard, the packet that is half sent included."""
        lost = [taken for _, taken in self._in_modem]
        self._in_modem.clear()
        if self._queued:
            end_octets, taken = self._queued[0]
            # The first queued packet has begun to leave in a frame that may not have been heard.
            if end_octets - len(taken.packet) < self._sent_octets:
                self._queued.popleft()
                lost.append(taken)
        self._playback.returned(lost)
        self._unheard.extend(self._realtime.take_all())
        self._give_back_realtime()

    def _give_back_realtime(self) -> None:
        """Have recorded what may not have been heard, as much as one step may."""
        count = min(_SLICE_UNHEARD, len(self._unheard))
        self._playback.unheard([self._unheard.popleft() for _ in range(count)])

    def _follow_playback(self) -> None:
        """See which packets the unit ended that the modem took, and report those that are gone."""
        queued, in_modem = self._queued, self._in_modem
        if queued:
            self._sent_octets = self._queued_octets - self.link.backlog_octets(Role.PLAYBACK)
            while queued and queued[0][0] <= self._sent_octets:
                in_modem.append((self._units, queued.popleft()[1]))
        while in_modem and in_modem[0][0] + _MODEM_UNITS <= self._units:
            self._playback.departed(in_modem.popleft()[1])


class RadioLinks(Service):
    """All links of a node."""

    def __init__(self) -> None:
        self._links: list[RadioLink] = []

    def __iter__(self) -> Iterator[RadioLink]:
        return iter(self._links)

    def __getitem__(self, index: int) -> RadioLink:
        return self._links[index]

    def add(self, link: RadioLink) -> None:
        """Add one `[[link]]`, in the mission's order."""
        self._links.append(link)

    @property
    def in_contact(self) -> bool:
        """Whether a ground station is heard on any of them."""
        return any(link.in_contact for link in self._links)

    @property
    def carries_products_now(self) -> bool:
        """Whether a link that carries products has contact; any link, if none carries them."""
        carriers = [link for link in self._links if Role.PRODUCTS in link.link.roles] or self._links
        return any(link.in_contact for link in carriers)

    @property
    def drained(self) -> bool:
        """Whether all live telemetry has left their queues, or went back to the recorder as the contact ended."""
        live = [link.link for link in self._links if link.in_contact]
        waiting = any(link.backlog_octets(Role.REALTIME) for link in live)
        return not waiting and not any(link.unheard for link in self._links)

    def wake(self) -> None:
        """Let every link go on that waited for its numbers to be stored."""
        for link in self._links:
            link.wake()

    def samplers(self) -> Iterable[Sampler]:
        """Return the sampler of the link's own fields of the structure "link"."""
        return (Sampler("link", self.sample),)

    def tasks(self) -> Iterable[ServiceTask]:
        """Return a critical task per link."""
        return [ServiceTask(f"radio.{link.name}", link.run, deadline_s=0.05, critical=True) for link in self._links]

    def sample(self) -> Sample:
        """Return what the structure "link" says of all of them together. Files have owners of their own."""
        counters = [link.link.counters for link in self._links]
        return {
            "contact": int(self.in_contact),
            "frames_sent": sum(counter.units_sent for counter in counters),
            "idle_frames": sum(counter.idle_frames for counter in counters),
            "tc_frames": sum(counter.tc_frames for counter in counters),
            "tc_packets": sum(counter.tc_packets for counter in counters),
            "tc_rejected": sum(sum(counter.uplink_rejected.values()) for counter in counters),
            "rx_dropped": sum(link.dropped for link in self._links),
            "codeblocks_corrected": sum(counter.cltu_corrected for counter in counters),
            "control_commands": sum(counter.control_commands for counter in counters),
            "control_refused": sum(counter.uplink_rejected.get("control_rate", 0) for counter in counters),
        }
