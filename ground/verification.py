"""CommandTracker: follows each command from sending to its final report (ECSS-E-ST-70-41C, 6.1).

States of one command:   open --[1,7]--> completed      open --[1,2] or refused by the session--> rejected
                         open --[1,4] [1,8]--> failed   open --no final report in time, or the session says so--> lost
A final report that arrives after "lost" (played back from the recorder, say) still decides the outcome; so does the
session, where it learns that the command never arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flight.core.errors import DecodeError
from flight.link.pus import RequestId
from ground.commanding import EncodedCommand
from ground.decoder import DecodedPacket
from ground.operator import (
    ACCEPTED,
    ACKNOWLEDGED,
    COMPLETED,
    FAILED,
    LOST,
    REJECTED,
    SENT,
    STARTED,
    TIMED_OUT,
    CommandRecord,
    Stage,
)

_SUCCESS = {1: ACCEPTED, 3: STARTED, 5: "progress", 7: COMPLETED}
_FAILURE = {2: REJECTED, 4: FAILED, 6: FAILED, 8: FAILED}
_STEP = {2: "acceptance", 4: "start", 6: "progress", 8: "completion"}
_STAGES_MAX = 64


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


class CommandTracker:
    """Records of the newest `capacity` commands, found by request id. At most `open_max` of them are open at once."""

    def __init__(
        self, failures: Mapping[int, str], *, timeout_s: float = 30.0, capacity: int = 4096, open_max: int = 256,
        first_number: int = 1,
    ) -> None:  # fmt: skip
        self.counters = TrackerCounters()
        self._failures = failures
        self._timeout_ns = round(timeout_s * 1e9)
        self._capacity, self._open_max = capacity, open_max
        self._records: dict[int, CommandRecord] = {}
        self._by_request: dict[tuple[int, int], CommandRecord] = {}
        self._deadline_ns: dict[int, int] = {}
        self._next = first_number

    @property
    def has_room(self) -> bool:
        return len(self._deadline_ns) < self._open_max

    @property
    def open_count(self) -> int:
        return len(self._deadline_ns)

    @property
    def next_time_ns(self) -> int | None:
        """When the next open command times out."""
        return min(self._deadline_ns.values(), default=None)

    def record(self, number: int) -> CommandRecord | None:
        return self._records.get(number)

    def records(self) -> list[CommandRecord]:
        return list(self._records.values())

    def begin(self, command: EncodedCommand, now_ns: int, timeout_s: float | None = None) -> CommandRecord:
        """Start to follow a command that is given to the session now. Ask `has_room` first."""
        assert self.has_room, "more commands open than the tracker holds"
        number, self._next = self._next, self._next + 1
        made = CommandRecord(number, command.name, command.arguments, command.request.apid, command.request.seq)
        if len(self._records) >= self._capacity:
            self._forget(next(n for n in self._records if n not in self._deadline_ns))
        self._records[number] = made
        self._by_request[made.apid, made.seq] = made
        self._deadline_ns[number] = now_ns + (self._timeout_ns if timeout_s is None else round(timeout_s * 1e9))
        self._stage(made, SENT, now_ns)
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

    def on_report(self, packet: DecodedPacket, now_ns: int) -> CommandRecord | None:
        """A report of ST[01]; the record it belongs to, None (and counted) where there is none."""
        if packet.service != 1 or packet.subtype is None or "request_apid_word" not in packet.raw:
            return None
        words = (packet.raw["request_apid_word"], packet.raw["request_seq_word"])
        try:
            request = RequestId.decode(b"".join(int(word).to_bytes(2, "big") for word in words))
        except DecodeError:
            self.counters.unmatched_reports += 1
            return None
        record = self._by_request.get((request.apid, request.seq))
        if record is None:
            self.counters.unmatched_reports += 1
            return None
        # A report proves that the command arrived; the CLCW that says so may stand behind it in the same frame.
        self.acknowledged(record.number, now_ns)
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

    def _on_failure(self, record: CommandRecord, packet: DecodedPacket, now_ns: int) -> None:
        assert packet.subtype is not None
        code = int(packet.raw.get("code", 0))
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
        setattr(self.counters, outcome, getattr(self.counters, outcome) + 1)

    def _stage(self, record: CommandRecord, name: str, now_ns: int, detail: str = "") -> None:
        if len(record.stages) < _STAGES_MAX:
            record.stages.append(Stage(name, now_ns, detail))

    def _forget(self, number: int) -> None:
        gone = self._records.pop(number)
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
