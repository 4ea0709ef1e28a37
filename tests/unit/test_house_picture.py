"""docs/house.svg against the code: every room has its place, every call follows an import, every text fits its box.

That the committed file is the one that is drawn is seen in test_docs.py, as for all that `make docs` writes.
"""

from __future__ import annotations

import pytest

from docs.tools.house_picture import (
    ADVANCE,
    ADVANCE_BOLD,
    ADVANCE_MONO,
    BOXES,
    FLOWS,
    LINE_PX,
    ROOMS_PX,
    TEXT_PX,
    TITLE_PX,
    Box,
    room_lines,
)
from tests.unit.test_layout import FILES, FOLDERS, HOUSE, PACKAGES, facts_of, module_of

# What the picture leaves out, with the reason.
INSIDE = {
    "flight.missions": "no code",
}


def drawn_rooms() -> list[str]:
    """Every room that a box names."""
    return [room for box in BOXES for room in box.rooms]


def test_every_room_of_the_house_is_in_one_box() -> None:
    rooms = drawn_rooms()
    assert len(rooms) == len(set(rooms)), "a room stands in two boxes"
    # Rooms of rooms (flight.services.radio, ground.recording.streams) are inside the box of their room.
    upper = {room for room in PACKAGES if room.count(".") <= 1 and room not in INSIDE}
    assert upper - set(rooms) == set(), "rooms without a box: add them to BOXES in docs/tools/house_picture.py"
    assert set(rooms) - upper == set(), "boxes name rooms that are not there"
    assert {room.partition(".")[0] for room in HOUSE} == set(FOLDERS)


@pytest.mark.parametrize("calls", [flow.calls for flow in FLOWS if flow.calls], ids="-".join)
def test_a_call_follows_an_import(calls: tuple[str, str]) -> None:
    importer, imported = calls
    modules = [file for file in FILES if module_of(file).startswith(importer)]
    assert any(name.startswith(imported) for file in modules for name in facts_of(file).imported)


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.name)
def test_text_stays_in_its_box(box: Box) -> None:
    room = box.width - 20
    assert len(box.name) * TITLE_PX * ADVANCE_BOLD <= room
    assert all(len(line) * TEXT_PX * ADVANCE <= room for line in box.text)
    assert all(len(line) * ROOMS_PX * ADVANCE_MONO <= room for line in room_lines(box))
    if box.kind != "frame":
        assert 22 + LINE_PX * (len(box.text) + len(room_lines(box))) <= box.height - 4


def test_boxes_do_not_overlap() -> None:
    boxes = [box for box in BOXES if box.kind != "frame"]
    for number, box in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = (
                box.x + box.width <= other.x
                or other.x + other.width <= box.x
                or box.y + box.height <= other.y
                or other.y + other.height <= box.y
            )
            assert apart, (box.name, other.name)
