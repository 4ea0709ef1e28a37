"""What is tried with which peer in which direction, and what comes of it: the interoperability matrix.

    python -m tests.peers.matrix      writes the table of docs/reference/cfdp-interoperability.md

Each cell is tried by tests/vectors/test_cfdp_peers.py, which also holds the page to this table. A cell without an entry
in `DEVIATIONS` is what the standard asks for (`asked_for`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cfdp-interoperability.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
COLUMNS = ("ours to cfdp-py", "cfdp-py to ours", "ours to LibreCube", "LibreCube to ours")
TO_PY, FROM_PY, TO_LIBRE, FROM_LIBRE = COLUMNS
SEGMENT_OCTETS = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One transfer. drop: by kind of PDU, which of them are lost; rates as in `Losses`; cancel: by which end.

    ours: settings of our entity. seeds: it is done once with each.
    """

    text: str
    sizes: tuple[int, ...] = (20_000,)
    acknowledged: bool = True
    closure: bool = False
    checksum: int = 0
    drop: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    lost_rate: float = 0.0
    repeated_rate: float = 0.0
    seeds: tuple[int, ...] = (1,)
    cancel: str = ""
    ours: Mapping[str, Any] = field(default_factory=dict)
    theirs: Mapping[str, Any] = field(default_factory=dict)


def _class2() -> dict[str, Case]:
    every = ("metadata", "eof", "ack-eof", "nak", "finished", "ack-finished", "data")
    return {
        "2": Case("no losses; 0, 1, 1,024 and 20,000 octets", (0, 1, SEGMENT_OCTETS, 20_000)),
        "2-many": Case("no losses; 600,000 octets", (600_000,)),
        "2-crc32": Case("checksum CRC-32", checksum=3),
        "2-crc32c": Case("checksum CRC-32C", checksum=2),
        "2-null": Case("checksum null", checksum=15),
        "2-crc": Case("a CRC in each PDU", ours={"crc": True}, theirs={"crc": True}),
        "2-data": Case("file data lost, once in the middle", drop={"data": (1, 2, 5)}),
        "2-first": Case("the first file data lost", drop={"data": (0,)}),
        "2-last": Case("the last file data lost", drop={"data": (19,)}),
        "2-again": Case("file data lost, and what is sent again too", drop={"data": (3, 4, 20, 21)}),
        "2-nak": Case("file data and the first NAK lost", drop={"data": (3, 7), "nak": (0,)}),
        "2-metadata": Case("the metadata lost", drop={"metadata": (0,)}),
        "2-eof": Case("the EOF lost", drop={"eof": (0,)}),
        "2-ack-eof": Case("the ACK of the EOF lost", drop={"ack-eof": (0,)}),
        "2-finished": Case("the Finished lost", drop={"finished": (0,)}),
        "2-ack-finished": Case("the ACK of the Finished lost", drop={"ack-finished": (0,)}),
        "2-metadata-eof": Case("metadata and EOF lost", drop={"metadata": (0,), "eof": (0,)}),
        "2-each": Case("the first of each kind of PDU lost", drop=dict.fromkeys(every, (0,))),
        "2-tenth": Case("a tenth of all PDUs lost", lost_rate=0.1, seeds=(1, 2, 3, 4, 5)),
        "2-twice": Case("every PDU comes twice", repeated_rate=1.0),
        "2-gaps": Case(
            "more gaps than one NAK has room for", (200_000,), drop={"data": tuple(range(0, 196, 2))},
            ours={"pdu_octets": SEGMENT_OCTETS // 2}, theirs={"segment_octets": 512, "packet_octets": 540},
        ),
        "2-long": Case("80 kB of file data lost in a row", (200_000,), drop={"data": tuple(range(50, 130))}),
        "2-immediate": Case("immediate NAKs, file data lost", drop={"data": (1, 2, 5)}, ours={"nak": "immediate"},
                            theirs={"immediate_nak": True}),
        "2-cancel-source": Case("the sender cancels", (600_000,), cancel="source"),
        "2-cancel-destination": Case("the receiver cancels", (600_000,), cancel="destination"),
    }  # fmt: skip


def _class1() -> dict[str, Case]:
    cases = {
        "1": Case("no losses; 0, 1, 1,024 and 20,000 octets", (0, 1, SEGMENT_OCTETS, 20_000)),
        "1-many": Case("no losses; 600,000 octets", (600_000,)),
        "1-crc32": Case("checksum CRC-32", checksum=3),
        "1-twice": Case("every PDU comes twice", repeated_rate=1.0),
        "1-data": Case("file data lost", drop={"data": (1, 2, 5)}),
        "1-closure": Case("closure requested", closure=True),
        "1-closure-data": Case("closure requested, file data lost", closure=True, drop={"data": (1, 2, 5)}),
        "1-cancel-source": Case("the sender cancels", (600_000,), cancel="source"),
    }
    return {name: replace(case, acknowledged=False) for name, case in cases.items()}


CASES = {**_class2(), **_class1()}


Codes = tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What comes of a cell.

    file: at the receiver, as in `transfers.Seen`. ours, theirs: how each end says that it ended: condition, delivery
    and status, or the first two of them; None if it never says so. peer_fault: how the peer's exception begins.
    word and note: what the table shows, "" for what the standard asks for. The note says what the peer does, and the
    clause of 727.0-B-5.
    """

    file: str
    ours: Codes
    theirs: Codes
    peer_fault: str = ""
    word: str = ""
    note: str = ""


DELIVERED = (0, 0, 2)
SENT = (0, 0, 3)  # class 1 without closure: the sender knows only that it sent everything
CANCELLED = (15, 1)
CHECK_LIMIT = (10, 1)


def asked_for(case: Case, *, ours_sends: bool) -> Outcome:
    """Return what the standard asks for."""
    sender: Codes = DELIVERED if case.acknowledged or case.closure else SENT
    receiver: Codes = DELIVERED
    file = "whole"
    if case.cancel:
        sender, receiver, file = CANCELLED, CANCELLED, "none"
    elif not case.acknowledged and case.drop:
        sender, receiver, file = CHECK_LIMIT if case.closure else SENT, CHECK_LIMIT, "none"
    return Outcome(file, *((sender, receiver) if ours_sends else (receiver, sender)))


def expected(name: str, column: str) -> Outcome:
    """Return what comes of a cell."""
    if (name, column) in DEVIATIONS:
        return DEVIATIONS[name, column]
    outcome = asked_for(CASES[name], ours_sends=column.startswith("ours"))
    # LibreCube says of no file what became of it, and its senders do not take over that it is complete.
    if column == TO_LIBRE and outcome.file == "whole":
        return replace(outcome, ours=SENT, theirs=SENT)
    if column == FROM_LIBRE and outcome.theirs in (DELIVERED, SENT):
        return replace(outcome, theirs=(0, 1, 3))
    return outcome


_LIBRE_LACKS = "LibreCube's cfdp does not offer it."
# Cells that a peer does not offer, by case and column.
NOT_OFFERED = {
    ("2-immediate", TO_LIBRE): _LIBRE_LACKS,
    ("2-crc", FROM_LIBRE): _LIBRE_LACKS,
    ("1-closure", FROM_LIBRE): _LIBRE_LACKS,
    ("1-closure-data", FROM_LIBRE): _LIBRE_LACKS,
}
_CONDITION = (
    "cfdp-py (spacepackets 0.32) takes the condition of an EOF from the wrong four bits (5.2.2), so that no cancel "
    "of a sender is understood: it raises when it answers, and reports a condition that there is not."
)
_UNTOLD = "A sender of cfdp-py that cancels in class 1 does not tell its user that the transaction has ended (3.4.8)."
_WAITS = (
    "A sender of cfdp-py whose cancel was acknowledged waits for a Finished, without a limit. By the state tables of "
    "CCSDS 720.2-G-3 (5-3 and 5-4) the acknowledgement is the end at both."
)
_MODULAR = (
    "LibreCube's cfdp compares the modular checksum, whatever type the metadata name (5.2.5). It keeps the file "
    "although the checksums differ, and says in the Finished that nothing was wrong."
)
_MISMATCH = "LibreCube's cfdp keeps a file whose checksum is wrong, and reports it as complete (4.6.1.2, 4.6.3)."
_NO_CLOSURE = "LibreCube's cfdp sends no Finished in class 1, also if closure is requested (4.6.3.2.2)."
_NO_CRC = "LibreCube's cfdp refuses PDUs with a CRC (4.1.3): the thread that reads them ends."
_CANNOT_SUM = "A sender of LibreCube's cfdp fails when it computes this checksum, after all of the file was sent."
_NULL = "LibreCube's cfdp names the modular checksum in the metadata, and sends the null checksum in the EOF (5.2.5)."
_LONG = (
    "A sender of LibreCube's cfdp answers each request of a NAK by one PDU, however long the stretch is (4.6.1.1.5): "
    "beyond 65,535 octets its thread ends, and the transaction with it."
)
DEVIATIONS = {
    ("2-cancel-source", TO_PY): Outcome("none", CANCELLED, (240, 1), "ValueError: byte must be", "no", _CONDITION),
    ("1-cancel-source", TO_PY): Outcome("none", CANCELLED, (240, 1), "", "no", _CONDITION),
    ("1-closure-data", TO_PY): Outcome("none", CHECK_LIMIT, (160, 1), "ValueError: byte must be", "no", _CONDITION),
    ("2-cancel-source", FROM_PY): Outcome("none", CANCELLED, None, "", "no", _WAITS),
    ("1-cancel-source", FROM_PY): Outcome("none", CANCELLED, None, "", "yes", _UNTOLD),
    ("1-closure-data", FROM_PY): Outcome("none", CHECK_LIMIT, None, "", "yes", _UNTOLD),
    ("2-crc32", TO_LIBRE): Outcome("whole", SENT, (15, 0), "", "yes", _MODULAR),
    ("2-crc32c", TO_LIBRE): Outcome("whole", SENT, (15, 0), "", "yes", _MODULAR),
    ("2-null", TO_LIBRE): Outcome("whole", SENT, (15, 0), "", "yes", _MODULAR),
    ("1-crc32", TO_LIBRE): Outcome("whole", SENT, SENT, "", "yes", _MODULAR),
    ("1-data", TO_LIBRE): Outcome("other", SENT, SENT, "", "no", _MISMATCH),
    ("1-closure", TO_LIBRE): Outcome("whole", CHECK_LIMIT, SENT, "", "no", _NO_CLOSURE),
    ("1-closure-data", TO_LIBRE): Outcome("other", CHECK_LIMIT, SENT, "", "no", _NO_CLOSURE),
    ("2-crc", TO_LIBRE): Outcome("none", None, None, "ValueError: PDUs with CRC", "no", _NO_CRC),
    ("2-crc32", FROM_LIBRE): Outcome("none", None, None, "NotImplementedError", "no", _CANNOT_SUM),
    ("2-crc32c", FROM_LIBRE): Outcome("none", None, None, "NotImplementedError", "no", _CANNOT_SUM),
    ("1-crc32", FROM_LIBRE): Outcome("none", None, None, "NotImplementedError", "no", _CANNOT_SUM),
    ("2-long", FROM_LIBRE): Outcome("none", None, None, "ValueError: bytes must be", "no", _LONG),
    ("2-null", FROM_LIBRE): Outcome("none", (5, 1, 0), (5, 1), "", "no", _NULL),
}


def table() -> str:
    """Return the matrix and its notes as Markdown."""
    notes: list[str] = []
    lines = ["| case | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, case in CASES.items():
        cells = [f"class {2 if case.acknowledged else 1}: {case.text}"]
        for column in COLUMNS:
            outcome = expected(name, column)
            word, note = outcome.word or "yes", outcome.note
            if (name, column) in NOT_OFFERED:
                word, note = "-", NOT_OFFERED[name, column]
            if note and note not in notes:
                notes.append(note)
            cells.append(f"{word} ({notes.index(note) + 1})" if note else word)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {text}" for number, text in enumerate(notes, 1))]) + "\n"


def page(former: str) -> str:
    """Return the page with the table as it must be."""
    before, _, rest = former.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
