"""CommandTracker: follows each command from sending to its final report (ECSS-E-ST-70-41C, 6.1).

States of one command:   open --[1,7]--> completed      open --[1,2] [1,128], refused by the session--> rejected
                         open --[1,4] [1,8]--> failed   open --no final report in time, or the session says so--> lost
                         open --volatile, and the node booted after it had arrived--> lost
A final report that arrives after "lost" (played back from the recorder, say) still decides the outcome; so does the
session, where it learns that the command never arrived.

Boots are told apart by count and epoch. What is live speaks of the boot that is: one not heard of before is a new one,
whatever its count, which comes again if the node has lost its record. What is played back may be older than what is
known; it tells of a new boot only by a higher count.

Request ids come round again. A report that was played back, and is clearly older than the command by the on-board
clock, speaks of an earlier command with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from flight.core.errors import DecodeError, OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.link.pus import RequestId
from ground.commands.commanding import EncodedCommand
from ground.link.boots import Boot
from ground.link.onboard_clock import MARGIN_NS
from ground.operator import (
    ACCEPTED,
    ACKNOWLEDGED,
    COMPLETED,
    FAILED,
    LOST,
    REJECTED,
    SCHEDULED,
    SENT,
    STARTED,
    TIMED_OUT,
    CommandRecord,
    Stage,
)
from ground.telemetry.decoder import DecodedPacket

_SUCCESS = {1: ACCEPTED, 3: STARTED, 5: "progress", 7: COMPLETED}
_FAILURE = {2: REJECTED, 4: FAILED, 6: FAILED, 8: FAILED}
_STEP = {2: "acceptance", 4: "start", 6: "progress", 8: "completion"}
_STAGES_MAX = 64
SCHEDULED_MAX = 1024
_SEQ_MODULUS = 1 << 14
_BOOTS_MAX = 64  # that are known again


@dataclass(slots=True)
class TrackerCounters:
    sent: int = 0
    acknowledged: int = 0
    accepted: int = 0
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    lost: int = 0
    refused_full: int = 0
    unmatched_reports: int = 0
    outdated_reports: int = 0  # of an earlier command with the same request id
    refused_unnamed: int = 0  # by the node, in a burst in which not every request could be named


class CommandTracker:
    """Records of the newest `capacity` commands, found by request id. At most `open_max` of them are open at once.

    `durable` are the names of commands that a boot of the node does not end. `onboard_ns` says what the on-board clock
    shows (TAI) at a time of the ground's timeline, None where nobody knows.
    """

    def __init__(
        self, failures: Mapping[int, str], *, timeout_s: float = 30.0, capacity: int = 4096, open_max: int = 256,
        first_number: int = 1, durable: Container[str] = frozenset(),
        onboard_ns: Callable[[int], int | None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.counters = TrackerCounters()
        self._failures = failures
        self._timeout_ns = ns(timeout_s)
        self._capacity, self._open_max = capacity, open_max
        self._records: dict[int, CommandRecord] = {}
        self._by_request: dict[tuple[int, int], CommandRecord] = {}
        self._deadline_ns: dict[int, int] = {}
        self._scheduled: dict[int, int] = {}  # of these, those that the node holds, with their release on board
        self._next = first_number
        self._durable = durable
        self.boot: Boot | None = None  # the newest that was heard of
        self._boots: dict[Boot, None] = {}  # heard of, the oldest first
        self._onboard_ns = onboard_ns
        self._sent_onboard_ns: dict[int, int] = {}  # as the clock showed it then: it may have been set since
        # Of open commands: when the node last spoke of it, by its own clock; those that left without a confirmation.
        self._spoken_ns: dict[int, int] = {}
        self._unconfirmed: set[int] = set()

    @property
    def has_room(self) -> bool:
        return self.open_count < self._open_max

    @property
    def open_count(self) -> int:
        """Commands without a final report, scheduled ones apart."""
        return len(self._deadline_ns) - len(self._scheduled)

    @property
    def scheduled(self) -> frozenset[int]:
        """Numbers of the commands that wait on board for their time: a reboot does not lose them."""
        return frozenset(self._scheduled)

    @property
    def next_time_ns(self) -> int | None:
        """When the next open command times out."""
        return min(self._deadline_ns.values(), default=None)

    def record(self, number: int) -> CommandRecord | None:
        return self._records.get(number)

    def records(self) -> list[CommandRecord]:
        return list(self._records.values())

    def begin(
        self, command: EncodedCommand, now_ns: int, timeout_s: float | None = None, *, bypass: bool = False
    ) -> CommandRecord:
        """Start to follow a command that is given to the session now. Ask `has_room` first.

        bypass: it leaves at once, and COP-1 never confirms it.
        """
        assert self.has_room, "more commands open than the tracker holds"
        timeout_ns = self._timeout_ns if timeout_s is None else ns(timeout_s)
        record = self._begin(command, now_ns, now_ns + timeout_ns)
        if bypass:
            self._unconfirmed.add(record.number)
        return record

    def begin_scheduled(
        self, command: EncodedCommand, now_ns: int, due_ns: int, release_ns: int
    ) -> CommandRecord:  # fmt: skip
        """Follow a command that is inserted into the schedule, to be released at `release_ns` of on-board TAI, which is
        `due_ns` here: its final report is waited for from then on. Raises OrbitnodeError where too many are followed
        already.
        """
        if len(self._scheduled) >= SCHEDULED_MAX:
            raise OrbitnodeError(f"{SCHEDULED_MAX} scheduled commands are followed, wait until some of them have ended")
        record = self._begin(command, now_ns, due_ns + self._timeout_ns)
        self._scheduled[record.number] = release_ns
        return record

    def follow_clock(self, now_ns: int, onboard_ns: int) -> None:
        """The on-board clock shows `onboard_ns` now: scheduled commands are released by it, also if it was set since,
        or if only now the ground knows it.
        """
        for number, release_ns in self._scheduled.items():
            due_ns = now_ns + release_ns - onboard_ns + self._timeout_ns
            if abs(due_ns - self._deadline_ns[number]) > NS:
                self._deadline_ns[number] = due_ns

    def recall(self, record: CommandRecord, sent_onboard_ns: int | None) -> None:
        """A command of a ground before this one, older than any that this one gives: it is not waited for, and a report
        that comes yet decides over "lost". sent_onboard_ns: what the on-board clock showed then, if that is known.
        """
        if len(self._records) >= self._capacity:
            self._forget(next(iter(self._records)))
        self._records[record.number] = record
        self._by_request[record.apid, record.seq] = record
        if sent_onboard_ns is not None:
            self._sent_onboard_ns[record.number] = sent_onboard_ns

    def inserted(self, number: int, now_ns: int) -> None:
        """The node holds the scheduled command."""
        record = self._records.get(number)
        if record is not None and record.is_open:
            self._stage(record, SCHEDULED, now_ns)

    def _begin(self, command: EncodedCommand, now_ns: int, deadline_ns: int) -> CommandRecord:
        number, self._next = self._next, self._next + 1
        made = CommandRecord(number, command.name, command.arguments, command.request.apid, command.request.seq)
        if len(self._records) >= self._capacity:
            self._forget(next(n for n in self._records if n not in self._deadline_ns))
        self._records[number] = made
        self._by_request[made.apid, made.seq] = made
        self._deadline_ns[number] = deadline_ns
        self._stage(made, SENT, now_ns)
        onboard_ns = self._onboard_ns(now_ns)
        if onboard_ns is not None:
            self._sent_onboard_ns[number] = onboard_ns
        self.counters.sent += 1
        return made

    def acknowledged(self, number: int, now_ns: int) -> CommandRecord | None:
        """COP-1 says that the frame arrived (232.1-B-2)."""
        record = self._records.get(number)
        if record is not None and record.stage_ns(ACKNOWLEDGED) is None:
            self._stage(record, ACKNOWLEDGED, now_ns)
            self.counters.acknowledged += 1
        return record

    def rejected(self, number: int, reason: str, now_ns: int) -> CommandRecord | None:
        """The session says that the command was not executed, and will not be."""
        record = self._records.get(number)
        if record is not None:
            self._end(record, REJECTED, reason, now_ns)
        return record

    def lost(self, number: int, reason: str, now_ns: int) -> CommandRecord | None:
        """The session says that nobody can know any more whether the command was executed."""
        record = self._records.get(number)
        if record is not None:
            self._end(record, LOST, reason, now_ns)
        return record

    def on_report(self, packet: DecodedPacket, now_ns: int, *, live: bool = True) -> CommandRecord | None:
        """A report of ST[01]; the record it belongs to, None (and counted) where there is none.

        live: it was not played back, so it speaks of the newest command with its request id.
        """
        if packet.service != 1 or packet.subtype is None or "request_apid_word" not in packet.raw:
            return None
        words = [packet.whole(name, 0xFFFF) for name in ("request_apid_word", "request_seq_word")]
        try:
            request = RequestId.decode(b"".join(word.to_bytes(2, "big") for word in words if word is not None))
        except DecodeError:
            self.counters.unmatched_reports += 1
            return None
        record = self._by_request.get((request.apid, request.seq))
        if record is None:
            self.counters.unmatched_reports += 1
            return None
        if not live and self._is_outdated(packet, record):
            self.counters.outdated_reports += 1
            return None
        # A report proves that the command arrived; the CLCW that says so may stand behind it in the same frame.
        self.acknowledged(record.number, now_ns)
        if record.is_open and packet.time_ns is not None:
            self._spoken_ns[record.number] = packet.time_ns
        if packet.subtype in _FAILURE:
            self._on_failure(record, packet, now_ns)
        elif packet.subtype in _SUCCESS:
            name = _SUCCESS[packet.subtype]
            if name == COMPLETED:
                self._end(record, COMPLETED, "", now_ns)
            elif record.stage_ns(name) is None or name == "progress":
                self._stage(record, name, now_ns)
                self.counters.accepted += name == ACCEPTED
        return record

    def on_refusals(self, packet: DecodedPacket, now_ns: int, *, live: bool = True) -> list[CommandRecord]:
        """TM[1,128], refusals in ranges of sequence counts: the records that one of the exact ranges names."""
        changed: list[CommandRecord] = []
        undecided = [r for r in self._by_request.values() if r.is_open or r.outcome == LOST]
        index = 0
        while f"ranges[{index}].code" in packet.raw:
            row = [packet.whole(f"ranges[{index}].{name}") for name in ("code", "apid", "first", "count", "exact")]
            index += 1
            code, apid, first, count, exact = (0 if one is None else one for one in row)
            if None in row or not exact:
                self.counters.refused_unnamed += count
                continue
            for record in undecided:
                if record.apid == apid and (record.seq - first) % _SEQ_MODULUS < count:
                    if not live and self._is_outdated(packet, record):
                        self.counters.outdated_reports += 1
                        continue
                    self.acknowledged(record.number, now_ns)
                    record.code = code
                    reason = f"acceptance failed: {self._failures.get(code, f'code {code}')}"
                    self._end(record, REJECTED, reason, now_ns)
                    changed.append(record)
        return changed

    def _is_outdated(self, packet: DecodedPacket, record: CommandRecord) -> bool:
        """Whether the packet was made clearly before the command was sent, by the on-board clock as it went then and
        as it goes now.
        """
        sent_ns = record.stage_ns(SENT)
        assert sent_ns is not None
        shown = (self._sent_onboard_ns.get(record.number), self._onboard_ns(sent_ns))
        times = [one for one in shown if one is not None]
        return packet.time_ns is not None and bool(times) and packet.time_ns < min(times) - MARGIN_NS

    def recall_boot(self, boot: Boot | None) -> None:
        """The boot that a ground process before this one heard last, if there was one."""
        if boot is not None:
            self._enter_boot(boot)

    def on_boot(
        self, count: int, board_ns: int, ground_ns: int, now_ns: int, *, epoch: int | None = None, live: bool = True
    ) -> list[CommandRecord]:
        """The node is, or if not `live` was, in the boot of that name, which began at `board_ns` by its own clock,
        `ground_ns` on ours.

        If that is a new one, what the node held then and does not keep is lost. A boot that is known, or an old one
        that is played back, says nothing.
        """
        boot, known = Boot(count, epoch), self.boot
        if boot in self._boots or (known is not None and not live and boot.count <= known.count):
            return []
        self._enter_boot(boot)
        if known is None:
            return []
        ended = []
        for record in [self._records[number] for number in self._deadline_ns if number not in self._scheduled]:
            if record.name not in self._durable and self._arrived_before(record, board_ns, ground_ns):
                self._end(record, LOST, f"the node booted again (boot {boot.count})", now_ns)
                ended.append(record)
        return ended

    def _enter_boot(self, boot: Boot) -> None:
        if len(self._boots) == _BOOTS_MAX:
            del self._boots[next(iter(self._boots))]
        self._boots[boot] = None
        self.boot = boot

    def _arrived_before(self, record: CommandRecord, board_ns: int, ground_ns: int) -> bool:
        """What has not arrived yet is the session's to say."""
        spoken_ns = self._spoken_ns.get(record.number)
        if spoken_ns is not None:
            return spoken_ns < board_ns
        if record.stage_ns(ACKNOWLEDGED) is None and record.number not in self._unconfirmed:
            return False
        sent_ns = record.stage_ns(SENT)
        return sent_ns is not None and sent_ns < ground_ns

    def _on_failure(self, record: CommandRecord, packet: DecodedPacket, now_ns: int) -> None:
        assert packet.subtype is not None
        code = packet.whole("code") or 0
        record.code = code
        meaning = self._failures.get(code, f"code {code}")
        detail = str(packet.values.get("detail", ""))
        reason = f"{_STEP[packet.subtype]} failed: {meaning}" + (f" ({detail})" if detail else "")
        self._end(record, _FAILURE[packet.subtype], reason, now_ns)

    def due(self, now_ns: int) -> list[CommandRecord]:
        """Open commands whose time is over."""
        return [self._records[number] for number, due_ns in self._deadline_ns.items() if due_ns <= now_ns]

    def on_time(self, now_ns: int) -> list[CommandRecord]:
        """Commands whose final report did not come in time: they are lost."""
        late = self.due(now_ns)
        for record in late:
            self._stage(record, TIMED_OUT, now_ns)
            self._end(record, LOST, _no_answer(record), now_ns)
        return late

    def _end(self, record: CommandRecord, outcome: str, reason: str, now_ns: int) -> None:
        if not record.is_open and record.outcome != LOST:
            return
        if record.outcome == LOST:
            self.counters.lost -= 1
        record.outcome, record.reason = outcome, reason
        self._stage(record, outcome, now_ns, reason)
        self._deadline_ns.pop(record.number, None)
        self._scheduled.pop(record.number, None)
        self._spoken_ns.pop(record.number, None)
        self._unconfirmed.discard(record.number)
        setattr(self.counters, outcome, getattr(self.counters, outcome) + 1)

    def _stage(self, record: CommandRecord, name: str, now_ns: int, detail: str = "") -> None:
        if len(record.stages) < _STAGES_MAX:
            record.stages.append(Stage(name, now_ns, detail))

    def _forget(self, number: int) -> None:
        gone = self._records.pop(number)
        self._sent_onboard_ns.pop(number, None)
        if self._by_request.get((gone.apid, gone.seq)) is gone:
            del self._by_request[gone.apid, gone.seq]


def _no_answer(record: CommandRecord) -> str:
    if record.stage_ns(STARTED) is not None:
        return "started, but no completion report in time"
    if record.stage_ns(ACCEPTED) is not None:
        return "accepted, but no start report in time; may still be executed"
    if record.stage_ns(ACKNOWLEDGED) is not None:
        return "received by the node's link, but no report in time; may still be executed"
    return "no answer from the node in time; may still be executed"
