"""What becomes of a packet that came down: decoded, kept, looked at for limits, and handed to whom it is for.

Sans-IO but for the archive and the products folder. Housekeeping and parameters go to the newest values, verification
reports to their command, time reports to the correlation, parts of files to the products, events to a list of the
newest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, Plain
from flight.core.errors import DecodeError, OrbitnodeError
from ground.changes import Change, Listeners, Packet, Tally
from ground.commands.desk import CommandDesk
from ground.counters import StationCounters
from ground.link.boots import boot_told, repeated_text
from ground.link.correlation import Correlator
from ground.link.onboard_clock import OnboardClock
from ground.link.uploads import Uploads
from ground.products.product_store import ProductStore
from ground.telemetry.archive_rows import EventRow, ProductRow
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.decoder import (
    EVENT,
    HOUSEKEEPING,
    PDU,
    REPORT,
    TIME_REPORT,
    UNDECODED,
    UNKNOWN,
    DecodedPacket,
    Decoder,
    parameter_rows,
    undecoded,
)
from ground.telemetry.late_decoding import LateDecoding
from ground.telemetry.limits import LimitChecker
from ground.telemetry.newest import NewestValues
from ground.telemetry.node_archive import NodeArchive
from ground.telemetry.open_rows import UndecodedRow

EVENTS_KEPT = 500
ANSWER = "answer"  # what the names of scalar answers begin with
CORRELATION = "correlation."  # what those of its samples begin with; they alone bear the ground's time
ANSWERS_MAX = 1024  # series of scalar answers; their names are the downlink's choice


class TelemetryIntake:
    """Takes packets in the order of their reception; `tai_ns` is TAI at a moment of the caller's timeline."""

    def __init__(
        self, dictionary: Dictionary, writer: ArchiveWriter, listeners: Listeners, counters: StationCounters, *,
        desk: CommandDesk, uploads: Uploads, products: ProductStore | None, clock: OnboardClock,
        tai_ns: Callable[[int], int],
    ) -> None:  # fmt: skip
        self.decoder = Decoder(dictionary)
        self.limits = LimitChecker()
        self.correlator = Correlator()
        self.newest = NewestValues(writer.archive)
        self._answers = {name for name in self.newest.values if name.startswith(f"{ANSWER}.")}
        self.events: deque[EventRow] = deque(maxlen=EVENTS_KEPT)
        self.products = products
        self._writer = writer
        self._listeners = listeners
        self._counters = counters
        self._desk = desk
        self._uploads = uploads
        self._clock = clock
        self._tai_ns = tai_ns
        self._files_apid = dictionary.apids.get("files", 0)
        self.late = LateDecoding(writer, self.decoder, self._use_late)
        self._undecoded, self._refused = Tally(), Tally()
        self._settings = {s.number: s for s in dictionary.settings}
        if writer.archive is not None:
            writer.archive.on_loss(self.newest.lost)
            writer.before_commit = self._put_newest
            self.events.extend(writer.archive.events(limit=EVENTS_KEPT))
            for name in self.decoder.definitions:
                for _, _, _, octets in writer.archive.packets(name):
                    self.decoder.recall(octets or b"")

    def on_packet(self, vcid: int, octets: bytes, now_ns: int, *, live: bool, correlated: bool = True) -> None:
        """A whole packet came down. `live`: over a real-time channel, made just now. `correlated`: over a link whose
        frames the correlator is told of, so that a time report can be taken for what it says.
        """
        with self._writer.unit():
            self._take(vcid, octets, now_ns, live=live, correlated=correlated)

    def _take(self, vcid: int, octets: bytes, now_ns: int, *, live: bool, correlated: bool) -> None:
        received_ns = self._tai_ns(now_ns)
        fault = ""
        try:
            packet = self.decoder.decode(octets)
        except DecodeError as error:
            packet, fault = undecoded(octets), str(error)
        # Parts of files have no time: their own protocol knows them again. Nor has what is damaged.
        if packet.time_ns is not None and not self._writer.is_new(octets):
            return
        if packet.kind not in (UNKNOWN, UNDECODED) or self.late.admit(octets):
            self._writer.write(lambda a: a.add_packet(packet, octets, vcid, received_ns))
        else:
            self._refused.add(f"{packet.name} on VC{vcid}")
        if fault:
            self._listeners.tell(Change.PACKET, Packet(vcid, octets, None))
            self._listeners.tell(Change.NOTE, f"packet on VC{vcid} does not decode: {fault}")
            self._undecoded.add(f"{packet.name} on VC{vcid}: {fault}")
            self._tell_undecoded(now_ns)
            return
        self._use(packet, now_ns, received_ns, live=live, correlated=correlated)
        self._listeners.tell(Change.PACKET, Packet(vcid, octets, packet))

    def _use_late(self, row: UndecodedRow, packet: DecodedPacket, now_ns: int) -> None:
        """A packet of before has its meaning now. Nobody is told of it: whoever waits for a packet waits for a new
        one.
        """
        self._use(packet, now_ns, row.received_ns, live=False, correlated=False)

    def _use(
        self, packet: DecodedPacket, now_ns: int, received_ns: int, *, live: bool, correlated: bool
    ) -> None:  # fmt: skip
        """Hand a packet that has its meaning to whom it is for."""
        if live and packet.kind in (HOUSEKEEPING, EVENT) and packet.time_ns is not None:
            self._clock.heard(packet.time_ns, now_ns)
        self._follow_boots(packet, now_ns, live=live)
        if packet.kind == HOUSEKEEPING:
            self._on_housekeeping(packet, now_ns, live=live)
        elif packet.kind == EVENT:
            self._on_event(packet, received_ns)
        elif packet.kind == REPORT:
            if (packet.service, packet.subtype) != TIME_REPORT:
                self._on_report(packet, now_ns, live=live)
            elif correlated:
                self._on_time_report(packet, now_ns)
        elif packet.kind == PDU and self.products is not None:
            self._keep_products(self.products.on_pdu(packet.data, now_ns, received_ns))
            self._tell_ignored(self.products, now_ns)

    def on_time(self, now_ns: int) -> None:
        """Let the transfers whose time is over end, and some of the packets of before have their meaning."""
        self._tell_undecoded(now_ns)
        if self.late.is_due:
            self._decode_late(now_ns)
        if self.products is not None:
            self._keep_products(self.products.on_time(now_ns, self._tai_ns(now_ns)))
            self._tell_ignored(self.products, now_ns)

    def close(self, now_ns: int) -> None:
        """End open transfers."""
        if self.products is not None:
            self._keep_products(self.products.end_all(self._tai_ns(now_ns)))
            self._tell_ignored(self.products, now_ns)

    def _decode_late(self, now_ns: int) -> None:
        if self.late.step(now_ns) and self._writer.archive is not None:
            # Those of before among those that came since, in their order.
            self.events.clear()
            self.events.extend(self._writer.archive.events(limit=EVENTS_KEPT))
        if not self.late.is_due and self.late.decoded:
            text = f"{self.late.decoded} packets of before were decoded late, {self.late.waiting} wait still"
            self._listeners.tell(Change.NOTE, text)

    def _tell_undecoded(self, now_ns: int) -> None:
        """What did not decode must not go unsaid: at once, and then once a minute."""
        for tally, what in ((self._undecoded, "not decoded"), (self._refused, "without a meaning not even archived")):
            told = tally.take(now_ns)
            if told is not None:
                count, newest = told
                text = f"{count} packets {what}, the last of them {newest}; {self.late.waiting} wait for a dictionary"
                self._remark(0, "packet_undecoded", "medium", text, now_ns)

    def _on_housekeeping(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        assert packet.time_ns is not None
        if not live and self._clock.has_not_reached(packet.time_ns, now_ns):
            return
        for alarm in self.limits.check(packet, live=live):
            self._counters.alarms += 1
            self._writer.write(lambda a, alarm=alarm: a.add_alarm(alarm))  # type: ignore[misc]
            self._listeners.tell(Change.ALARM, alarm)
        for key, one in packet.fields.items():
            name = f"{packet.name}.{key}"
            self.newest.keep(name, packet.time_ns, packet.raw[key], one, live=live, state=self.limits.state(name))

    def _on_event(self, packet: DecodedPacket, received_ns: int) -> None:
        at_ns = received_ns if packet.time_ns is None else packet.time_ns
        self.events.append(EventRow(at_ns, received_ns, packet.apid, packet.name, packet.severity, packet.text))
        upload = self._uploads.on_event(packet.name, packet.raw)
        if upload is not None:
            self._listeners.tell(Change.UPLOAD, upload)

    def _on_report(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """Verification reports go to their command, parameter values to the samples."""
        tracker = self._desk.tracker
        if packet.name == "refusals":
            self._desk.changed_all(tracker.on_refusals(packet, now_ns, live=live))
        self._desk.changed(tracker.on_report(packet, now_ns, live=live))
        if packet.time_ns is None:
            return
        time_ns = packet.time_ns
        samples: dict[str, Plain] = {}
        for number, value in parameter_rows(packet):
            setting = self._settings.get(number)
            if setting is not None:
                samples[f"parameter.{setting.name}"] = value
                one = Field(setting.name, "f64", setting.unit)
                self.newest.keep(f"parameter.{setting.name}", time_ns, value, one, live=live)
        if samples:
            self._writer.write(lambda a: a.add_samples(samples, time_ns))

    def _on_time_report(self, packet: DecodedPacket, now_ns: int) -> None:
        """What comes of it is kept as samples of `correlation`, in ground time."""
        frame = packet.raw.get("frame")
        if packet.time_ns is None or not isinstance(frame, int):
            return
        made = self.correlator.on_report(frame, packet.time_ns)
        if made is None:
            return
        at_ns = self._tai_ns(now_ns)
        values = made.samples(at_ns)
        self._writer.write(lambda a: a.add_samples({f"{CORRELATION}{n}": v for n, (v, _) in values.items()}, at_ns))
        for name, (value, unit) in values.items():
            self.newest.keep(f"{CORRELATION}{name}", at_ns, value, Field(name, "f64", unit), live=True)

    def _follow_boots(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """Volatile commands do not outlive a boot, and a count that does not rise is said."""
        told = boot_told(packet)
        if told is None:
            return
        boot, boot_ns = told
        # By a live beacon that is its own time less its uptime, whatever the on-board clock shows.
        shown_ns = self._clock.onboard_ns(now_ns)
        ago_ns = (self._tai_ns(now_ns) if shown_ns is None else shown_ns) - boot_ns
        tracker = self._desk.tracker
        before = tracker.boot
        self._desk.changed_all(
            tracker.on_boot(boot.count, boot_ns, now_ns - ago_ns, now_ns, epoch=boot.epoch, live=live)
        )
        if before is None or tracker.boot == before:
            return
        self._counters.boots += 1
        if boot.count <= before.count:
            self._counters.boots_repeated += 1
            self._remark(packet.apid, "boot_count_repeated", "medium", repeated_text(boot, before), now_ns)

    def _put_newest(self, archive: NodeArchive) -> None:
        """The newest values as they are with the rows of a commit. Raises OrbitnodeError."""
        try:
            archive.put_newest(self.newest.take_fresh())
        except OrbitnodeError:
            self.newest.lost()
            raise

    def _keep_products(self, rows: list[ProductRow | OrbitnodeError]) -> None:
        for row in rows:
            if isinstance(row, OrbitnodeError):
                self._writer.fault(row)
                continue
            self._writer.write(lambda a, row=row: a.add_product(row))  # type: ignore[misc]
            self._keep_scalars(row)
            self._listeners.tell(Change.PRODUCT, row)

    def _keep_scalars(self, row: ProductRow) -> None:
        """The numbers of a scalar answer, as samples of `answer.APP.NAME` at the time of the picture."""
        if row.facts.get("kind") != "scalars":
            return
        time_ns, app = row.facts["time_ns"], row.facts["app"]
        samples = {f"{ANSWER}.{app}.{name}": value for name, value in row.facts["values"].items()}
        new = samples.keys() - self._answers
        if len(self._answers) + len(new) > ANSWERS_MAX:
            text = f"{row.name}: {ANSWERS_MAX} series of answers are kept at most, and it has others"
            self._listeners.tell(Change.NOTE, text)
            return
        self._answers |= new
        self._writer.write(lambda a: a.add_samples(samples, time_ns))
        for name, value in samples.items():  # files come in any order, so the latest picture is the newest
            self.newest.keep(name, time_ns, value, Field(name, "f64"), live=False)

    def _tell_ignored(self, products: ProductStore, now_ns: int) -> None:
        """What of the products was not taken must not go unsaid: it may be all that a boot sends."""
        for one in products.receiver.ignored(now_ns):
            what = "no transaction" if one.transaction is None else f"transaction {one.transaction.number}"
            text = f"{one.count} parts of products ignored, the last of {one.name or what}: {one.meaning}"
            self._remark(self._files_apid, "product_ignored", "low", text, now_ns)
        refused = products.refusals(now_ns)
        if refused:
            self._remark(self._files_apid, "product_refused", "medium", refused, now_ns)

    def _remark(self, apid: int, name: str, severity: str, text: str, now_ns: int) -> None:
        """What the ground itself has to say of the node's packets: an event beside those of the node, and a note."""
        at_ns = self._tai_ns(now_ns)
        row = EventRow(at_ns, at_ns, apid, name, severity, f"ground: {text}")
        self.events.append(row)
        self._writer.write(lambda a: a.add_event(row))
        self._listeners.tell(Change.NOTE, text)
