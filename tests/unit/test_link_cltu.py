"""The CLTU receiver: error modes, randomizer, counters."""

from __future__ import annotations

import pytest

from flight.core.errors import DecodeError
from flight.kernels import ErrorMode, randomize_tc
from flight.link.coding.cltu import CltuReceiver, decode_cltu, encode_cltu

FRAME = b"1234567abcdefg"


def damaged(cltu: bytes, at: int, mask: int = 0x10) -> bytes:
    return cltu[:at] + bytes((cltu[at] ^ mask,)) + cltu[at + 1 :]


def test_a_wrong_bit_in_the_start_sequence() -> None:
    for at in (0, 1):
        cltu = damaged(encode_cltu(FRAME), at)
        assert CltuReceiver().feed(cltu) == [FRAME]
        detecting = CltuReceiver(ErrorMode.TED)
        assert detecting.feed(cltu) == []
        assert not detecting.open
        with pytest.raises(DecodeError, match="starts with"):
            decode_cltu(cltu, ErrorMode.TED)


def test_a_wrong_bit_in_a_codeblock() -> None:
    cltu = damaged(encode_cltu(FRAME), 11)
    correcting, detecting = CltuReceiver(), CltuReceiver(ErrorMode.TED)
    assert correcting.feed(cltu) == [FRAME]
    assert (correcting.corrected, correcting.codeblocks, correcting.broken) == (1, 2, 0)
    assert detecting.feed(cltu) == [FRAME[:7]]
    assert (detecting.corrected, detecting.codeblocks, detecting.broken) == (0, 1, 1)
    with pytest.raises(DecodeError, match="codeblock 1 has errors"):
        decode_cltu(cltu, ErrorMode.TED)


def test_a_unit_that_ends_before_it_has_begun_is_aborted() -> None:
    receiver = CltuReceiver(ErrorMode.TED)
    assert receiver.feed(damaged(encode_cltu(FRAME), 3)) == []
    assert (receiver.units, receiver.aborted) == (0, 1)


def test_the_sequence_starts_anew_at_each_unit() -> None:
    cltu = encode_cltu(FRAME, randomized=True)
    assert cltu == encode_cltu(randomize_tc(FRAME))
    receiver = CltuReceiver(randomized=True)
    assert [unit for octet in cltu * 2 for unit in receiver.feed(bytes((octet,)))] == [FRAME] * 2
    assert decode_cltu(cltu, randomized=True) == FRAME


def test_fill_is_not_randomized() -> None:
    cltu = encode_cltu(b"abc", randomized=True)
    assert cltu[5:9] == b"\x55" * 4
    assert decode_cltu(cltu, randomized=True) == b"abc" + randomize_tc(bytes(3) + b"\x55" * 4)[3:]


@pytest.mark.parametrize(
    ("cltu", "text"),
    [
        (encode_cltu(b"a")[:-1], "shortest is 18"),
        (encode_cltu(FRAME)[:-1], "whole codeblocks"),
        (b"\x90\xeb" + encode_cltu(FRAME)[2:], "starts with 90eb, not eb90"),
        (encode_cltu(FRAME)[:-8] + encode_cltu(FRAME)[2:10], "without tail"),
        (b"\xeb\x90" + encode_cltu(b"a")[2:10] * 148 + encode_cltu(b"a")[10:], "longest is 147"),
    ],
)
def test_what_is_not_exactly_one_cltu(cltu: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        decode_cltu(cltu)


def test_the_longest_frame_makes_the_longest_cltu() -> None:
    """232.0-B-4, 4.1.1: 1,024 octets."""
    frame = bytes(range(256)) * 4
    cltu = encode_cltu(frame)
    assert len(cltu) == 2 + 147 * 8 + 8
    assert decode_cltu(cltu)[:1024] == frame
    with pytest.raises(AssertionError):
        encode_cltu(frame + b"x")


def test_reset_forgets_half_a_start_sequence() -> None:
    receiver = CltuReceiver()
    receiver.feed(b"\xeb")
    receiver.reset()
    assert receiver.feed(encode_cltu(FRAME)[1:]) == []


def test_a_unit_is_open_once_its_start_sequence_is_there() -> None:
    receiver = CltuReceiver()
    receiver.feed(b"\x55\xeb")
    assert not receiver.open
    receiver.feed(b"\x90")
    assert receiver.open


def test_reset_forgets_a_unit_and_half_a_codeblock() -> None:
    receiver = CltuReceiver()
    receiver.feed(encode_cltu(FRAME)[:13])
    states = [receiver.open]
    receiver.reset()
    states.append(receiver.open)
    assert states == [True, False]
    assert receiver.feed(encode_cltu(FRAME)) == [FRAME]


def test_octets_of_no_unit_are_counted() -> None:
    receiver = CltuReceiver()
    receiver.feed(b"\x55" * 9 + b"\xeb")
    assert receiver.skipped == 9
    assert receiver.feed(encode_cltu(FRAME)[1:] + b"\x55" * 5) == [FRAME]
    assert receiver.skipped == 14
