"""CFDP class 1 against a plain model: octets in a dictionary by their places, every look at all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.nanoseconds import NS
from flight.link.cfdp.class1_pdu import EndOfFile, FileData, Metadata, Pdu, TransactionId, decode_pdu, encode_pdu
from flight.link.cfdp.transfers import (
    LATE,
    CfdpConfig,
    CfdpCounters,
    CfdpReceiver,
    CfdpSender,
    FileAction,
    FileIncomplete,
    FileReceived,
    PdusIgnored,
)

CONFIG = CfdpConfig(
    entity=1, transactions=2, file_octets=12, total_octets=20, ranges=2, late_s=2.0, inactivity_s=5.0
)  # fmt: skip
FILE = b"a file of 13."
IDS = tuple(TransactionId(0x1AB, number) for number in range(3))


@dataclass
class Held:
    last_ns: int
    octets: dict[int, int] = field(default_factory=dict)
    metadata: Metadata | None = None
    eof: EndOfFile | None = None

    def end(self) -> int:
        return max(self.octets, default=-1) + 1

    def runs(self) -> int:
        return sum(place - 1 not in self.octets for place in self.octets)

    def size(self) -> int:
        told = self.eof or self.metadata
        return self.end() if told is None else told.octets

    def absent(self) -> list[int]:
        return [place for place in range(self.size()) if place not in self.octets]

    def whole(self) -> bool:
        return self.eof is not None and not self.absent()


class Model:
    def __init__(self) -> None:
        self.counters = CfdpCounters(0, 0, 0, 0, 0, 0, 0, 0)
        self.open: dict[TransactionId, Held] = {}
        self.ended: dict[TransactionId, Metadata | None] = {}
        self.untold: dict[str, PdusIgnored] = {}
        self.due_ns: dict[str, int] = {}
        self.actions: list[FileAction] = []

    def due(self, one: Held) -> int:
        return one.last_ns + (5 * NS if one.eof is None else 2 * NS)

    def on_pdu(self, pdu: Pdu, now_ns: int) -> None:
        if pdu.destination != CONFIG.entity:
            return self.ignore("entity", pdu.transaction)
        self.counters.pdus += 1
        if pdu.transaction in self.ended:
            before = self.ended[pdu.transaction]
            if not isinstance(pdu, Metadata) or before in (None, pdu):
                return self.ignore(LATE, pdu.transaction)
            self.counters.renewed += 1
            del self.ended[pdu.transaction]
        if pdu.transaction not in self.open:
            if len(self.open) == CONFIG.transactions:
                self.close(min(self.open, key=lambda name: self.open[name].last_ns))
            self.open[pdu.transaction] = Held(now_ns)
        one = self.open[pdu.transaction]
        one.last_ns = now_ns
        reason = self.segment(one, pdu) if isinstance(pdu, FileData) else self.frame(one, pdu)
        if reason:
            self.ignore(reason, pdu.transaction)
        if one.eof is not None and one.eof.condition:
            self.close(pdu.transaction, f"cancelled by the sender, condition {one.eof.condition}")
        elif one.metadata is not None and one.whole():
            self.close(pdu.transaction)
        return None

    def segment(self, one: Held, pdu: FileData) -> str:
        places = range(pdu.offset, pdu.offset + len(pdu.data))
        told = one.eof is not None or one.metadata is not None
        if places.stop > CONFIG.file_octets or (told and places.stop > one.size()):
            return "offset"
        if not places:
            return ""
        if set(places) <= set(one.octets):
            self.counters.repeated += 1
            return ""
        held = sum(len(other.octets) for other in self.open.values())
        if held + len(set(places) - set(one.octets)) > CONFIG.total_octets:
            return "memory"
        if one.runs() == CONFIG.ranges and places.start != one.end():
            return "ranges"
        one.octets = dict(zip(places, pdu.data, strict=True)) | one.octets
        self.counters.octets += len(places)
        return ""

    def frame(self, one: Held, pdu: Metadata | EndOfFile) -> str:
        """What stands around the segments: each once, of a size that fits the other."""
        known, other = (one.metadata, one.eof) if isinstance(pdu, Metadata) else (one.eof, one.metadata)
        if known is not None:
            self.counters.repeated += known == pdu
            return "" if known == pdu else "conflict"
        if pdu.octets > CONFIG.file_octets:
            return "offset"
        if isinstance(pdu, Metadata):
            if other is not None and other.octets != pdu.octets:
                return "conflict"
            one.metadata = pdu
        else:
            if other is not None and other.octets != pdu.octets and not pdu.condition:
                return "conflict"
            one.eof = pdu
        return ""

    def close(self, name: TransactionId, reason: str = "") -> None:
        one = self.open.pop(name)
        self.ended[name] = one.metadata
        title = one.metadata.name if one.metadata and one.metadata.name else f"transaction-427-{name.number}"
        data, absent = bytes(one.octets.get(place, 0) for place in range(one.size())), one.absent()
        if not reason and not one.whole():
            reason = "no EOF" if one.eof is None else "octets missing"
        if not reason and one.eof is not None and crc32(data) != one.eof.checksum:
            reason = "checksum mismatch"
        if not reason:
            self.counters.files_received += 1
            self.actions.append(FileReceived(name, title, data))
            return
        self.counters.files_incomplete += 1
        self.counters.octets_missing += len(absent)
        starts = [place for place in absent if place - 1 not in absent]
        ends = [place + 1 for place in absent if place + 1 not in absent]
        gaps = tuple(zip(starts, ends, strict=True))
        here = [place for place in sorted(one.octets) if place < one.size()]
        begins = [place for place in here if place - 1 not in here]
        stops = [place + 1 for place in here if place + 1 not in here]
        pieces = tuple((a, data[a:b]) for a, b in zip(begins, stops, strict=True))
        self.actions.append(FileIncomplete(name, title, one.size(), pieces, gaps, reason))

    def ignore(self, reason: str, name: TransactionId) -> None:
        if reason == LATE:
            self.counters.late += 1
        else:
            self.counters.refused[reason] += 1
        known = self.open[name].metadata if name in self.open else self.ended.get(name)
        count = self.untold[reason].count + 1 if reason in self.untold else 1
        self.untold[reason] = PdusIgnored(reason, count, name, known.name if known else "")

    def ignored(self, now_ns: int) -> list[PdusIgnored]:
        told = [one for one in self.untold.values() if now_ns >= self.due_ns.get(one.reason, 0)]
        for one in told:
            del self.untold[one.reason]
            self.due_ns[one.reason] = now_ns + 60 * NS
        return told


ids = st.sampled_from(IDS)
destinations = st.sampled_from([1, 1, 1, 1, 1, 2])
sizes = st.sampled_from([0, 4, 6, 12, 13])
names = st.sampled_from(["mask", "mask", "", "other"])
conditions = st.sampled_from([0, 0, 0, 15])
wrong_bits = st.sampled_from([0, 0, 1, 1 << 31])
waits = st.sampled_from([0, 1, NS, 2 * NS - 1, 2 * NS, 3 * NS, 5 * NS - 1, 5 * NS, 60 * NS - 1, 60 * NS])


def segment(name: TransactionId, to: int, at: int, octets: int, forged: bool = False) -> FileData:
    data = FILE[at : at + octets]
    return FileData(name, to, at, data.upper() if forged else data)


def end_of_file(name: TransactionId, to: int, octets: int, condition: int, wrong: int) -> EndOfFile:
    return EndOfFile(name, to, condition, crc32(FILE[:octets]) ^ wrong, octets)


others = (
    st.builds(segment, ids, destinations, st.integers(0, 12), st.integers(0, 6), st.booleans())
    | st.builds(
        lambda name, to, octets, title: Metadata(name, to, octets, 3, "", title), ids, destinations, sizes, names
    )
    | st.builds(end_of_file, ids, destinations, sizes, conditions, wrong_bits)
    | waits
    | st.just("end all")
)


@st.composite
def transactions(draw: st.DrawFn) -> list[Pdu | int | str]:
    """All PDUs of one file and some other steps, in any order."""
    name, size, octets, wrong = draw(ids), draw(st.integers(0, 12)), draw(st.integers(2, 6)), draw(wrong_bits)
    pdus: list[Pdu | int | str] = [Metadata(name, 1, size, 3, "", draw(names)), end_of_file(name, 1, size, 0, wrong)]
    pdus += [segment(name, 1, at, min(octets, size - at)) for at in range(0, size, octets)]
    more: list[Pdu | int | str] = draw(st.lists(others, max_size=6))
    return draw(st.permutations(pdus + more))


steps = st.lists(transactions(), max_size=4).map(lambda parts: [step for part in parts for step in part])


@settings(max_examples=200)
@given(steps)
def test_the_receiver_does_what_the_model_does(steps: list[Pdu | int | str]) -> None:
    receiver, model, now_ns = CfdpReceiver(CONFIG), Model(), 0
    for step in steps:
        if isinstance(step, int):
            now_ns += step
            got = receiver.on_time(now_ns)
            for name in [name for name, one in model.open.items() if now_ns >= model.due(one)]:
                model.close(name)
        elif isinstance(step, str):
            got = receiver.end_all()
            for name in list(model.open):
                model.close(name)
        else:
            got = receiver.on_pdu(encode_pdu(step), now_ns)
            model.on_pdu(step, now_ns)
        assert got == model.actions
        model.actions.clear()
        assert receiver.counters == model.counters
        assert receiver.open == len(model.open)
        assert receiver.next_time_ns == min(map(model.due, model.open.values()), default=None)
        if isinstance(step, int):
            assert sorted(receiver.ignored(now_ns), key=str) == sorted(model.ignored(now_ns), key=str)


@given(st.binary(max_size=300), st.integers(1, 100), st.integers(0, 12))
def test_the_sender_gives_the_file_out_in_order_until_it_is_given_up(data: bytes, segment: int, given_out: int) -> None:
    sender = CfdpSender(0x1AB, 1, 7, "mask.bin", data, segment)
    name, segments = TransactionId(0x1AB, 7), [data[at : at + segment] for at in range(0, len(data), segment)]
    want: list[Pdu] = [Metadata(name, 1, len(data), 3, "mask.bin", "mask.bin")]
    want += [FileData(name, 1, at * segment, one) for at, one in enumerate(segments)]
    want.append(EndOfFile(name, 1, 0, crc32(data), len(data)))
    assert sender.pdus == len(want)
    sent = b""
    for pdu in want[:given_out]:
        assert not sender.done and sender.remaining_octets == len(data) - len(sent)
        assert decode_pdu(sender.next_pdu() or b"") == pdu
        sent += pdu.data if isinstance(pdu, FileData) else b""
    assert sender.remaining_octets == len(data) - len(sent)
    if given_out < len(want):
        assert decode_pdu(sender.cancel()) == EndOfFile(name, 1, 15, crc32(sent), len(sent))
    assert sender.done and sender.next_pdu() is None
