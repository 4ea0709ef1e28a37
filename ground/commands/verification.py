"""CommandTracker: follows each command from sending to its final report (ECSS-E-ST-70-41C, 6.1).

States of one command:   open --[1,7]--> completed      open --[1,2] [1,128], refused by the session--> rejected
                  open --[1,4] [1,6] [1,8]--> failed    open --no final report in time, or the session says so--> lost
                         open --volatile, and the node booted after it had arrived--> lost
A final report that arrives after "lost" (played back from the recorder, say) still decides the outcome. So does the
session, if it learns that the command never arrived. All other outcomes are final.
"""

# "Lost" means that nobody knows, never that the command was not executed. That is why it alone can be overruled: the
# node is the only one who knows, and its recorder may speak hours later.
#
# Three things make a command lost. Its time ran out: a scheduled one has until its release and the timeout after it, by
# the on-board clock, which may be set meanwhile (`follow_clock`). The session says so. Or the node booted: a volatile
# command that had arrived is gone with the memory it was in. What had not arrived is for the session to say, since it
# may still go up; durable commands (the dictionary names them) and scheduled ones are on the node's disk.
#
# Boots are told apart by count and epoch. A live packet speaks of the boot that is running: one not heard of before is
# new whatever its count, because the count starts again if the node has lost its record (ADR 0018). A packet that was
# played back may be older than what is known, so it proves a new boot only by a higher count.
#
# Request ids come round after GROUND_SEQ_COUNTS commands per APID. A report that was played back, and that is clearly
# older by the on-board clock than the command, speaks of an earlier command with the same id and is only counted.
#
# Bounds: `open_max` open commands, SCHEDULED_MAX waiting on board, `capacity` records in all. A record that makes room
# for a new one has always ended.

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
_STAGES_MAX = 64  # a node that reports progress without end must not fill our memory
SCHEDULED_MAX = 1024
_SEQ_MODULUS = 1 << 14  # of a packet's sequence count (CCSDS 133.0-B-2, 4.1.3.4)
_BOOTS_MAX = 64  # boots that are recognised when they are heard of again


@dataclass(slots=True)
class TrackerCounters:
    """Commands by stage and outcome, and reports that belong to none of them."""

    sent: int = 0
    acknowledged: int = 0
    accepted: int = 0
    completed: int = 0
    failed: int = 0
    rejected: int = 0
    lost: int = 0
    refused_full: int = 0
    unmatched_reports: int = 0
    outdated_reports: int = 0  # belong to an earlier command with the same request id
    refused_unnamed: int = 0  # commands that the node refused in a burst so long that it could not name each of them


class CommandTracker:
    """Records of the newest `capacity` commands, found by request id. At most `open_max` of them are open at once.

    `durable` are the names of commands that a boot of the node does not end. `onboard_ns` gives what the on-board clock
    shows (TAI) at a time of the ground's timeline, None if nobody knows.
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
        self._scheduled: dict[int, int] = {}  # of these, those that wait for their release, with its on-board time
        self._next = first_number
        self._durable = durable
        self.boot: Boot | None = None  # the newest that was heard of
        self._boots: dict[Boot, None] = {}  # all that were heard of, the oldest first
        self._onboard_ns = onboard_ns
        self._sent_onboard_ns: dict[int, int] = {}  # as the clock showed it then: it may have been set since
        # Of open commands: when the node last spoke of it, by its own clock; which of them nothing will ever confirm.
        self._spoken_ns: dict[int, int] = {}
        self._unconfirmed: set[int] = set()

    @property
    def has_room(self) -> bool:
        """Whether one more command may be opened."""
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
        """Return the record of that number, None if it is not kept."""
        return self._records.get(number)

    def records(self) -> list[CommandRecord]:
        """Return every record that is kept, the oldest first."""
        return list(self._records.values())

    def begin(
        self, command: EncodedCommand, now_ns: int, timeout_s: float | None = None, *, bypass: bool = False
    ) -> CommandRecord:
        """Begin to follow a command; ask `has_room` first. bypass: it leaves at once, and COP-1 never confirms it."""
        assert self.has_room, "more commands open than the tracker holds"
        timeout_ns = self._timeout_ns if timeout_s is None else ns(timeout_s)
        record = self._begin(command, now_ns, now_ns + timeout_ns)
        if bypass:
            self._unconfirmed.add(record.number)
        return record

    def begin_scheduled(
        self, command: EncodedCommand, now_ns: int, due_ns: int, release_ns: int
    ) -> CommandRecord:  # fmt: skip
        """Begin to follow a command that the node will release at `release_ns` of its clock (TAI), `due_ns` here.

        Its final report is waited for from then on. Raises OrbitnodeError if too many are followed already.
        """
        if len(self._scheduled) >= SCHEDULED_MAX:
            raise OrbitnodeError(f"{SCHEDULED_MAX} scheduled commands are followed, wait until some of them have ended")
        record = self._begin(command, now_ns, due_ns + self._timeout_ns)
        self._scheduled[record.number] = release_ns
        return record

    def follow_clock(self, now_ns: int, onboard_ns: int) -> None:
        """Move the deadlines of scheduled commands: they are released by the on-board clock, `onboard_ns` now."""
        for number, release_ns in self._scheduled.items():
            due_ns = now_ns + release_ns - onboard_ns + self._timeout_ns
            if abs(due_ns - self._deadline_ns[number]) > NS:  # less is the estimate's own noise
                self._deadline_ns[number] = due_ns

    def recall(self, record: CommandRecord, sent_onboard_ns: int | None) -> None:
        """Keep a command of an earlier ground, which is older than all of ours, for reports that still come.

        sent_onboard_ns: what the on-board clock showed when it was sent, if that is known.
        """
        if len(self._records) >= self._capacity:
            self._forget(next(iter(self._records)))
        self._records[record.number] = record
        self._by_request[record.apid, record.seq] = record
        if sent_onboard_ns is not None:
            self._sent_onboard_ns[record.number] = sent_onboard_ns

    def inserted(self, number: int, now_ns: int) -> None:
        """Note that the node holds the scheduled command."""
        record = self._records.get(number)
        if record is not None and record.is_open:
            self._stage(record, SCHEDULED, now_ns)

    def _begin(self, command: EncodedCommand, now_ns: int, deadline_ns: int) -> CommandRecord:
        number, self._next = self._next, self._next + 1
        record = CommandRecord(number, command.name, command.arguments, command.request.apid, command.request.seq)
        if len(self._records) >= self._capacity:
            self._forget(next(n for n in self._records if n not in self._deadline_ns))
        self._records[number] = record
        self._by_request[record.apid, record.seq] = record
        self._deadline_ns[number] = deadline_ns
        self._stage(record, SENT, now_ns)
        onboard_ns = self._onboard_ns(now_ns)
        if onboard_ns is not None:
            self._sent_onboard_ns[number] = onboard_ns
        self.counters.sent += 1
        return record

    def acknowledged(self, number: int, now_ns: int) -> CommandRecord | None:
        """Note that the frame arrived, by COP-1 (CCSDS 232.1-B-2). Return the record, None if it is not kept."""
        record = self._records.get(number)
        if record is not None and record.stage_ns(ACKNOWLEDGED) is None:
            self._stage(record, ACKNOWLEDGED, now_ns)
            self.counters.acknowledged += 1
        return record

    def rejected(self, number: int, reason: str, now_ns: int) -> CommandRecord | None:
        """End a command of which the session says that it was not executed, and will not be."""
        record = self._records.get(number)
        if record is not None:
            self._end(record, REJECTED, reason, now_ns)
        return record

    def lost(self, number: int, reason: str, now_ns: int) -> CommandRecord | None:
        """End a command of which the session says that nobody can know any more whether it was executed."""
        record = self._records.get(number)
        if record is not None:
            self._end(record, LOST, reason, now_ns)
        return record

    def on_report(self, packet: DecodedPacket, now_ns: int, *, live: bool = True) -> CommandRecord | None:
        """Take a report of ST[01]; return its record. If there is none the report is counted.

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
        # A report proves that the command arrived; the CLCW that says so may come after it in the same frame.
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
        """Take TM[1,128], refusals in ranges of counts; return the records that one of the exact ranges names."""
        changed: list[CommandRecord] = []
        undecided = [r for r in self._by_request.values() if r.is_open or r.outcome == LOST]
        index = 0
        while f"ranges[{index}].code" in packet.raw:
            row = [packet.whole(f"ranges[{index}].{name}") for name in ("code", "apid", "first", "count", "exact")]
            index += 1
            code, apid, first, count, exact = (0 if value is None else value for value in row)
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
        """Return whether the packet was made before the command was sent, by the clock of then and of now."""
        sent_ns = record.stage_ns(SENT)
        assert sent_ns is not None
        shown = (self._sent_onboard_ns.get(record.number), self._onboard_ns(sent_ns))
        times = [time_ns for time_ns in shown if time_ns is not None]
        return packet.time_ns is not None and bool(times) and packet.time_ns < min(times) - MARGIN_NS

    def recall_boot(self, boot: Boot | None) -> None:
        """Take over the boot that an earlier ground process heard last, if there was one."""
        if boot is not None:
            self._enter_boot(boot)

    def on_boot(
        self, count: int, board_ns: int, ground_ns: int, now_ns: int, *, epoch: int | None = None, live: bool = True
    ) -> list[CommandRecord]:
        """Take that the node is, or if not `live` was, in a boot; return the commands that a new boot ended as lost.

        The boot began at `board_ns` by the node's clock, `ground_ns` on ours. A boot that is known says nothing.
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
        """Return whether the command had arrived before that boot; of what had not, the session will tell."""
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
        """Return the open commands whose time is over."""
        return [self._records[number] for number, due_ns in self._deadline_ns.items() if due_ns <= now_ns]

    def on_time(self, now_ns: int) -> list[CommandRecord]:
        """End as lost the commands whose final report did not come in time, and return them."""
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
