"""GroundStation: one node as the ground sees it; its links, commands, files and telemetry joined.

Sans-IO except for the archive and the products folder: octets and times go in, CLTUs come out. The same object serves
the simulator's virtual time and the server's real time. The station commands over its own link. It only listens to
further links, such as a simplex downlink of products, and takes what comes over them like everything else.

Contact:  none --a good frame--> contact (the AD service comes up)  --`silence_s` without a frame--> none (it rests)
"""

# The station owns no rule of its own about frames, commands or telemetry. It joins the parts that do: a session per
# link (ground/link), the desk that knows what became of each command, the intake that decodes and stores what came, and
# the desk of files. An input goes to one part; the actions and changes that come back are handed to the others, in
# their order, until nothing is left. What is to be sent is collected on the way and returned, because only the caller
# has a transmitter.
#
# `now_ns` is the caller's timeline, `tai_ns` the same instant in TAI, which is what the archive has. Nothing here reads
# a clock: a method is called with the time, and `next_time_ns` says when `on_time` has something to do.
#
# A command must not go up after its owner was told that it failed. So a command that timed out is dropped from the
# session before its record ends.
#
# Time runs for transfers of files only while their PDUs can go up, or while the node is heard if there is no way up at
# all: what cannot be answered must not be given up for want of an answer.
#
# An alert that leaves the AD service idle is tried again after `_RETRY_NS`, for as long as the node is heard: the
# operator's commands wait in the session, and no human need watch a pass.

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.core.utc.leap_seconds import BUILT_IN, LeapSeconds
from flight.link.actions import PacketReceived, StoreSecurity
from flight.link.cfdp.numbers import TransactionNumbers
from flight.link.cfdp.transactions.entity_config import EntityConfig
from flight.link.link import Role
from ground.changes import Change, Listener, Listeners
from ground.commands.desk import CommandDesk
from ground.counters import PortCounters, StationCounters, by_name, link_parts
from ground.files.file_desk import FileDesk
from ground.files.pdu_feed import PduFeed, PduTag
from ground.files.transfer_folder import TransferFolder
from ground.link.actions import (
    Acknowledged,
    Action,
    Alert,
    FrameReceived,
    Lost,
    Rejected,
    Restarted,
    SendCltu,
)
from ground.link.boots import stored_boot
from ground.link.cop1.by_hand import lead
from ground.link.cop1.link_status import MANUAL
from ground.link.ground_link import GroundLink, Service
from ground.link.onboard_clock import ClockReading, OnboardClock, read_clock
from ground.link.reception import Reception
from ground.link.security.stored_security import StoredSecurity
from ground.operator import CommandRecord
from ground.products.product_store import ProductStore
from ground.telemetry.archive_writer import ArchiveWriter
from ground.telemetry.intake import TelemetryIntake
from ground.telemetry.node_archive import NodeArchive

_RETRY_NS = 10 * NS  # longer than an exchange takes, short beside a pass


class GroundStation:
    """See the head of the file. `epoch_tai_ns` is TAI (since 1958) at the instant at which the caller's `now_ns` is 0.

    session: the station's own link. further_links: by name, those that it only listens to.
    path_delay_ns: how long a frame received at `now_ns` was under way, from its first bit leaving the node.
    security: the keys and numbers of protected links, and where the numbers are kept.
    products, transfers: folders of the files that came, and of those under way; without both no file comes or goes.
    cfdp: the ground's CFDP entity; `node_entity` is the one at the other end.
    epoch: EPOCH_BITS random bits of this ground process, for what must not be taken for another's: the numbers of files
        that go up (beside a mark in the archive), and the first sequence counts that the archive does not know.
    """

    def __init__(  # noqa: PLR0913 - settings, each by name
        self, dictionary: Dictionary, session: GroundLink, *, epoch_tai_ns: int, archive: NodeArchive | None = None,
        products: ProductStore | None = None, transfers: TransferFolder | None = None, cfdp: EntityConfig | None = None,
        node_entity: int = 2, command_timeout_s: float = 30.0, silence_s: float = 5.0, counters_period_s: float = 10.0,
        path_delay_ns: Callable[[int], int] = lambda _: 0, epoch: int = 0,
        further_links: Mapping[str, GroundLink] | None = None, security: StoredSecurity | None = None,
        leap_seconds: LeapSeconds = BUILT_IN,
    ) -> None:  # fmt: skip
        self.dictionary = dictionary
        self.leap_seconds = leap_seconds
        self.session = session
        silence_ns = ns(silence_s)
        self._own = Reception(session, silence_ns)
        self._further = {name: Reception(link, silence_ns, name) for name, link in (further_links or {}).items()}
        self.station_counters = StationCounters(octets_by_vc=dict.fromkeys(session.vcids, 0))
        self._listeners = Listeners()
        self._writer = ArchiveWriter(archive, self.station_counters, self._listeners)
        self._clock = OnboardClock()
        self.security = security
        self._desk = CommandDesk(
            dictionary, self._writer, self._listeners, timeout_s=command_timeout_s, epoch=epoch,
            epoch_tai_ns=epoch_tai_ns, onboard_ns=self._clock.onboard_ns,
            realtime=[vcid for vcid in session.vcids if session.role_of(vcid) is Role.REALTIME],
            leap_seconds=leap_seconds,
        )  # fmt: skip
        self.tracker = self._desk.tracker
        self._epoch_tai_ns = epoch_tai_ns
        self.files: FileDesk | None = None
        if products is not None and transfers is not None:
            numbers = TransactionNumbers(archive.next_start() if archive else 0, epoch)
            self.files = FileDesk(
                cfdp or EntityConfig(), node_entity, numbers, session=session, folder=transfers, products=products,
                tai_ns=self.tai_ns, announce=partial(self._listeners.announce, Change.TRANSFER),
            )  # fmt: skip
            self._feed = PduFeed(dictionary.apids.get("files", 0), session, self.files)
        self._intake = TelemetryIntake(
            dictionary, self._writer, self._listeners, self.station_counters, desk=self._desk, files=self.files,
            clock=self._clock, tai_ns=self.tai_ns,
        )  # fmt: skip
        self.products = products
        self._ports: dict[str, PortCounters] = {}
        self.decoder = self._intake.decoder
        self.correlator = self._intake.correlator
        self.events = self._intake.events
        self.latest = self._intake.newest.values
        self._path_delay_ns = path_delay_ns
        self._waited_ns = 0  # how long what comes in now has waited since it was received
        self._period_ns = ns(counters_period_s)
        self._next_counters_ns: int | None = None
        self._retry_at_ns: int | None = None
        self.tracker.recall_boot(stored_boot({name: value.raw for name, value in self.latest.items()}))

    @property
    def in_contact(self) -> bool:
        """Whether the node is heard over the station's own link."""
        return self._own.in_contact

    @property
    def undecoded(self) -> int:
        """Packets in the archive that wait for a dictionary, or a definition, that gives them a meaning."""
        return self._intake.late.waiting

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on."""
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell `listener` nothing any more."""
        self._listeners.remove(listener)

    def tai_ns(self, now_ns: int) -> int:
        """Return TAI, ns since 1958, at `now_ns` of the caller's timeline."""
        return now_ns + self._epoch_tai_ns

    def utc_text(self, tai_ns: int) -> str:
        """Write ns of TAI since 1958 as UTC, by the ground's table of leap seconds."""
        return self.leap_seconds.utc_text(tai_ns)

    def onboard_clock(self, now_ns: int) -> ClockReading:
        """Return what the on-board clock shows (TAI), as far as anything tells, and how that is known."""
        return read_clock(self._clock, self.correlator.now, now_ns, self.tai_ns(now_ns))

    # What comes in

    def on_downlink(self, octets: bytes, now_ns: int, link: str = "", waited_ns: int = 0, lost: int = 0) -> list[bytes]:
        """Take a unit of `link` ("": the own one), come `waited_ns` ago behind `lost` ones; return CLTUs to send."""
        self._waited_ns = waited_ns
        reception = self._further[link] if link else self._own
        cltus = self._perform(reception.link.on_downlink(octets, now_ns, lost), now_ns, reception)
        return cltus + self.feed_files(now_ns)

    def on_time(self, now_ns: int) -> list[bytes]:
        """Let timers run out that are due; call it at `next_time_ns`, or often. Returns CLTUs to send."""
        self._desk.settle(self.decoder, now_ns)
        cltus = self._perform(self.session.on_time(now_ns), now_ns)
        for reception in (self._own, *self._further.values()):
            if reception.is_silent(now_ns):
                cltus += self.end_contact(now_ns, reception.name)
        for record in self.tracker.due(now_ns):
            # A command that timed out must not go up later, when nobody expects it any more.
            cltus += self._perform(self.session.drop(record.number, f"never sent: {self._why_unsent(now_ns)}"), now_ns)
        self.tracker.follow_clock(now_ns, self.onboard_clock(now_ns).onboard_ns)
        self._desk.changed_all(self.tracker.on_time(now_ns))
        self._intake.on_time(now_ns)
        if self._retry_at_ns is not None and now_ns >= self._retry_at_ns:
            self._retry_at_ns = None
            if self.in_contact and self.session.service is Service.IDLE:
                cltus += self._perform(self.session.initiate(now_ns), now_ns)
        if self._next_counters_ns is None or now_ns >= self._next_counters_ns:
            self._next_counters_ns = now_ns + self._period_ns
            self._write_counters(now_ns)
        return cltus + self.feed_files(now_ns)

    def _why_unsent(self, now_ns: int) -> str:
        """Return which stage a command did not reach: contact, a number of its own, a link that is up, its turn."""
        if not self.in_contact:
            return "no node was heard in time"
        if self.security is not None and self.security.keeps_from_sending:
            return self.security.fault
        if self.session.service is Service.UP:
            return "its turn did not come in time"
        if self.session.status(now_ns).get("mode") == MANUAL:
            return "the command link is down by hand; `orbitnode link auto` lets the ground lead it again"
        return "the command link did not come up in time"

    @property
    def next_time_ns(self) -> int | None:
        """The earliest moment at which `on_time` has something to do."""
        times = [self.session.next_time_ns, self.tracker.next_time_ns, self._next_counters_ns, self._retry_at_ns]
        times += [0 if self._intake.late.is_due else None]
        if self.files is not None:
            times.append(self.files.next_time_ns)
        times += [reception.next_time_ns for reception in (self._own, *self._further.values())]
        return min((t for t in times if t is not None), default=None)

    def end_contact(self, now_ns: int, link: str = "") -> list[bytes]:
        """End the contact over `link` ("" for the own one). Commands not yet acknowledged stay for the next."""
        reception = self._further[link] if link else self._own
        if not reception.in_contact:
            return []
        reception.in_contact = False
        self._tell_contact(reception)
        return self._perform(reception.link.reset(now_ns), now_ns, reception) + self.feed_files(now_ns)

    def close(self, now_ns: int, *, is_last: bool = False) -> None:
        """Store the open transfers, write the last counters and commit. The archive stays open: it is its owner's.

        is_last: no ground goes on with the transfers, so that what came of them is put among the products.
        """
        self._intake.close(now_ns, is_last=is_last)
        self._write_counters(now_ns)
        self.commit()

    def commit(self) -> None:
        """Make what the archive has durable against a kill; call it about once a second."""
        self._writer.commit()

    # Commands and files

    def send(
        self, name: str, arguments: Mapping[str, object], now_ns: int, *, raw: bool = False,
        bypass: bool = False, timeout_s: float | None = None,
    ) -> tuple[CommandRecord, list[bytes]]:  # fmt: skip
        """Send a command; return its record, which goes on changing, and CLTUs to send. Raises OrbitnodeError.

        With `bypass` it goes by the BD service of COP-1: at once and once, whether or not the node is heard.
        """
        self._check_way_up()
        if bypass and self.security is not None and self.security.keeps_from_sending:
            # Held, it would go up at a time that nobody knows, and nothing can take it back.
            raise OrbitnodeError(f"nothing can be sent: {self.security.fault}")
        record, packet = self._desk.begin(name, arguments, now_ns, raw=raw, bypass=bypass, timeout_s=timeout_s)
        send = self.session.send_bypass if bypass else self.session.send
        return record, self._perform(send(packet, now_ns, record.number), now_ns)

    def schedule(
        self, name: str, arguments: Mapping[str, object], release_ns: int, now_ns: int, *, group: int = 0,
        sub_schedule: int = 0,
    ) -> tuple[CommandRecord, CommandRecord, list[bytes]]:  # fmt: skip
        """Have a command executed at `release_ns` of on-board TAI; raises OrbitnodeError.

        Returns the record of its insertion, its own record, and CLTUs to send.
        """
        self._check_way_up()
        due_ns = now_ns + release_ns - self.onboard_clock(now_ns).onboard_ns  # the release in the caller's time
        record, scheduled, packet = self._desk.begin_scheduled(
            name, arguments, release_ns, due_ns, now_ns, group=group, sub_schedule=sub_schedule
        )
        return record, scheduled, self._perform(self.session.send(packet, now_ns, record.number), now_ns)

    # Files

    def feed_files(self, now_ns: int) -> list[bytes]:
        """Give the session what PDUs it has room for; call it after the desk was given work. Returns CLTUs to send."""
        if self.files is None:
            return []
        self._intake.keep_files(self._feed.tell_contact(self.in_contact, now_ns))
        return self._perform(self._feed.feed(now_ns), now_ns)

    def lead(self, action: str, value: float | None, now_ns: int) -> list[bytes]:
        """Do what an operator asks of the command link (ground.link.cop1.by_hand); return CLTUs to send.

        Raises OrbitnodeError for what cannot be, or is refused.
        """
        self._check_way_up()
        return self._perform(lead(self.session, action, value, now_ns), now_ns)

    def _check_way_up(self) -> None:
        if self.session.refusal:
            raise OrbitnodeError(self.session.refusal)

    # Actions of the links

    def _perform(self, actions: list[Action], now_ns: int, reception: Reception | None = None) -> list[bytes]:
        """Do what the link of `reception`, or the station's own, asks for; return CLTUs to send."""
        origin = reception or self._own
        cltus: list[bytes] = []
        for action in actions:
            match action:
                case SendCltu(octets):
                    self.station_counters.cltus += 1
                    self.station_counters.cltu_octets += len(octets)
                    cltus.append(octets)
                case FrameReceived():
                    cltus += self._on_frame(action, now_ns, origin)
                case PacketReceived(vcid, packet):
                    live = origin.link.role_of(vcid) is Role.REALTIME
                    self._intake.on_packet(vcid, packet, now_ns, live=live, correlated=origin is self._own)
                case Acknowledged(PduTag() as tag) | Rejected(PduTag() as tag, _) | Lost(PduTag() as tag, _):
                    self._feed.on_end(tag)
                case Acknowledged() | Rejected() | Lost():
                    self._desk.on_link(action, now_ns)
                case StoreSecurity():
                    cltus += self._store_security(action, now_ns)
                case Restarted():
                    self._on_restart(origin)
                case Alert(reason):
                    if self.session.service is Service.IDLE:
                        self._retry_at_ns = now_ns + _RETRY_NS
                    self._listeners.announce(Change.NOTE, reason)
                case _:
                    pass  # the session counts gaps and what was rejected
        return cltus

    def _store_security(self, record: StoreSecurity, now_ns: int) -> list[bytes]:
        """Make the record durable, then let every link go on that waited for it."""
        assert self.security is not None
        former = self.security.fault
        fault = self.security.store(record)
        if fault and fault != former:
            self._listeners.announce(Change.NOTE, f"link security: {fault}")
        cltus: list[bytes] = []
        for reception in (self._own, *self._further.values()):
            cltus += self._perform(reception.link.on_stored(now_ns), now_ns, reception)
        return cltus

    def store_security(self, now_ns: int) -> list[bytes]:
        """Store the record of link security if that is due, or failed before; return CLTUs to send.

        Call it at the start and about once a second: nothing else tries again while nothing is sent.
        """
        record = None if self.security is None else self.security.due()
        return [] if record is None else self._store_security(record, now_ns)

    def _on_restart(self, reception: Reception) -> None:
        if reception is self._own:
            self.correlator.restart()
        link = f"link {reception.name}: " if reception.name else ""
        self._listeners.announce(Change.NOTE, f"{link}the node was restarted: its frame counts began again")

    def _on_frame(self, received: FrameReceived, now_ns: int, reception: Reception) -> list[bytes]:
        if reception is self._own:
            self.station_counters.octets_by_vc[received.frame.vcid] += len(received.raw)
            if received.realtime_count is not None:
                left_ns = now_ns - self._waited_ns - self._path_delay_ns(now_ns)  # its first bit, from the node
                self.correlator.on_frame(received.realtime_count, self.tai_ns(left_ns))
            self._listeners.announce(Change.FRAME, received)
        if not reception.heard(now_ns):
            return []
        self._tell_contact(reception)
        return self._perform(reception.link.resume(now_ns), now_ns, reception)

    def _tell_contact(self, reception: Reception) -> None:
        if reception is self._own:
            self.station_counters.contacts = reception.contacts
            self._listeners.announce(Change.CONTACT, reception.in_contact)
        else:
            state = "contact" if reception.in_contact else "contact lost"
            self._listeners.announce(Change.NOTE, f"link {reception.name}: {state}")

    # Counters

    def _write_counters(self, now_ns: int) -> None:
        self._writer.write(lambda a: a.add_counters(self.counters(), self.tai_ns(now_ns)))

    def count_port(self, counters: PortCounters, link: str = "") -> None:
        """Show the counters of the port of the station's own link, or of the further link of that name."""
        self._ports[f"links.{link}.udp" if link else "udp"] = counters

    def counters(self) -> dict[str, int]:
        """Return every counter of the ground: link.frames, links.NAME.link.frames of a further link, and so on."""
        links = {"": self.session}
        links |= {f"links.{reception.name}.": reception.link for reception in self._further.values()}
        parts: dict[str, object] = {
            "packets": self.decoder.counters, "commands": self.tracker.counters, "station": self.station_counters,
            "correlation": self.correlator.counters, **link_parts(links), **self._ports,
        }  # fmt: skip
        if self.files is not None:
            parts |= self.files.parts
        if self.security is not None:
            parts["security"] = self.security.security.counters
        return self._intake.late.counts() | by_name(parts)
