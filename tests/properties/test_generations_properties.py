"""A record of two generations, whatever became of either, against a plain model; and what is written afterwards."""

from __future__ import annotations

import struct
import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight.core.errors import StorageError
from flight.core.nanoseconds import ns
from flight.store.generations import Generations, Presence
from sim_hw.machine.disk import Disk
from sim_hw.machine.loop import VirtualLoop

NAMES = ("p.a", "p.b")
BELIEVED_MAX = 0x7FFFFFFF

versions = st.one_of(st.integers(1, 6), st.sampled_from([0, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0]))
states = st.one_of(
    st.tuples(st.just("sound"), st.integers(1, 6)),
    st.tuples(st.just("sound"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["sound", "damaged", "short", "unreadable", "absent"]), versions),
)


def stored(version: int, content: bytes) -> bytes:
    """Version, length and CRC-32 of both and the content, then the content: as storage that has flown holds it."""
    crc = zlib.crc32(struct.pack(">III", version, len(content), 0) + content)
    return struct.pack(">III", version, len(content), crc) + content


@settings(max_examples=400)
@given(states, states)
def test_what_is_found_of_two_generations_and_what_the_next_write_leaves(
    first: tuple[str, int], second: tuple[str, int]
) -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    sound: dict[int, bytes] = {}
    faults: list[str] = []
    seeming = 0
    for slot, (state, version) in enumerate((first, second)):
        content = b"%d in %d" % (version, slot)
        raw = stored(version, content)
        if state == "absent":
            continue
        if state == "sound" and version and version % 2 == slot:
            sound[version] = content
        else:
            faults.append("not in its place" if state == "sound" and version else "damaged")
        if state == "unreadable":
            disk.unreadable.add(NAMES[slot])
            faults[-1] = "unreadable"
        elif state == "short":
            raw = raw[: version % 12]
        elif state == "damaged":
            raw = raw[:-1] + b"?"
            seeming = max(seeming, version if version <= BELIEVED_MAX else 0)
        disk.durable[NAMES[slot]] = raw
    told = {"damaged": len(faults)}
    newest = max(sound, default=0)
    if sound:
        if len(sound) == 2 and max(sound) - min(sound) != 1:
            faults = ["of an earlier time"]
        elif len(sound) == 1 and not faults and newest > 1:
            faults = ["gone"]
        found = Presence.ONE_LOST if faults else Presence.WHOLE
        fault = f"one generation is {faults[0]}, the other generation stands" if faults else ""
    elif faults:
        found = Presence.LOST
        what = "its only generation is" if len(faults) == 1 else "both generations are"
        fault = f"{what} {' and '.join(sorted(set(faults)))}: what was stored is gone"
    else:
        found, fault = Presence.NOTHING, ""
    record = Generations(disk.boot(loop), "p")
    assert (record.found, record.fault, record.damaged) == (Presence.NOTHING, "", 0), "before anything was looked at"
    assert record.load_all() == [sound[version] for version in sorted(sound, reverse=True)]
    assert record.load() == sound.get(newest)
    assert (record.found, record.fault, record.damaged) == (found, fault, told["damaged"])

    before = dict(disk.durable)
    done = record.save(b"new")
    loop.run_until(loop.now_ns() + ns(1))
    assert done.result() is None
    written = [newest + 1] if sound else [seeming + 1, seeming + 2] if faults else [1]
    expected = before | {NAMES[version % 2]: stored(version, b"new") for version in written}
    assert disk.durable == expected, "over the older one; both if nothing that stands is sound"
    record.save(b"newer")
    loop.run_until(loop.now_ns() + ns(1))
    assert disk.durable == expected | {NAMES[(written[-1] + 1) % 2]: stored(written[-1] + 1, b"newer")}
    disk.unreadable.clear()
    again = Generations(disk.boot(loop), "p")
    assert again.load_all() == [b"newer", b"new"]
    assert (again.found, again.fault, again.damaged) == (Presence.WHOLE, "", 0)


@pytest.mark.parametrize("seeming", [0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_damaged_version_does_not_use_up_the_versions(seeming: int) -> None:
    """What is written afterwards is found again, however often."""
    loop, disk = VirtualLoop(), Disk(Random(1))
    disk.durable = dict.fromkeys(NAMES, seeming.to_bytes(4, "big") + b"\xff" * 20)
    for boot in range(4):
        record = Generations(disk.boot(loop), "p")
        assert record.load() == (b"%d" % (boot - 1) if boot else None)
        assert record.found is (Presence.WHOLE if boot else Presence.LOST)
        record.save(b"%d" % boot)
        loop.run_until(loop.now_ns() + ns(1))


def test_a_write_that_is_refused_before_anything_sound_stands_goes_to_both_names_once_it_is_taken() -> None:
    loop, disk = VirtualLoop(), Disk(Random(1))
    disk.durable = dict.fromkeys(NAMES, b"?")
    record = Generations(disk.boot(loop), "p")
    record.load()
    disk.read_only = True
    with pytest.raises(StorageError, match="read-only"):
        record.save(b"x")
    disk.read_only = False
    record.save(b"new")
    loop.run_until(loop.now_ns() + ns(1))
    assert disk.durable == {"p.a": stored(2, b"new"), "p.b": stored(1, b"new")}
