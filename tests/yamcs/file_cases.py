"""What is tried of CFDP with a real Yamcs, and what comes of it: its table in the page about interoperability.

    python -m tests.yamcs.file_cases      writes the table of docs/reference/cfdp-interoperability.md

`make yamcs` tries every row (test_yamcs_files.py). tests/unit/test_yamcs_instance.py holds the page to this table, and
the table to the names of the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cfdp-interoperability.md"
BEGIN, END = "<!-- yamcs: begin -->\n", "<!-- yamcs: end -->\n"
_COP_1 = "-"  # the AD service loses no PDU on the way up


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what comes of it from the node to Yamcs and the other way, and the tests that say so."""

    text: str
    down: str
    up: str
    tests: tuple[str, ...]


ROWS = (
    Row("class 2: no losses; 1, 1,024 and 50,001 octets", "yes", "yes",
        ("test_a_product_arrives_and_is_deleted_on_board", "test_a_file_goes_up_and_yamcs_knows_that_it_is_there")),
    Row("class 2: file data lost", "yes", _COP_1, ("test_frames_that_are_lost_are_asked_for_again",)),
    Row("class 2: everything lost, the first time", "yes", _COP_1, ("test_a_file_that_is_lost_whole_is_sent_again",)),
    Row("class 2: ACK of the EOF and Finished lost", _COP_1, "yes", ("test_a_finished_that_is_lost_comes_again",)),
    Row("class 2: the contact ends in mid-file", "yes", "not tried", ("test_a_file_goes_on_in_the_next_contact",)),
    Row("class 2: the sender cancels", "yes", "yes",
        ("test_the_node_cancels_what_it_sends", "test_yamcs_cancels_what_it_sends")),
    Row("class 2: the receiver cancels", "yes", "yes",
        ("test_yamcs_cancels_what_it_receives", "test_the_node_cancels_what_it_receives")),
    Row("class 1: no losses", "yes", "yes",
        ("test_a_file_comes_down_by_class_1", "test_a_parameter_table_goes_up_by_class_1_and_is_loaded")),
    Row("a file that is asked for by proxy put", "yes", "not offered", ("test_a_file_that_yamcs_asks_for_comes_down",)),
    Row("the list of a directory", "yes", "not offered", ("test_yamcs_lists_a_directory_of_the_node",)),
)  # fmt: skip


def table() -> str:
    """Return the table as Markdown."""
    rows = (f"| {row.text} | {row.down} | {row.up} |" for row in ROWS)
    return "\n".join(["| case | node to Yamcs | Yamcs to node |", "|---|---|---|", *rows]) + "\n"


def page(former: str) -> str:
    """Return the page with the table as it must be."""
    before, _, rest = former.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
