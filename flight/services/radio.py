"""Radio duty: one link's modem joined to its protocol stack, telecommands in, frames out while in contact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flight.app import EventSink
from flight.core.future import Event
from flight.core.scheduler import Task
from flight.dictionary import Declarations, EventDefinition, Structure
from flight.fields import Field
from flight.link.stack import FlightLink
from hal.base import Radio

# Playback and files wait in their own stores; the link's queues only ever hold what the next frames need.
_REFILL_FRAMES = 4
_RECEIVE_MAX = 64


def declare(apid: int) -> Declarations:
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
                    Field("recorded_packets", u32, "", "packets that wait for playback"),
                    Field("recorded_octets", u32, "octet", "the same in octets"),
                    Field("overwritten_packets", u32, "", "recorded packets lost to newer ones"),
                    Field("recorder_faults", u32, "", "times the recorder's storage failed; packets stay in memory"),
                    Field("outbox_octets", u32, "octet", "products that wait for the downlink"),
                    Field("files_sent", u32, "", "products sent"),
                ),
            ),
        ),
        events=(
            EventDefinition(apid, 40, "contact", "info", "link {link}: contact", (Field("link", "str"),)),
            EventDefinition(apid, 41, "contact_lost", "info", "link {link}: contact lost", (Field("link", "str"),)),
        ),
    )  # fmt: skip


class Source(Protocol):
    """Packets that wait for a free channel."""

    def take(self) -> bytes | None: ...


class Playback(Source, Protocol):
    """Packets that are kept until they have left."""

    def played_out(self) -> None:
        """None of the packets taken waits in the link any more."""


class RadioLink:
    """One `[[link]]`. In contact it keeps the modem's buffer full, with idle frames where nothing else waits."""

    def __init__(
        self,
        name: str,
        radio: Radio,
        link: FlightLink,
        *,
        playback: Playback,
        products: Source,
        on_command: Callable[[bytes], None],
        on_contact: Callable[[], None],
        events: EventSink,
        now_ns: Callable[[], int],
    ) -> None:
        self.name = name
        self.link = link
        self.in_contact = False
        self._radio = radio
        self._playback = playback
        self._products = products
        self._on_command = on_command
        self._on_contact = on_contact
        self._events = events
        self._now_ns = now_ns
        self._wake = Event()
        self._held: bytes | None = None
        radio.on_event(self._wake.set)

    def send_realtime(self, packet: bytes) -> bool:
        """False out of contact, or where the real-time queue is full: then the recorder has it."""
        return self.in_contact and self.link.queue(self.link.config.vc_realtime, packet)

    async def run(self, task: Task) -> None:
        """Serve the modem whenever it has something new."""
        while True:
            self._wake.clear()
            self._follow_carrier()
            self._receive()
            self._transmit()
            if self._wake.is_set:
                await task.sleep(0)  # there is more; others get their turn first
            else:
                await self._wake.wait()

    def _follow_carrier(self) -> None:
        carrier = self._radio.carrier()
        if carrier == self.in_contact:
            return
        self.in_contact = carrier
        self._on_contact()
        if carrier:
            self.link.acquired()
            self._events.emit("contact", self.name)
        else:
            self.link.carrier_lost()
            self._events.emit("contact_lost", self.name)

    def _receive(self) -> None:
        for _ in range(_RECEIVE_MAX):
            octets = self._radio.receive()
            if octets is None:
                return
            for packet in self.link.on_uplink(octets, self._now_ns()):
                self._on_command(packet)
        self._wake.set()  # more may wait

    def _transmit(self) -> None:
        """Fill the modem. A unit it refused is kept: its frame counts are spent."""
        while self.in_contact:
            if self._held is None:
                self._refill(self.link.config.vc_playback, self._playback)
                self._refill(self.link.config.vc_products, self._products)
                self._held = self.link.next_unit()
            if not self._radio.send(self._held):
                return
            self._held = None
            if not self.link.backlog_octets(self.link.config.vc_playback):
                self._playback.played_out()

    def _refill(self, vcid: int, source: Source) -> None:
        while self.link.backlog_octets(vcid) < _REFILL_FRAMES * self.link.config.frame_octets:
            packet = source.take()
            if packet is None:
                return
            self.link.queue(vcid, packet)
