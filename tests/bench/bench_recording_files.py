"""A gigabyte of packets through `orbitnode decode`, from file to file: the memory of its process, and how fast it goes.

    decode-parquet      packets of 70 octets with a CSV definition of 16 numbers of 32 bit into one Parquet file
    decode-account      the housekeeping of the orbit mission, decoded by its dictionary, into the account alone

Memory is the most that the process held, beside a limit that does not grow with the recording.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from flight.catalogue import dictionary_of
from flight.contract.fields import Value
from flight.core.nanoseconds import NS
from flight.link.pus import PusTm
from flight.link.space_packet import SpacePacket
from flight.mission import MISSIONS, load
from sim_hw.bench.bench_command import BenchError, Row, Survey, at_least, at_most, output_of, shown

MB = 1_000_000
OCTETS, BRIEF_OCTETS = 1000 * MB, 128 * MB
LIMIT_MB = 300.0
DECODE_S = 300.0
NUMBERS = 16
COUNTS = 1 << 14  # of sequence counts: a block of so many packets may be repeated
TAI_NS = 2_152_000_000 * NS
PEAK_MEMORY = Path(__file__).with_name("peak_memory.py")


def repeated(path: Path, block: bytes, octets: int) -> None:
    with path.open("wb") as file:
        for _ in range(max(1, octets // len(block))):
            file.write(block)


def plain_block() -> bytes:
    """Packets of 70 octets on one APID: counters and slow ramps, as telemetry has."""
    return b"".join(
        SpacePacket(
            42, seq, b"".join((seq // (1 + place) + place).to_bytes(4, "big") for place in range(NUMBERS))
        ).encode()
        for seq in range(COUNTS)
    )


def housekeeping_block() -> bytes:
    """Reports of all fixed structures of the orbit mission in turns, a second apart, each counting by itself."""
    dictionary = dictionary_of(load(MISSIONS / "orbit.toml"))
    structures = [one for one in dictionary.structures if all(field.is_number for field in one.fields)]
    counts = dict.fromkeys((one.apid for one in structures), 0)
    packets, index = [], 0
    while min(counts.values()) < COUNTS:
        structure = structures[index % len(structures)]
        if counts[structure.apid] < COUNTS:
            values: list[Value] = [index % 100 for _ in structure.fields]
            data = structure.sid.to_bytes(2, "big") + structure.layout.encode(values)
            packets.append(PusTm(structure.apid, counts[structure.apid], 3, 25, data, TAI_NS + index * NS).encode())
            counts[structure.apid] += 1
        index += 1
    return b"".join(packets)


def measured(*arguments: str | Path) -> tuple[float, float, dict[str, object]]:
    """Memory in MB of 10^6 octets, seconds, and the account of `orbitnode decode` with these arguments."""
    decode = (sys.executable, "-m", "flight.cli", "decode", "--json", *arguments)
    begun_s = time.monotonic()
    said, _, octets = output_of((sys.executable, PEAK_MEMORY, *decode), DECODE_S).rstrip().rpartition("\n")
    took_s = time.monotonic() - begun_s
    account: dict[str, object] = json.loads(said)
    return int(octets) / MB, took_s, account


def rows_of(name: str, path: Path, *arguments: str | Path) -> list[Row]:
    octets = path.stat().st_size
    memory_mb, took_s, account = measured(path, *arguments)
    if account["octets"] != octets or not account["complete"]:
        raise BenchError(f"{name}: {account['losses']}")
    rate = octets / took_s / MB
    return [
        at_most(f"{name}-memory", memory_mb, LIMIT_MB, f"limit: {LIMIT_MB:g} MB for {octets / MB:,.0f} MB", "MB"),
        shown(at_least(f"{name}-rate", rate, rate, "alone", "MB/s", 0.0, note=f"{octets / MB:,.0f} MB")),
    ]


def parquet(brief: bool) -> Sequence[Row]:
    with TemporaryDirectory(prefix="orbitnode-bench-") as folder:
        path, fields = Path(folder, "packets.bin"), Path(folder, "fields.csv")
        lines = ["name,data_type,bit_length", *(f"number_{place},uint,32" for place in range(NUMBERS))]
        fields.write_text("\n".join(lines) + "\n", encoding="utf-8")
        repeated(path, plain_block(), BRIEF_OCTETS if brief else OCTETS)
        out = Path(folder, "tables")
        return rows_of("decode-parquet", path, "--definition", f"42={fields}", "-o", out, "--to", "parquet")


def account(brief: bool) -> Sequence[Row]:
    with TemporaryDirectory(prefix="orbitnode-bench-") as folder:
        path = Path(folder, "housekeeping.bin")
        repeated(path, housekeeping_block(), BRIEF_OCTETS if brief else OCTETS)
        return rows_of("decode-account", path, "--mission", MISSIONS / "orbit.toml", "--as", "packets")


BENCHES = (Survey("decode-parquet", parquet, long=True), Survey("decode-account", account, long=True))
