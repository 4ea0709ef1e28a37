"""FARM-1, every event in every state of table 6-1 (CCSDS 232.1-B-2), each a case by its number.

TABLE is the list of cases: an event, the frames or the signal that bring it about, and per state what is left behind.
The last test holds the list complete: no pair is missing, and none is there twice.

What FARM-1 did is written as the cases have it: whether the data was given out, then what changed of V(R) = 100, the
FARM-B counter = 0 and the flags, then the state. `rtx`, `wait` and `lockout` are flags of the CLCW that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from flight.core.errors import DecodeError
from flight.link.tc.clcw import Clcw
from flight.link.tc.farm import Farm, FarmState
from flight.link.tc.tc_frame import UNLOCK, TcFrame, set_vr_command

S1, S2, S3 = FarmState
VR = 100


def ad(seq: int, buffer_free: bool = True) -> Callable[[Farm], bytes | None]:
    return lambda farm: farm.on_frame(TcFrame(1, 0, seq, b"packet"), buffer_free)


def bd(farm: Farm) -> bytes | None:
    return farm.on_frame(TcFrame(1, 0, 0, b"packet", bypass=True))


def bc(command: bytes) -> Callable[[Farm], bytes | None]:
    return lambda farm: farm.on_frame(TcFrame(1, 0, 0, command, bypass=True, control=True))


def release(farm: Farm) -> None:
    farm.release_buffer()


def report(farm: Farm) -> None:
    """E11: the CLCW tells what FARM-1 has, whatever else it carries, and changes nothing."""
    told = farm.clcw(no_rf=True, no_bit_lock=True)
    locked = farm.state is FarmState.LOCKOUT
    right = Clcw(0, farm.vr, locked, farm.wait, farm.retransmit, no_rf=True, no_bit_lock=True)
    assert told == right and Clcw.decode(told.encode()) == right


def damaged(farm: Farm) -> None:
    """E9: every octet of a frame, wrong in turn; the frame decoder stands before FARM-1 and lets none through."""
    raw = TcFrame(1, 0, farm.vr, b"packet").encode()
    for place in range(len(raw)):
        with pytest.raises(DecodeError):
            TcFrame.decode(raw[:place] + bytes((raw[place] ^ 0x10,)) + raw[place + 1 :])


@dataclass(frozen=True)
class Row:
    """One event. `outcomes`: what is there after it in OPEN, WAIT and LOCKOUT."""

    event: str
    stimulus: Callable[[Farm], bytes | None]
    outcomes: tuple[str, str, str]


# What the three states look like before: WAIT has turned away one frame, LOCKOUT was OPEN before.
OPEN, WAIT, LOCKOUT = "open", "rtx wait, wait", "lockout, lockout"
NEVER = "(cannot happen: the buffer is free again only with E10, which ends WAIT; what comes all the same is dropped)"
UNCHANGED = (OPEN, WAIT, LOCKOUT)
TABLE = (
    Row("E1", ad(VR), ("taken V(R)=101, open", NEVER, LOCKOUT)),
    Row("E2", ad(VR, buffer_free=False), ("rtx wait, wait", WAIT, LOCKOUT)),
    Row("E3 next", ad(VR + 1), ("rtx, open", WAIT, LOCKOUT)),
    Row("E3 last", ad(VR + 9), ("rtx, open", WAIT, LOCKOUT)),
    Row("E4 newest", ad(VR - 1), UNCHANGED),
    Row("E4 oldest", ad(VR - 10), UNCHANGED),
    Row("E5 above", ad(VR + 10), ("lockout, lockout", "rtx wait lockout, lockout", LOCKOUT)),
    Row("E5 below", ad(VR - 11), ("lockout, lockout", "rtx wait lockout, lockout", LOCKOUT)),
    Row("E5 far", ad((VR + 128) % 256), ("lockout, lockout", "rtx wait lockout, lockout", LOCKOUT)),
    Row("E6", bd, ("taken B=1, open", "taken B=1 rtx wait, wait", "taken B=1 lockout, lockout")),
    Row("E7", bc(UNLOCK), ("B=1, open", "B=1, open", "B=1, open")),
    Row("E8", bc(set_vr_command(7)), ("V(R)=7 B=1, open", "V(R)=7 B=1, open", "B=1 lockout, lockout")),
    Row("E9", damaged, UNCHANGED),
    Row("E9 unknown command", bc(b"\x01"), UNCHANGED),
    Row("E9 Set V(R) too long", bc(b"\x82\x00\x07\x00"), UNCHANGED),
    Row("E9 Set V(R) too short", bc(b"\x82\x00"), UNCHANGED),
    Row("E10", release, (OPEN, "rtx, open", LOCKOUT)),
    Row("E11", report, UNCHANGED),
)  # fmt: skip


def farm_in(state: FarmState) -> Farm:
    farm = Farm(window=20)
    farm.vr = VR
    if state is FarmState.WAIT:
        ad(VR, buffer_free=False)(farm)
    elif state is FarmState.LOCKOUT:
        ad(200)(farm)
    assert farm.state is state
    return farm


def what_it_did(farm: Farm, data: bytes | None) -> str:
    """What is there after the event, in the words of TABLE."""
    told = farm.clcw()
    words = ["taken"] if data == b"packet" else []
    words += [f"V(R)={told.report_value}"] if told.report_value != VR else []
    words += [f"B={told.farm_b_counter}"] if told.farm_b_counter else []
    flags = (("rtx", told.retransmit), ("wait", told.wait), ("lockout", told.lockout))
    words += [name for name, is_set in flags if is_set]
    return ", ".join(part for part in (" ".join(words), farm.state.name.lower()) if part)


CASES = [
    pytest.param(row, state, id=f"{row.event}-S{state.value}")
    for row in TABLE
    for state in FarmState
    if not row.outcomes[state.value - 1].startswith("(")
]


@pytest.mark.parametrize(("row", "state"), CASES)
def test_an_event_in_a_state(row: Row, state: FarmState) -> None:
    farm = farm_in(state)
    assert what_it_did(farm, row.stimulus(farm)) == row.outcomes[state.value - 1]


def test_a_frame_that_comes_in_wait_as_if_there_were_a_buffer_is_dropped() -> None:
    """E1 in S2: nothing may be given out that WAIT has told the sender to hold back."""
    farm = farm_in(S2)
    assert what_it_did(farm, ad(VR)(farm)) == WAIT


def test_every_event_in_every_state_is_a_case() -> None:
    assert {row.event.split()[0] for row in TABLE} == {f"E{number}" for number in range(1, 12)}
    assert len({row.event for row in TABLE}) == len(TABLE)
    assert all(len(row.outcomes) == len(FarmState) for row in TABLE)
    impossible = [(row.event, state.value) for row in TABLE for state in FarmState
                  if row.outcomes[state.value - 1].startswith("(")]  # fmt: skip
    assert impossible == [("E1", 2)]


def test_windows_go_round() -> None:
    for vr in (0, 5, 250, 255):
        for ahead in range(256):
            farm = Farm(window=20)
            farm.vr = vr
            ad((vr + ahead) % 256)(farm)
            state = FarmState.OPEN if ahead < 10 or ahead >= 246 else FarmState.LOCKOUT
            assert (farm.state, farm.retransmit) == (state, 0 < ahead < 10), (vr, ahead)
