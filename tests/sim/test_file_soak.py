"""A short file soak: every file arrives whatever is lost and whenever an end reboots, and the check notices if not."""

from __future__ import annotations

import pytest

from tests.soak.durable_end import DurableEnd
from tests.soak.files import GROUND, NODE, Setup, Soak

SHORT = Setup(files=24, hours=5.0, octets_max=400_000, lost_rate=0.1, reboots=8)


def flown(setup: Setup) -> Soak:
    soak = Soak(setup)
    soak.run()
    return soak


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_file_arrives_whole_and_its_sender_knows(seed: int) -> None:
    soak = flown(Setup(SHORT.files, SHORT.hours, SHORT.octets_max, SHORT.lost_rate, SHORT.reboots, seed))
    assert soak.faults() == []
    assert soak.lost > 100
    assert all(end.reboots for end in soak.ends.values())
    assert {len(end.kept) for end in soak.ends.values()} == {SHORT.files // 2}
    assert all(end.total["resent_octets"] for end in soak.ends.values())


def test_a_seed_gives_the_same_run_again() -> None:
    assert flown(SHORT).account() == flown(SHORT).account()


def test_a_file_that_is_missing_or_another_or_unknown_to_its_sender_is_a_fault() -> None:
    soak = flown(SHORT)
    ground = soak.ends[GROUND]
    assert isinstance(ground, DurableEnd)
    missing, other = (file.name for file in soak.files[NODE][:2])
    unknown = soak.files[GROUND][0].name
    del ground.medium.kept[missing]
    ground.medium.kept[other] = ground.medium.kept[other]._replace(sha256=bytes(32))
    ground.medium.done.remove(unknown)
    faults = soak.faults()
    assert len(faults) == 3
    assert f"{missing} of" in faults[0] and "did not arrive" in faults[0]
    assert other in faults[1] and "something else" in faults[1]
    assert unknown in faults[2] and "does not know" in faults[2]
