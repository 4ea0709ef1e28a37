"""Telecommand coding beside the same in plain Python: a table for the parity, a codeblock after the other."""

from __future__ import annotations

from random import Random

from flight.link.coding.cltu import TAIL, decode_cltu, encode_cltu
from sim_hw.bench.bench_command import Bench, Race

FRAME_OCTETS = 256
CODEBLOCKS = -(-FRAME_OCTETS // 7)
FILLED_OCTETS = 7 * CODEBLOCKS


def remainders() -> bytes:
    """What an octet leaves in the register of x^7 + x^6 + x^2 + 1, left-aligned."""
    table = bytearray()
    for register in range(256):
        for _ in range(8):
            register = (register << 1 ^ 0x8A if register & 0x80 else register << 1) & 0xFF
        table.append(register)
    return bytes(table)


TABLE = remainders()


def parity(information: bytes) -> int:
    register = 0
    for octet in information:
        register = TABLE[register ^ octet]
    return register


SINGLE_ERRORS = {parity((1 << 55 - bit).to_bytes(7, "big")): bit for bit in range(56)}
SINGLE_ERRORS |= {0x80 >> bit: 56 + bit for bit in range(7)}


def encode_plainly(frame: bytes) -> bytes:
    data = frame + b"\x55" * (-len(frame) % 7)
    out = bytearray(b"\xeb\x90")
    for at in range(0, len(data), 7):
        information = data[at : at + 7]
        out += information
        out.append(parity(information) ^ 0xFE)
    return bytes(out + TAIL)


def decode_plainly(cltu: bytes) -> bytes:
    out = bytearray()
    for at in range(2, len(cltu) - 8, 8):
        information = cltu[at : at + 7]
        syndrome = (parity(information) ^ cltu[at + 7] ^ 0xFE) & 0xFE
        if syndrome:
            bit = SINGLE_ERRORS[syndrome]
            if bit < 56:
                information = (int.from_bytes(information, "big") ^ 1 << 55 - bit).to_bytes(7, "big")
        out += information
    return bytes(out)


def encode() -> Race:
    frame = Random(5).randbytes(FRAME_OCTETS)
    assert encode_plainly(frame) == encode_cltu(frame)
    return Race(lambda: encode_cltu(frame), lambda: encode_plainly(frame), FRAME_OCTETS / 1e6)


def decode() -> Race:
    """Every fourth codeblock has a wrong bit."""
    source = Random(6)
    frame = source.randbytes(FILLED_OCTETS)
    cltu = bytearray(encode_cltu(frame))
    for block in range(0, CODEBLOCKS, 4):
        bit = source.randrange(63)
        cltu[2 + 8 * block + bit // 8] ^= 0x80 >> bit % 8
    damaged = bytes(cltu)
    assert decode_plainly(damaged) == decode_cltu(damaged) == frame
    return Race(lambda: decode_cltu(damaged), lambda: decode_plainly(damaged), FILLED_OCTETS / 1e6)


BENCHES = (
    Bench("cltu-encode", "table in Python", "MB/s", 10.0, encode),
    Bench("cltu-decode", "table in Python", "MB/s", 4.0, decode),
)
