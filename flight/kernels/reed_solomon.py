"""The Reed-Solomon codes of the space link: check symbols after a frame, and correction in place."""

# What the decoder guarantees for any octets: a codeword within E symbols of what was received is found, always, and its
# octets are written. If there is none, the octets stay as they were and -1 says so. Beyond E errors no code can tell a
# codeword that was sent from one that lies near by chance: that happens to about one word in E!, and the frame's error
# control behind it catches it.

from __future__ import annotations

from flight.kernels._kernels import lib
from flight.kernels.binding import COUNTS, OCTETS, KernelError, WriteBuffer, from_buffer

_encode = lib.ob_rs_encode
_decode = lib.ob_rs_decode
INTERLEAVES = (1, 2, 3, 4, 5, 8)


def encode_reed_solomon(
    units: WriteBuffer, *, data_octets: int, parity: int, interleave: int, count: int = 1, stride: int | None = None
) -> None:
    """Write the check symbols of `count` codeblocks (CCSDS 131.0-B-5, section 4), each `stride` octets after the last.

    A codeblock is a frame of `data_octets` and then parity x interleave octets, which are written.
    parity: check symbols per codeword, 32 (E = 16 errors corrected) or 16 (E = 8).
    interleave: codewords per codeblock, 1, 2, 3, 4, 5 or 8. `data_octets` is a multiple of it, at most
    (255 - parity) x interleave; if it is less, virtual fill completes the codewords.
    stride: octets from one codeblock to the next, so that a sync marker may stand between; their size if not given.
    Raises KernelError if the sizes do not fit together.
    """
    target = from_buffer(OCTETS, units, True)
    octets = len(target)
    distance = data_octets + parity * interleave if stride is None else stride
    code = _encode(target, octets, count, distance, data_octets, parity, interleave)
    if code < 0:
        reason = _misfit(octets, data_octets, parity, interleave, count, distance)
        raise KernelError("encode_reed_solomon", code, reason)


def decode_reed_solomon(
    units: WriteBuffer, *, data_octets: int, parity: int, interleave: int, count: int = 1, stride: int | None = None
) -> memoryview[int]:
    """Correct `count` codeblocks in place, laid out as for `encode_reed_solomon`: data and check symbols.

    Returns count x interleave numbers, those of a codeblock side by side: symbols corrected, 0..E, or -1 if the
    codeword could not be corrected; its octets then are as they were. `numpy.asarray` of it, int8, copies nothing.
    Among words of more than E errors about one in E! lies within E of another codeword and is taken for that.
    Raises KernelError if the sizes do not fit together.
    """
    target = from_buffer(OCTETS, units, True)
    octets = len(target)
    distance = data_octets + parity * interleave if stride is None else stride
    codewords = count * interleave
    # More codewords than octets are refused by the kernel, and must not be allocated before.
    corrected = bytearray(codewords if 0 <= codewords <= octets else 0)
    code = _decode(
        target, octets, count, distance, data_octets, parity, interleave, from_buffer(COUNTS, corrected), len(corrected)
    )
    if code < 0:
        reason = _misfit(octets, data_octets, parity, interleave, count, distance)
        raise KernelError("decode_reed_solomon", code, reason)
    return memoryview(corrected).cast("b")


def _misfit(octets: int, data_octets: int, parity: int, interleave: int, count: int, stride: int) -> str:
    """Return what is wrong with a layout that was refused, and what would be right."""
    if parity not in (16, 32):
        return f"{parity} check symbols per codeword, should be 16 or 32"
    if interleave not in INTERLEAVES:
        return f"interleave is {interleave}, should be one of {', '.join(map(str, INTERLEAVES))}"
    data_max = (255 - parity) * interleave
    if not 0 < data_octets <= data_max or data_octets % interleave:
        return f"{data_octets} data octets, should be a multiple of {interleave} up to {data_max}"
    unit = data_octets + parity * interleave
    if count > 1 and stride < unit:
        return f"a stride of {stride} octets, should be at least {unit}"
    return f"{octets} octets, should be at least {(count - 1) * stride + unit} for a count of {count}"
