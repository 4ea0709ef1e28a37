"""Whether a file that came whole is the one that was sent: its checksum, in slices; its SHA-256 on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass

from flight.link.cfdp.checksums import CHECKSUMS, CRC32, MODULAR
from ground.files.working_file import WorkingFile

SLICE_OCTETS = 1 << 20  # takes 2 ms or so: the ground has to look at its ports in between


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What came of it: SHA-256 in hexadecimal, and what is wrong with the file, "" if it is whole."""

    digest: str
    fault: str


def check_file(
    working: WorkingFile, octets: int, checksum_type: int | None, checksum: int
) -> Generator[None, None, FileCheck]:
    """Compare a file with the checksum of its sender; yield after each slice.

    checksum_type: None if the metadata that name it were lost. Either of the two that check anything may be meant then.
    Raises FolderFault if the file cannot be read.
    """
    kinds = (CRC32, MODULAR) if checksum_type is None else (checksum_type,)
    if any(kind not in CHECKSUMS for kind in kinds):
        known = ", ".join(map(str, CHECKSUMS))
        return FileCheck("", f"checksum type {checksum_type} is unknown, should be one of {known}")
    sums, digest = dict.fromkeys(kinds, 0), hashlib.sha256()
    for at in range(0, octets, SLICE_OCTETS):
        data = working.read(at, min(SLICE_OCTETS, octets - at))
        digest.update(data)
        for kind, before in sums.items():
            sums[kind] = CHECKSUMS[kind].add(data, before, at)
        if at + SLICE_OCTETS < octets:
            yield
    agrees = checksum in sums.values()
    return FileCheck(digest.hexdigest(), "" if agrees else "checksum mismatch")
