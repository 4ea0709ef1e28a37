"""One octet of a recording spoilt, a hundred times per form; `make damage` does it thousands of times."""

from __future__ import annotations

from random import Random

import pytest

from tests.recording_damage import RECORDINGS, REMOVE, Case, campaign, faults, read


@pytest.mark.campaign
@pytest.mark.parametrize("name", RECORDINGS)
def test_damage_costs_no_more_than_it_touches(name: str) -> None:
    assert list(campaign(name, 99, seed=1)) == []


def test_a_last_length_that_leads_beyond_the_end_costs_its_packet_alone() -> None:
    """Hundreds of packets behind the counts that were known as the look at them began."""
    recording = RECORDINGS["short packets"](Random(3))
    start, _ = recording.spans[-2]
    octets = bytearray(recording.octets)
    octets[start + 4] ^= 0x40
    got, account = read(bytes(octets), recording.options)
    assert got == [*recording.packets[:-2], recording.packets[-1]]
    assert not account.is_whole


def test_idle_that_claims_more_than_there_is_hides_no_packet() -> None:
    """What is left of a packet reads as the header of an idle one, which no count speaks against."""
    recording, place = RECORDINGS["short packets"](Random(11)), 1367
    octets = recording.octets[:place] + recording.octets[place + 1 :]
    assert octets[place - 1 : place + 1] == b"\x07\xff"
    assert faults(recording, Case(REMOVE, place, octets)) == []
