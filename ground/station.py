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

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field, Plain
from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.cfdp.numbers import TransactionNumbers
from ground.commands.commanding import CommandEncoder, first_counts
from ground.commands.verification import CommandTracker
from ground.link.actions import (
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
from ground.link.boots import boot_told, repeated_text
from ground.link.correlation import Correlator
from ground.link.duplicates import Duplicates
from ground.link.onboard_clock import OnboardClock
from ground.link.session import GroundSession, Service
from ground.link.uploads import RECEIVED, PduTag, Upload, Uploads
from ground.operator import COMPLETED, FAILED, REJECTED, CommandRecord
from ground.telemetry.archive import Archive, EventRow, ProductRow
from ground.telemetry.decoder import (
    DEFINITION,
    EVENT,
    HOUSEKEEPING,
    PDU,
    REPORT,
    TIME_REPORT,
    DecodedPacket,
    Decoder,
    parameter_rows,
)
from ground.telemetry.limits import NORMAL, Alarm, LimitChecker
from ground.telemetry.products import ProductStore

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
    UPLOAD = auto()  # Upload, at each part that arrived and at its end
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
    raw: Plain
    value: Plain
    unit: str
    state: str


Listener = Callable[[Change, object], None]


@dataclass(slots=True)
class StationCounters:
    """Of the station itself; those of its parts are with them (`GroundStation.counters`). `boots` of the node since the
    station began to hear it, `boots_repeated` of them with a count that is not higher than before."""

    contacts: int = 0
    cltus: int = 0
    cltu_octets: int = 0
    alarms: int = 0
    boots: int = 0
    boots_repeated: int = 0
    storage_faults: int = 0
    packets_duplicate: int = 0
    octets_by_vc: dict[int, int] = field(default_factory=dict)


class GroundStation:
    """See the head of the file. `epoch_tai_ns` is TAI (since 1958) where the caller's `now_ns` is 0.

    path_delay_ns: how long a frame received at `now_ns` was under way, from its first bit leaving the node.
    epoch: EPOCH_BITS random bits of this ground process, for what must not be taken for another's: the numbers of files
        that go up, beside a mark in the archive, and where sequence counts begin that the archive does not know.
    """

    def __init__(
        self, dictionary: Dictionary, session: GroundSession, *, epoch_tai_ns: int, archive: Archive | None = None,
        products: ProductStore | None = None, command_timeout_s: float = 30.0, silence_s: float = 5.0,
        counters_period_s: float = 10.0, entity: int = 1, node_entity: int = 2,
        path_delay_ns: Callable[[int], int] = lambda _: 0, epoch: int = 0,
    ) -> None:  # fmt: skip
        self.dictionary = dictionary
        self.session = session
        self.decoder = Decoder(dictionary)
        self.limits = LimitChecker()
        self.correlator = Correlator()
        self.clock = OnboardClock()
        known = archive.next_seqs() if archive else {}
        self.encoder = CommandEncoder(dictionary, first_seq=first_counts(dictionary, epoch, known))
        first = archive.last_command() + 1 if archive else 1
        self.tracker = CommandTracker(
            dictionary.failures, timeout_s=command_timeout_s, first_number=first,
            durable=frozenset(c.name for c in dictionary.commands if c.durable), onboard_ns=self.clock.onboard_ns,
        )  # fmt: skip
        self._duplicates = Duplicates()
        self.products = products
        self.uploads = Uploads(
            dictionary.apids.get("files", 0), entity, node_entity,
            TransactionNumbers(archive.next_start() if archive else 0, epoch),
            confirms=any(e.name == RECEIVED and "number" in (f.name for f in e.fields) for e in dictionary.events),
        )  # fmt: skip
        self.archive = archive
        link = session.config
        vcids = (link.vc_realtime, link.vc_playback, link.vc_products, link.vc_idle)
        self.station_counters = StationCounters(octets_by_vc=dict.fromkeys(vcids, 0))
        self.latest: dict[str, Latest] = {}
        self._fresh: set[str] = set()  # of these, those that changed since the last commit
        self.events: deque[EventRow] = deque(maxlen=EVENTS_KEPT)
        self.in_contact = False
        self.last_heard_ns: int | None = None
        self._epoch_tai_ns = epoch_tai_ns
        self._path_delay_ns = path_delay_ns
        self._silence_ns = round(silence_s * SECOND_NS)
        self._period_ns = round(counters_period_s * SECOND_NS)
        self._next_counters_ns: int | None = None
        self._retry_at_ns: int | None = None
        self._listeners: list[Listener] = []
        self._insertions: dict[int, int] = {}  # number of an insertion: number of the command that it schedules
        self._settings = {s.number: s for s in dictionary.settings}
        if archive is not None:
            self._recall(archive)

    def _recall(self, archive: Archive) -> None:
        """Begin with what the archive knows, so that a late comer sees the latest values."""
        for name, sample in archive.latest().items():
            self.latest[name] = Latest(sample.time_ns, sample.raw, sample.value, sample.unit, NORMAL)
        count, epoch = self.latest.get("node.boot_count"), self.latest.get("node.boot_epoch")
        if count is not None and epoch is not None:
            self.tracker.recall_boot(int(count.raw), int(epoch.raw))
        self.events.extend(archive.events(limit=EVENTS_KEPT))
        for _, _, _, octets in archive.packets(DEFINITION):
            self.decoder.recall(octets or b"")

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
        return self._do(self.session.on_downlink(octets, now_ns), now_ns) + self._feed_uploads(now_ns)

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
        for upload in self.uploads.due(now_ns):
            cltus += self._end_upload(upload, now_ns)
        if self.products is not None:
            self._keep_products(self.products.on_time(now_ns, self.tai_ns(now_ns)))
            self._tell_ignored(self.products, now_ns)
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
        times.append(self.uploads.next_time_ns)
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
        fresh, self._fresh = self._fresh, set()
        newest = {name: (self.latest[name].time_ns, self.latest[name].raw) for name in sorted(fresh)}
        self._archive(lambda a: a.put_newest(newest))
        self._archive(lambda a: a.commit())

    # Commands

    def send(
        self, name: str, arguments: Mapping[str, object], now_ns: int, *, raw: bool = False,
        bypass: bool = False, timeout_s: float | None = None,
    ) -> tuple[CommandRecord, list[bytes]]:  # fmt: skip
        """Send a command; its record, which goes on changing, and CLTUs to send. Raises OrbitnodeError.

        With `bypass` by the BD service of COP-1: at once and once, whether or not the node is heard.
        """
        if not self.tracker.has_room:
            raise OrbitnodeError(f"{self.tracker.open_count} commands are open, wait until some of them have ended")
        encoded = self.encoder.encode(name, arguments, raw=raw)
        record = self.tracker.begin(encoded, now_ns, timeout_s, bypass=bypass)
        self._command_changed(record)
        self._commit_commands()
        send = self.session.send_bypass if bypass else self.session.send
        return record, self._do(send(encoded.packet, now_ns, record.number), now_ns)

    def schedule(
        self, name: str, arguments: Mapping[str, object], release_ns: int, now_ns: int, *, group: int = 0,
        sub_schedule: int = 0,
    ) -> tuple[CommandRecord, CommandRecord, list[bytes]]:  # fmt: skip
        """Have a command executed at `release_ns` of on-board TAI: the records of its insertion and of itself, and
        CLTUs to send. Raises OrbitnodeError."""
        if not self.tracker.has_room:
            raise OrbitnodeError(f"{self.tracker.open_count} commands are open, wait until some of them have ended")
        held = self.encoder.encode(name, arguments)
        rows = [(group, release_ns, held.packet)]
        insertion = self.encoder.encode("insert_activities", {"sub_schedule": sub_schedule, "activities": rows})
        due_ns = now_ns + release_ns - self.onboard_tai_ns(now_ns)
        scheduled = self.tracker.begin_scheduled(held, now_ns, due_ns)
        record = self.tracker.begin(insertion, now_ns)
        self._insertions[record.number] = scheduled.number
        self._command_changed(scheduled)
        self._command_changed(record)
        self._commit_commands()
        return record, scheduled, self._do(self.session.send(insertion.packet, now_ns, record.number), now_ns)

    def onboard_tai_ns(self, now_ns: int) -> int:
        """What the on-board clock shows, by the time reports; where they do not tell it, the ground's own TAI."""
        ground_ns, known = self.tai_ns(now_ns), self.correlator.now
        if known is None or not known.tells(ground_ns):
            return ground_ns
        return ground_ns + round(known.error_ns(ground_ns))

    # Files

    def upload(self, name: str, octets: bytes, now_ns: int, timeout_s: float) -> tuple[Upload, list[bytes]]:
        """Send a file up as `name`; its state, which goes on changing, and CLTUs to send. Raises OrbitnodeError.

        Its parts take at most half of the session's queue. It fails if none of them arrives for `timeout_s`, and
        stays unconfirmed if the node says nothing of it for as long after the last one.
        """
        made = self.uploads.begin(name, octets, now_ns, timeout_s)
        return made, self._feed_uploads(now_ns)

    def _feed_uploads(self, now_ns: int) -> list[bytes]:
        cltus: list[bytes] = []
        session = self.session
        while (given := self.uploads.next_packet(session.config.command_queue // 2 - session.waiting)) is not None:
            tag, packet = given
            cltus += self._do(session.send(packet, now_ns, tag), now_ns)
        return cltus

    def _on_pdu_tag(self, one: Acknowledged | Rejected | Lost, now_ns: int) -> list[bytes]:
        """What became of a part of a file."""
        assert isinstance(one.tag, PduTag)
        if isinstance(one, Acknowledged):
            upload = self.uploads.acknowledged(one.tag, now_ns)
            if upload is not None:
                self._tell(Change.UPLOAD, upload)
            return []
        upload = self.uploads.fail(one.tag, one.reason, now_ns)
        return [] if upload is None else self._end_upload(upload, now_ns)

    def _end_upload(self, upload: Upload, now_ns: int) -> list[bytes]:
        """Take back what of a failed upload was not sent yet."""
        cltus: list[bytes] = []
        for tag in sorted(upload.open_tags, key=lambda tag: tag.index):
            cltus += self._do(self.session.drop(tag, upload.failure), now_ns)
        self._tell(Change.UPLOAD, upload)
        return cltus

    def _why_unsent(self) -> str:
        if not self.in_contact:
            return "no node was heard in time"
        up = self.session.service is Service.UP
        return "its turn did not come in time" if up else "the command link did not come up in time"

    def _command_changed(self, record: CommandRecord) -> None:
        number = None if record.is_open else self._insertions.pop(record.number, None)
        if number is not None:
            self._insertion_ended(record, number)
        self._archive(lambda a: a.put_command(record, self._epoch_tai_ns))
        self._tell(Change.COMMAND, record)

    def _commit_commands(self) -> None:
        """Before a command is on the air: a ground that is killed must not give its number and count to another."""
        self._archive(lambda a: a.put_seqs(self.encoder.next_seqs()))
        self._archive(lambda a: a.commit_promptly())

    def _insertion_ended(self, insertion: CommandRecord, number: int) -> None:
        """What the outcome of an insertion says of the scheduled command; a lost one says nothing."""
        now_ns = insertion.stages[-1].now_ns
        if insertion.outcome == COMPLETED:
            self.tracker.inserted(number, now_ns)
        elif insertion.outcome in (FAILED, REJECTED):
            self.tracker.rejected(number, f"not scheduled: {insertion.reason}", now_ns)
        self._on_tag(self.tracker.record(number))

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
                case Acknowledged(PduTag()) | Rejected(PduTag()) | Lost(PduTag()):
                    cltus += self._on_pdu_tag(one, now_ns)
                case Acknowledged(tag):
                    self._on_tag(self.tracker.acknowledged(_number(tag), now_ns))
                case Rejected(tag, reason):
                    self._on_tag(self.tracker.rejected(_number(tag), reason, now_ns))
                case Lost(tag, reason):
                    self._on_tag(self.tracker.lost(_number(tag), reason, now_ns))
                case Restarted():
                    self.correlator.restart()
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
        if one.frame.vcid == self.session.config.vc_realtime:
            self.correlator.on_frame(one.frame.vc_count, self.tai_ns(now_ns - self._path_delay_ns(now_ns)))
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
        # Parts of files have no time: their own protocol knows them again.
        if packet.time_ns is not None and not self._duplicates.is_new(octets):
            self.station_counters.packets_duplicate += 1
            return
        self._archive(lambda a: a.add_packet(packet, octets, vcid, received_ns))
        live = vcid == self.session.config.vc_realtime
        if live and packet.kind in (HOUSEKEEPING, EVENT) and packet.time_ns is not None:
            self.clock.heard(packet.time_ns, now_ns)
        self._follow_boots(packet, now_ns, live=live)
        if packet.kind == HOUSEKEEPING:
            self._on_housekeeping(packet, now_ns, live=live)
        elif packet.kind == EVENT:
            at = received_ns if packet.time_ns is None else packet.time_ns
            self.events.append(EventRow(at, received_ns, packet.apid, packet.name, packet.severity, packet.text))
            upload = self.uploads.on_event(packet.name, packet.raw)
            if upload is not None:
                self._tell(Change.UPLOAD, upload)
        elif packet.kind == REPORT:
            self._on_report(packet, now_ns, live=live)
        elif packet.kind == PDU and self.products is not None:
            self._keep_products(self.products.on_pdu(packet.data, now_ns, received_ns))
            self._tell_ignored(self.products, now_ns)
        self._tell(Change.PACKET, Packet(vcid, octets, packet))

    def _follow_boots(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """Volatile commands do not outlive a boot, and a count that does not rise is said."""
        told = boot_told(packet)
        if told is None:
            return
        boot, boot_ns = told
        # By a live beacon that is its own time less its uptime, whatever the on-board clock shows.
        shown_ns = self.clock.onboard_ns(now_ns)
        ago_ns = (self.tai_ns(now_ns) if shown_ns is None else shown_ns) - boot_ns
        before = self.tracker.boot
        for record in self.tracker.on_boot(boot.count, boot_ns, now_ns - ago_ns, now_ns, epoch=boot.epoch, live=live):
            self._command_changed(record)
        if before is None or self.tracker.boot == before:
            return
        self.station_counters.boots += 1
        if boot.count <= before.count:
            self.station_counters.boots_repeated += 1
            self._remark(packet.apid, "boot_count_repeated", "medium", repeated_text(boot, before), now_ns)

    def _tell_ignored(self, products: ProductStore, now_ns: int) -> None:
        """What of the products was not taken must not go unsaid: it may be all that a boot sends."""
        for one in products.receiver.ignored(now_ns):
            what = "no transaction" if one.transaction is None else f"transaction {one.transaction.number}"
            text = f"{one.count} parts of products ignored, the last of {one.name or what}: {one.meaning}"
            self._remark(self.dictionary.apids.get("files", 0), "product_ignored", "low", text, now_ns)

    def _remark(self, apid: int, name: str, severity: str, text: str, now_ns: int) -> None:
        """What the ground itself has to say of the node's packets: an event beside those of the node, and a note."""
        at_ns = self.tai_ns(now_ns)
        row = EventRow(at_ns, at_ns, apid, name, severity, f"ground: {text}")
        self.events.append(row)
        self._archive(lambda a: a.add_event(row))
        self._tell(Change.NOTE, text)

    def _on_housekeeping(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        assert packet.time_ns is not None
        if not live and self.clock.has_not_reached(packet.time_ns, now_ns):
            return
        for alarm in self.limits.check(packet, live=live):
            self._on_alarm(alarm)
        for key, one in packet.fields.items():
            name = f"{packet.name}.{key}"
            self._keep_latest(name, packet.time_ns, packet.raw[key], one, self.limits.state(name), live=live)

    def _keep_latest(self, name: str, time_ns: int, raw: Plain, one: Field, state: str, *, live: bool) -> None:
        """What is live is the newest, whatever its time: the on-board clock may have been set back."""
        known = self.latest.get(name)
        if live or known is None or known.time_ns <= time_ns:
            self._fresh.add(name)
            self.latest[name] = Latest(time_ns, raw, one.label(raw), one.unit, state)

    def _on_report(self, packet: DecodedPacket, now_ns: int, *, live: bool) -> None:
        """Verification reports go to their command, parameter values to the samples, times to the correlation."""
        if (packet.service, packet.subtype) == TIME_REPORT:
            self._on_time_report(packet, now_ns)
            return
        if packet.name == "refusals":
            for record in self.tracker.on_refusals(packet, now_ns, live=live):
                self._command_changed(record)
        self._on_tag(self.tracker.on_report(packet, now_ns, live=live))
        if packet.time_ns is None:
            return
        time_ns = packet.time_ns
        samples: dict[str, Plain] = {}
        for number, value in parameter_rows(packet):
            setting = self._settings.get(number)
            if setting is not None:
                samples[f"parameter.{setting.name}"] = value
                one = Field(setting.name, "f64", setting.unit)
                self._keep_latest(f"parameter.{setting.name}", time_ns, value, one, NORMAL, live=live)
        if samples:
            self._archive(lambda a: a.add_samples(samples, time_ns))

    def _on_time_report(self, packet: DecodedPacket, now_ns: int) -> None:
        """What comes of it is kept as samples of `correlation`, in ground time."""
        frame = packet.raw.get("frame")
        if packet.time_ns is None or not isinstance(frame, int):
            return
        made = self.correlator.on_report(frame, packet.time_ns)
        if made is None:
            return
        at_ns = self.tai_ns(now_ns)
        values = made.samples(at_ns)
        self._archive(lambda a: a.add_samples({f"correlation.{n}": v for n, (v, _) in values.items()}, at_ns))
        for name, (value, unit) in values.items():
            self._keep_latest(f"correlation.{name}", at_ns, value, Field(name, "f64", unit), NORMAL, live=True)

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
            self._duplicates.forget()  # what is lost here can be had of the node again
            self._storage_fault(error)
            return
        if not self.archive.pending:
            self._duplicates.settle()

    def _storage_fault(self, error: OrbitnodeError) -> None:
        self.station_counters.storage_faults += 1
        self._tell(Change.NOTE, str(error))

    def counters(self) -> dict[str, int]:
        """Every counter of the ground by name: link.*, coding.* and sync.* where frames are coded, packets.*, ..."""
        uploads = self.uploads
        out = {"uploads.sent": uploads.sent, "uploads.failed": uploads.failed, "uploads.completed": uploads.completed}
        parts: dict[str, object] = {
            "link": self.session.counters, "packets": self.decoder.counters, "commands": self.tracker.counters,
            "station": self.station_counters, "correlation": self.correlator.counters,
        }  # fmt: skip
        if self.session.decoder is not None:
            parts |= {"coding": self.session.decoder.counters, "sync": self.session.decoder.synchronizer.counters}
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
