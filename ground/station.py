"""GroundStation: one node as the ground sees it; session, decoder, limits, verification, archive and products joined.

Sans-IO but for the archive and the products folder: octets and times go in, CLTUs come out; the same object serves
the simulator's virtual time and the server's real time.

Contact:  none --a good frame--> contact (the AD service comes up)  --`silence_s` without a frame--> none (it rests)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, auto

from flight.core.errors import DecodeError, OrbitnodeError
from flight.dictionary import Dictionary
from flight.fields import Field, Value
from ground.actions import (
    Acknowledged,
    Action,
    Alert,
    FrameReceived,
    Lost,
    PacketReceived,
    Rejected,
    Restarted,
    SendCltu,
)
from ground.archive import Archive, EventRow, ProductRow
from ground.commanding import CommandEncoder
from ground.decoder import EVENT, HOUSEKEEPING, PARAMETER_REPORT, PDU, REPORT, DecodedPacket, Decoder
from ground.limits import NORMAL, Alarm, LimitChecker
from ground.operator import CommandRecord
from ground.products import ProductStore
from ground.session import GroundSession, Service
from ground.verification import CommandTracker

SECOND_NS = 10**9
EVENTS_KEPT = 500
_RETRY_NS = 10 * SECOND_NS


class Change(Enum):
    """What a listener is told of: the kind of the object that comes with it."""

    FRAME = auto()  # FrameReceived
    PACKET = auto()  # Packet
    COMMAND = auto()  # CommandRecord, at each new stage
    ALARM = auto()  # Alarm
    PRODUCT = auto()  # ProductRow
    CONTACT = auto()  # bool
    NOTE = auto()  # str: what the operator should know of link and archive


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as received; `decoded` is None where it is malformed."""

    vcid: int
    octets: bytes
    decoded: DecodedPacket | None


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest value of one parameter. `raw` as transmitted, `value` with its label."""

    time_ns: int
    raw: Value
    value: Value
    unit: str
    state: str


Listener = Callable[[Change, object], None]


@dataclass(slots=True)
class StationCounters:
    """Of the station itself; those of its parts are with them (`GroundStation.counters`)."""

    contacts: int = 0
    cltus: int = 0
    cltu_octets: int = 0
    alarms: int = 0
    storage_faults: int = 0
    octets_by_vc: dict[int, int] = field(default_factory=dict)


class GroundStation:
    """See the head of the file. `epoch_tai_ns` is TAI (since 1958) where the caller's `now_ns` is 0."""

    def __init__(
        self, dictionary: Dictionary, session: GroundSession, *, epoch_tai_ns: int, archive: Archive | None = None,
        products: ProductStore | None = None, command_timeout_s: float = 30.0, silence_s: float = 5.0,
        counters_period_s: float = 10.0,
    ) -> None:  # fmt: skip
        self.dictionary = dictionary
        self.session = session
        self.decoder = Decoder(dictionary)
        self.limits = LimitChecker(dictionary)
        self.encoder = CommandEncoder(dictionary, first_seq=archive.next_seqs() if archive else None)
        first = archive.last_command() + 1 if archive else 1
        self.tracker = CommandTracker(dictionary.failures, timeout_s=command_timeout_s, first_number=first)
        self.products = products
        self.archive = archive
        link = session.config
        vcids = (link.vc_realtime, link.vc_playback, link.vc_products, link.vc_idle)
        self.station_counters = StationCounters(octets_by_vc=dict.fromkeys(vcids, 0))
        self.latest: dict[str, Latest] = {}
        self.events: deque[EventRow] = deque(maxlen=EVENTS_KEPT)
        self.in_contact = False
        self.last_heard_ns: int | None = None
        self._epoch_tai_ns = epoch_tai_ns
        self._silence_ns = round(silence_s * SECOND_NS)
        self._period_ns = round(counters_period_s * SECOND_NS)
        self._next_counters_ns: int | None = None
        self._retry_at_ns: int | None = None
        self._listeners: list[Listener] = []
        self._settings = {s.number: s for s in dictionary.settings}
        self._fields = {s.name: s.fields for s in dictionary.structures}
        if archive is not None:
            self._recall(archive)

    def _recall(self, archive: Archive) -> None:
        """Begin with what the archive knows, so that a late comer sees the latest values."""
        for name, sample in archive.latest().items():
            self.latest[name] = Latest(sample.time_ns, sample.raw, sample.value, sample.unit, NORMAL)
        self.events.extend(archive.events(limit=EVENTS_KEPT))

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def _tell(self, change: Change, what: object) -> None:
        for listener in list(self._listeners):
            listener(change, what)

    def tai_ns(self, now_ns: int) -> int:
        return now_ns + self._epoch_tai_ns

    # What comes in

    def on_downlink(self, octets: bytes, now_ns: int) -> list[bytes]:
        """Octets from the radio; returns CLTUs to send."""
        return self._do(self.session.on_downlink(octets, now_ns), now_ns)

    def on_time(self, now_ns: int) -> list[bytes]:
        """Timers; call at `next_time_ns`, or often. Returns CLTUs to send."""
        cltus = self._do(self.session.on_time(now_ns), now_ns)
        heard_ns = self.last_heard_ns
        if self.in_contact and heard_ns is not None and now_ns - heard_ns >= self._silence_ns:
            cltus += self.end_contact(now_ns)
        for record in self.tracker.due(now_ns):
            # A command that timed out must not go up later, when nobody expects it any more.
            cltus += self._do(self.session.drop(record.number, f"never sent: {self._why_unsent()}"), now_ns)
        for record in self.tracker.on_time(now_ns):
            self._command_changed(record)
        if self.products is not None:
            self._keep_products(self.products.on_time(now_ns, self.tai_ns(now_ns)))
        if self._retry_at_ns is not None and now_ns >= self._retry_at_ns:
            self._retry_at_ns = None
            if self.in_contact and self.session.service is Service.IDLE:
                cltus += self._do(self.session.initiate(now_ns), now_ns)
        if self._next_counters_ns is None or now_ns >= self._next_counters_ns:
            self._next_counters_ns = now_ns + self._period_ns
            self._archive(lambda a: a.add_counters(self.counters(), self.tai_ns(now_ns)))
        return cltus

    @property
    def next_time_ns(self) -> int | None:
        """The earliest moment at which `on_time` has something to do."""
        times = [self.session.next_time_ns, self.tracker.next_time_ns, self._next_counters_ns, self._retry_at_ns]
        if self.products is not None:
            times.append(self.products.next_time_ns)
        if self.in_contact and self.last_heard_ns is not None:
            times.append(self.last_heard_ns + self._silence_ns)
        return min((t for t in times if t is not None), default=None)

    def end_contact(self, now_ns: int) -> list[bytes]:
        """The pass is over, or nothing is heard any more. Commands not yet acknowledged stay for the next."""
        if not self.in_contact:
            return []
        self.in_contact = False
        self._tell(Change.CONTACT, False)
        return self._do(self.session.reset(now_ns), now_ns)

    def close(self, now_ns: int) -> None:
        """End open transfers, write the last counters and commit. The archive stays open: it is its owner's."""
        if self.products is not None:
            self._keep_products(self.products.end_all(self.tai_ns(now_ns)))
        self._archive(lambda a: a.add_counters(self.counters(), self.tai_ns(now_ns)))
        self.commit()

    def commit(self) -> None:
        """Make what the archive has durable against a kill; call it about once a second."""
        self._archive(lambda a: a.commit())

    # Commands

    def send(
        self, name: str, arguments: Mapping[str, Value], now_ns: int, *, raw: bool = False,
        bypass: bool = False, timeout_s: float | None = None,
    ) -> tuple[CommandRecord, list[bytes]]:  # fmt: skip
        """Send a command; its record, which goes on changing, and CLTUs to send. Raises OrbitnodeError.

        With `bypass` by the BD service of COP-1: at once and once, whether or not the node is heard.
        """
        if not self.tracker.has_room:
            raise OrbitnodeError(f"{self.tracker.open_count} commands are open, wait until some of them have ended")
        encoded = self.encoder.encode(name, arguments, raw=raw)
        record = self.tracker.begin(encoded, now_ns, timeout_s)
        self._command_changed(record)
        send = self.session.send_bypass if bypass else self.session.send
        return record, self._do(send(encoded.packet, now_ns, record.number), now_ns)

    def _why_unsent(self) -> str:
        if not self.in_contact:
            return "no node was heard in time"
        up = self.session.service is Service.UP
        return "its turn did not come in time" if up else "the command link did not come up in time"

    def _command_changed(self, record: CommandRecord) -> None:
        self._archive(lambda a: a.put_command(record, self._epoch_tai_ns))
        self._tell(Change.COMMAND, record)

    # Actions of the session

    def _do(self, actions: list[Action], now_ns: int) -> list[bytes]:
        cltus: list[bytes] = []
        for one in actions:
            match one:
                case SendCltu(octets):
                    self.station_counters.cltus += 1
                    self.station_counters.cltu_octets += len(octets)
                    cltus.append(octets)
                case FrameReceived():
                    cltus += self._on_frame(one, now_ns)
                case PacketReceived(vcid, packet):
                    self._on_packet(vcid, packet, now_ns)
                case Acknowledged(tag):
                    self._on_tag(self.tracker.acknowledged(_number(tag), now_ns))
                case Rejected(tag, reason):
                    self._on_tag(self.tracker.rejected(_number(tag), reason, now_ns))
                case Lost(tag, reason):
                    self._on_tag(self.tracker.lost(_number(tag), reason, now_ns))
                case Restarted():
                    self._tell(Change.NOTE, "the node was restarted: it counts its frames anew")
                case Alert(reason):
                    if self.session.service is Service.IDLE:
                        self._retry_at_ns = now_ns + _RETRY_NS
                    self._tell(Change.NOTE, reason)
                case _:
                    pass  # gaps and rejected frames are counted by the session
        return cltus

    def _on_tag(self, record: CommandRecord | None) -> None:
        if record is not None:
            self._command_changed(record)

    def _on_frame(self, one: FrameReceived, now_ns: int) -> list[bytes]:
        self.last_heard_ns = now_ns
        self.station_counters.octets_by_vc[one.frame.vcid] += len(one.raw)
        self._tell(Change.FRAME, one)
        if self.in_contact:
            return []
        self.in_contact = True
        self.station_counters.contacts += 1
        self._tell(Change.CONTACT, True)
        return self._do(self.session.resume(now_ns), now_ns)

    def _on_packet(self, vcid: int, octets: bytes, now_ns: int) -> None:
        received_ns = self.tai_ns(now_ns)
        try:
            packet = self.decoder.decode(octets)
        except DecodeError as error:
            self._tell(Change.PACKET, Packet(vcid, octets, None))
            self._tell(Change.NOTE, f"packet on VC{vcid} does not decode: {error}")
            return
        self._archive(lambda a: a.add_packet(packet, octets, vcid, received_ns))
        if packet.kind == HOUSEKEEPING:
            self._on_housekeeping(packet)
        elif packet.kind == EVENT:
            at = received_ns if packet.time_ns is None else packet.time_ns
            self.events.append(EventRow(at, received_ns, packet.apid, packet.name, packet.severity, packet.text))
        elif packet.kind == REPORT:
            self._on_report(packet, now_ns)
        elif packet.kind == PDU and self.products is not None:
            self._keep_products(self.products.on_pdu(packet.data, now_ns, received_ns))
        self._tell(Change.PACKET, Packet(vcid, octets, packet))

    def _on_housekeeping(self, packet: DecodedPacket) -> None:
        for alarm in self.limits.check(packet):
            self._on_alarm(alarm)
        assert packet.time_ns is not None
        for one in self._fields[packet.name]:
            name = f"{packet.name}.{one.name}"
            self._keep_latest(name, packet.time_ns, packet.raw[one.name], one, self.limits.state(name))

    def _keep_latest(self, name: str, time_ns: int, raw: Value, one: Field, state: str) -> None:
        known = self.latest.get(name)
        if known is None or known.time_ns <= time_ns:
            self.latest[name] = Latest(time_ns, raw, one.label(raw), one.unit, state)

    def _on_report(self, packet: DecodedPacket, now_ns: int) -> None:
        """Verification reports go to their command, parameter values to the samples."""
        self._on_tag(self.tracker.on_report(packet, now_ns))
        if (packet.service, packet.subtype) == PARAMETER_REPORT and {"parameter", "value"} <= packet.raw.keys():
            setting = self._settings.get(int(packet.raw["parameter"]))
            if setting is not None and packet.time_ns is not None:
                time_ns, name, value = packet.time_ns, f"parameter.{setting.name}", packet.raw["value"]
                self._archive(lambda a: a.add_samples({name: value}, time_ns))
                self._keep_latest(name, time_ns, value, Field(setting.name, "f64", setting.unit), NORMAL)

    def _on_alarm(self, alarm: Alarm) -> None:
        self.station_counters.alarms += 1
        self._archive(lambda a: a.add_alarm(alarm))
        self._tell(Change.ALARM, alarm)

    def _keep_products(self, rows: list[ProductRow | OrbitnodeError]) -> None:
        for row in rows:
            if isinstance(row, OrbitnodeError):
                self._storage_fault(row)
                continue
            self._archive(lambda a, row=row: a.add_product(row))  # type: ignore[misc]
            self._tell(Change.PRODUCT, row)

    def _archive(self, write: Callable[[Archive], None]) -> None:
        """A full or broken disk must not end the pass: it is counted and told."""
        if self.archive is None:
            return
        try:
            write(self.archive)
        except OrbitnodeError as error:
            self._storage_fault(error)

    def _storage_fault(self, error: OrbitnodeError) -> None:
        self.station_counters.storage_faults += 1
        self._tell(Change.NOTE, str(error))

    def counters(self) -> dict[str, int]:
        """Every counter of the ground by name: session.*, frames_rejected.*, packets.*, commands.*, products.*."""
        out: dict[str, int] = {}
        parts: dict[str, object] = {
            "link": self.session.counters, "packets": self.decoder.counters, "commands": self.tracker.counters,
            "station": self.station_counters,
        }  # fmt: skip
        if self.products is not None:
            parts |= {"products": self.products.counters, "cfdp": self.products.receiver.counters}
        for part, counters in parts.items():
            for name, value in asdict(counters).items():  # type: ignore[call-overload]
                if isinstance(value, dict):
                    out |= {f"{part}.{name}.{key}": number for key, number in value.items()}
                else:
                    out[f"{part}.{name}"] = value
        return out


def _number(tag: object) -> int:
    assert isinstance(tag, int), tag
    return tag
