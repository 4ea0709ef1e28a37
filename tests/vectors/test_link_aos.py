"""AOS frames of a real mission and of another ground system."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from flight.kernels import randomize_tm
from flight.link.tm.aos_frame import VC_COUNTS, VC_IDLE, AosFormat, AosFrame
from flight.link.tm.extract import VcExtractor
from flight.link.tm.tm_frame import FrameError

MARKER = bytes.fromhex("1acffc1d")


def test_suomi_npp(shared: Path) -> None:
    """Seven CADUs with RS(255,223) I=4: 892 octets of frame, no control field, no error control, no insert zone."""
    raw = (shared / "vectors/ccsds-rs/snpp_7cadus_2vcids.dat").read_bytes()
    units = [raw[at : at + 1024] for at in range(0, len(raw), 1024)]
    assert [unit[:4] for unit in units] == [MARKER] * 7
    fmt = AosFormat(157, 892, has_ocf=False, has_fecf=False)
    frames = [AosFrame.decode(randomize_tm(unit[4:])[:892], fmt) for unit in units]
    assert {frame.spacecraft_id for frame in frames} == {157}
    assert sorted(frame.vcid for frame in frames) == [6] * 4 + [16] * 3
    counts = [frame.vc_count for frame in frames if frame.vcid == 16]
    assert [after - before for before, after in pairwise(counts)] == [1, 1]
    assert [frame.encode(fmt) for frame in frames] == [randomize_tm(unit[4:])[:892] for unit in units]


def test_aos_frames_of_dariol83(shared: Path) -> None:
    lines = (shared / "vectors/dariol83-ccsds/dumpFile_aos_1.hex").read_text().split()
    raws = [bytes.fromhex(line).removeprefix(MARKER)[:892] for line in lines]
    fmt = AosFormat(0x7B, 892, has_fecf=False)
    frames = [AosFrame.decode(raw, fmt) for raw in raws]
    assert len(frames) == 30
    assert {frame.spacecraft_id for frame in frames} == {0x7B}
    extractors = {vcid: VcExtractor(VC_COUNTS) for vcid in (0, 1, VC_IDLE)}
    lengths: list[int] = []
    for frame in frames:
        missed, packets = extractors[frame.vcid].take(frame)
        assert missed == 0
        lengths += [len(packet) for packet in packets]
    assert set(lengths) == {406}
    counts = {vcid: (one.frames, one.packets, one.inconsistent, one.broken) for vcid, one in extractors.items()}
    assert counts == {0: (11, 23, 0, 0), 1: (6, 13, 0, 0), VC_IDLE: (13, 0, 0, 0)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda raw: raw[:-1], "length"),
        (lambda raw: raw[:30] + bytes((raw[30] ^ 1,)) + raw[31:], "crc"),
    ],
)
def test_bad_aos_frames_by_reason(change: Callable[[bytes], bytes], reason: str) -> None:
    fmt = AosFormat(5, 64)
    good = fmt.encode(1, 0, 7, 0, bytes(fmt.data_octets), bytes(4))
    assert AosFrame.decode(good, fmt).vc_count == 7
    with pytest.raises(FrameError) as caught:
        AosFrame.decode(change(good), fmt)
    assert caught.value.reason == reason


def test_aos_frames_that_are_none() -> None:
    fmt = AosFormat(5, 64, has_fecf=False)
    good = fmt.encode(1, 0, 7, 0, bytes(fmt.data_octets), bytes(4))
    for raw, reason in ((b"\0" + good[1:], "version"), (good[:6] + b"\x01\x00" + good[8:], "pointer")):
        with pytest.raises(FrameError) as caught:
            AosFrame.decode(raw, fmt)
        assert caught.value.reason == reason
    with pytest.raises(FrameError) as caught:
        AosFrame.decode(bytes(8), AosFormat(5, 8, has_ocf=False, has_fecf=False))
    assert caught.value.reason == "length"
