"""What becomes of a packet that came down: it is decoded, stored, checked for limits, and handed on by its kind.

Sans-IO but for the archive and the products folder. Housekeeping and parameters go to the newest values, verification
reports to their command, time reports to the correlation, parts of files to the products, events to a list of the
newest.
"""

# Order for one packet, all of it in one unit of the archive, so that a kill leaves the packet with everything that
# follows from it, or without: decode; leave if it came before; write it with its samples or its event; use it; announce
# it. A packet that does not decode is stored all the same, since the right dictionary may come later.
#
# Live and played back: a live packet is the newest whatever its time says, because the on-board clock may have been set
# back. A packet that was played back is a value of the past and replaces nothing newer; one whose time the on-board
# clock has not reached was made before that clock was set back, and only goes to the archive.
#
# Packets that get their meaning late (late_decoding.py) are used like those that were played back, and not announced.
#
# Bounds: events in memory EVENTS_KEPT, series of scalar answers ANSWERS_MAX; and what may come in floods (packets that
# do not decode, parts of products that are ignored) is remarked at once and then once a minute, with its count.

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, Plain
from flight.core.errors import DecodeError, OrbitnodeError
from flight.text.plural import plural
from ground.changes import Change, Listeners, Packet, Tally
from ground.commands.desk import CommandDesk
from ground.counters import StationCounters
from ground.files.file_desk import FileDesk
from ground.link.boots import boot_told, repeated_text
from ground.link.correlation import Correlator
from ground.link.onboard_clock import OnboardClock
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
ANSWER = "answer"  # the first part of the names of scalar answers
CORRELATION = "correlation."  # the beginning of its samples' names; they alone bear the ground's time
ANSWERS_MAX = 1024  # series of scalar answers; without a bound the downlink could invent names for ever


class TelemetryIntake:
    """Takes packets in the order of their reception; `tai_ns` gives TAI at a time of the caller's timeline."""

    def __init__(
        self, dictionary: Dictionary, writer: ArchiveWriter, listeners: Listeners, counters: StationCounters, *,
        desk: CommandDesk, files: FileDesk | None, clock: OnboardClock, tai_ns: Callable[[int], int],
    ) -> None:  # fmt: skip
        self.decoder = Decoder(dictionary)
        self.limits = LimitChecker()
        self.correlator = Correlator()
        self.newest = NewestValues(writer.archive)
        self._answers = {name for name in self.newest.values if name.startswith(f"{ANSWER}.")}
        self.events: deque[EventRow] = deque(maxlen=EVENTS_KEPT)
        self._files = files
        self._writer = writer
        self._listeners = listeners
        self._counters = counters
        self._desk = desk
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
            # What the node was told under an earlier ground is still in force.
            for name in self.decoder.definitions:
                for _, _, _, octets in writer.archive.packets(name):
                    self.decoder.recall(octets or b"")

    def on_packet(self, vcid: int, octets: bytes, now_ns: int, *, live: bool, correlated: bool = True) -> None:
        """Take a whole packet that came down.

        live: it came over a real-time channel, so it was made just now. correlated: it came over a link whose frames
        the correlator knows, so that a time report can be used.
        """
        with self._writer.unit():
            self._decode_and_keep(vcid, octets, now_ns, live=live, correlated=correlated)

    def _decode_and_keep(self, vcid: int, octets: bytes, now_ns: int, *, live: bool, correlated: bool) -> None:
        received_ns = self._tai_ns(now_ns)
        fault = ""
        try:
            packet = self.decoder.decode(octets)
        except DecodeError as error:
            packet, fault = undecoded(octets), str(error)
        # Parts of files have no time: CFDP itself recognises repetitions. Nor has a damaged packet.
        if packet.time_ns is not None and not self._writer.is_new(octets):
            return
        if packet.kind not in (UNKNOWN, UNDECODED) or self.late.admit(octets):
            self._writer.write(lambda a: a.add_packet(packet, octets, vcid, received_ns))
        else:
            self._refused.add(f"{packet.name} on VC{vcid}")
        if fault:
            self._listeners.announce(Change.PACKET, Packet(vcid, octets, None))
            self._listeners.announce(Change.NOTE, f"packet on VC{vcid} does not decode: {fault}")
            self._undecoded.add(f"{packet.name} on VC{vcid}: {fault}")
            self._tell_undecoded(now_ns)
            return
        self._use(packet, now_ns, received_ns, live=live, correlated=correlated)
        self._listeners.announce(Change.PACKET, Packet(vcid, octets, packet))

    def _use_late(self, row: UndecodedRow, packet: DecodedPacket, now_ns: int) -> None:
        """Use a packet that has its meaning only now. It is not announced: whoever waits wants a new packet."""
        self._use(packet, now_ns, row.received_ns, live=False, correlated=False)

    def _use(
        self, packet: DecodedPacket, now_ns: int, received_ns: int, *, live: bool, correlated: bool
    ) -> None:  # fmt: skip
        """Hand a decoded packet on by its kind."""
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
        elif packet.kind == PDU and self._files is not None:
            self.keep_files(self._files.on_pdu(packet.data, now_ns))
            self._tell_ignored(self._files, now_ns)

    def on_time(self, now_ns: int) -> None:
        """Go on with transfers, and decode some of the packets that wait for a meaning."""
        self._tell_undecoded(now_ns)
        if self.late.is_due:
            self._decode_late(now_ns)
        if self._files is not None:
            if self._files.has_untold:  # the node deletes its file once it hears that the ground has it
                self._writer.commit(promptly=True)
            self.keep_files(self._files.on_time(now_ns))
            self._tell_ignored(self._files, now_ns)

    def close(self, now_ns: int, *, is_last: bool) -> None:
        """Store open transfers, since the ground closes down; see FileDesk.close."""
        if self._files is not None:
            self.keep_files(self._files.close(now_ns, is_last=is_last))

    def _decode_late(self, now_ns: int) -> None:
        if self.late.step(now_ns) and self._writer.archive is not None:
            # Events that were decoded late belong between those in memory, by their time: the archive sorts them.
            self.events.clear()
            self.events.extend(self._writer.archive.events(limit=EVENTS_KEPT))
        if not self.late.is_due and self.late.decoded:
            decoded, waiting = self.late.decoded, self.late.waiting
            wait = "waits" if waiting == 1 else "wait"
            text = f"{decoded} {plural(decoded, 'packet')} decoded late, {waiting} still {wait}"
            self._listeners.announce(Change.NOTE, text)

    def _tell_undecoded(self, now_ns: int) -> None:
        """Remark on packets that did not decode: at once, and then once a minute."""
        for tally, what in ((self._undecoded, "not decoded"), (self._refused, "without a meaning not even archived")):
            due = tally.take(now_ns)
            if due is not None:
                count, newest = due
                waiting = f"{self.late.waiting} {'wait' if self.late.waiting != 1 else 'waits'} for a dictionary"
                text = f"{count} {plural(count, 'packet')} {what}, the last of them {newest}; {waiting}"
                self._remark(0, "packet_undecoded", "medium", text, now_ns)

    def _on_housekeeping(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        assert packet.time_ns is not None
        # Made before the on-board clock was set back: a value of the past whose time makes it look like the newest.
        if not live and self._clock.has_not_reached(packet.time_ns, now_ns):
            return
        for alarm in self.limits.check(packet, live=live):
            self._counters.alarms += 1
            self._writer.write(lambda a, alarm=alarm: a.add_alarm(alarm))  # type: ignore[misc]
            self._listeners.announce(Change.ALARM, alarm)
        for key, field in packet.fields.items():
            name = f"{packet.name}.{key}"
            state = None if field.limits is None or not field.is_number else self.limits.state(name)
            self.newest.keep(name, packet.time_ns, packet.raw[key], field, live=live, state=state)

    def _on_event(self, packet: DecodedPacket, received_ns: int) -> None:
        at_ns = received_ns if packet.time_ns is None else packet.time_ns
        self.events.append(EventRow(at_ns, received_ns, packet.apid, packet.name, packet.severity, packet.text))

    def _on_report(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """Hand verification reports to their command, and parameter values to the samples."""
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
                field = Field(setting.name, "f64", setting.unit)
                self.newest.keep(f"parameter.{setting.name}", time_ns, value, field, live=live)
        if samples:
            self._writer.write(lambda a: a.add_samples(samples, time_ns))

    def _on_time_report(self, packet: DecodedPacket, now_ns: int) -> None:
        """Give a time report to the correlator; keep what comes of it as samples of `correlation`, in ground time."""
        frame = packet.raw.get("frame")
        if packet.time_ns is None or not isinstance(frame, int):
            return
        correlation = self.correlator.on_report(frame, packet.time_ns)
        if correlation is None:
            return
        at_ns = self._tai_ns(now_ns)
        values = correlation.samples(at_ns)
        self._writer.write(lambda a: a.add_samples({f"{CORRELATION}{n}": v for n, (v, _) in values.items()}, at_ns))
        for name, (value, unit) in values.items():
            self.newest.keep(f"{CORRELATION}{name}", at_ns, value, Field(name, "f64", unit), live=True)

    def _follow_boots(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """End volatile commands at a boot, and remark on a boot count that does not rise."""
        told = boot_told(packet)
        if told is None:
            return
        boot, boot_ns = told
        # How long ago the boot was is counted by the clock that gave its time: ours may be far from it.
        shown_ns = self._clock.onboard_ns(now_ns)
        ago_ns = (self._tai_ns(now_ns) if shown_ns is None else shown_ns) - boot_ns
        tracker = self._desk.tracker
        before = tracker.boot
        self._desk.changed_all(
            tracker.on_boot(boot.count, boot_ns, now_ns - ago_ns, now_ns, epoch=boot.epoch, live=live)
        )
        if before is None or tracker.boot == before:  # the first boot that is heard of is not a reboot
            return
        self._counters.boots += 1
        if boot.count <= before.count:
            self._counters.boots_repeated += 1
            self._remark(packet.apid, "boot_count_repeated", "medium", repeated_text(boot, before), now_ns)

    def _put_newest(self, archive: NodeArchive) -> None:
        """Write the newest values with the rows of a commit, to which they belong. Raises OrbitnodeError."""
        try:
            archive.put_newest(self.newest.take_fresh())
        except OrbitnodeError:
            self.newest.lost()
            raise

    def keep_files(self, rows: list[ProductRow | OrbitnodeError]) -> None:
        """Keep what became of files that came down: rows of the archive, or what was in the way."""
        for row in rows:
            if isinstance(row, OrbitnodeError):
                self._writer.fault(row)
                continue
            self._writer.write(lambda a, row=row: a.add_product(row))  # type: ignore[misc]
            self._keep_scalars(row)
            self._listeners.announce(Change.PRODUCT, row)

    def _keep_scalars(self, row: ProductRow) -> None:
        """Keep the numbers of a scalar answer as samples of `answer.APP.NAME`, at the time of its picture."""
        if row.facts.get("kind") != "scalars":
            return
        time_ns, app = row.facts["time_ns"], row.facts["app"]
        samples = {f"{ANSWER}.{app}.{name}": value for name, value in row.facts["values"].items()}
        new = samples.keys() - self._answers
        # All or none: some of an answer's numbers without the others would mislead whoever plots them.
        if len(self._answers) + len(new) > ANSWERS_MAX:
            text = f"{row.name}: not kept as samples, {ANSWERS_MAX} series of answers are there already"
            self._listeners.announce(Change.NOTE, text)
            return
        self._answers |= new
        self._writer.write(lambda a: a.add_samples(samples, time_ns))
        for name, value in samples.items():  # not live: files come in any order, so the time of the picture decides
            self.newest.keep(name, time_ns, value, Field(name, "f64"), live=False)

    def _tell_ignored(self, files: FileDesk, now_ns: int) -> None:
        """Remark on parts of products that were not taken: they may be all that a boot sends."""
        for ignored in files.entity.ignored(now_ns):
            what = "no transaction" if ignored.transaction is None else f"transaction {ignored.transaction.number}"
            parts = f"{ignored.count} {plural(ignored.count, 'part')}"
            text = f"{parts} of products ignored, the last of {ignored.name or what}: {ignored.meaning}"
            self._remark(self._files_apid, "product_ignored", "low", text, now_ns)
        refused = files.products.refusals(now_ns)
        if refused:
            self._remark(self._files_apid, "product_refused", "medium", refused, now_ns)

    def _remark(self, apid: int, name: str, severity: str, text: str, now_ns: int) -> None:
        """Add an event of the ground's own beside those of the node, and a note."""
        at_ns = self._tai_ns(now_ns)
        row = EventRow(at_ns, at_ns, apid, name, severity, f"ground: {text}")
        self.events.append(row)
        self._writer.write(lambda a: a.add_event(row))
        self._listeners.announce(Change.NOTE, text)
