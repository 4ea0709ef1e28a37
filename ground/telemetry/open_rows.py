"""What in a node's archive is still open: packets without a meaning, commands without an outcome.

Also what a ground must know of the past to go on: the newest packets, by which it recognises repetitions.
"""

# A packet that does not fit the dictionary is kept whole: as "undecoded" if the dictionary has its kind but another
# form, as "unknown" if it has neither. The right dictionary, or a definition, may come later (late_decoding.py). A
# command whose outcome is not known when the ground ends is settled by the next one (ground/commands/recall.py).
#
# Long tables are read in chunks, from the row that was read last (`id < ?`), not by offset: an offset would walk over
# all earlier rows each time, and would slip if rows were added meanwhile.

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ground.operator import LOST, CommandRecord, Stage
from ground.telemetry.archive_file import UNDECODED, ArchiveFile
from ground.telemetry.decoder import HOUSEKEEPING, DecodedPacket

_CHUNK_ROWS = 4096
_LOOK_BACK_ROWS = 100_000  # packets searched for one of real time: a bound on a question asked once per open command


@dataclass(frozen=True, slots=True)
class UndecodedRow:
    """A packet as it stands in the archive; `received_ns` is TAI."""

    number: int
    received_ns: int
    vcid: int
    octets: bytes


class OpenRows:
    """The open rows of the node `node` in `file`. Faults of the file raise OrbitnodeError in one line."""

    def __init__(self, file: ArchiveFile, node: int) -> None:
        self._file = file
        self._node = node

    # Packets

    def undecoded(self, after: int, limit: int) -> list[UndecodedRow]:
        """Return the first `limit` packets without a meaning after the row `after`, in order of reception."""
        rows = self._file.query(
            f"SELECT id, received_ns, vcid, octets FROM packets WHERE node = ? AND id > ? AND {UNDECODED} "
            "ORDER BY id LIMIT ?",
            (self._node, after, limit),
        )
        return [UndecodedRow(number, at, vcid, octets or b"") for number, at, vcid, octets in rows]

    def undecoded_size(self) -> tuple[int, int]:
        """Return how many packets have no meaning, and their octets in all."""
        ((rows, octets),) = self._file.query(
            f"SELECT count(*), coalesce(sum(length(octets)), 0) FROM packets WHERE node = ? AND {UNDECODED}",
            (self._node,),
        )
        return int(rows), int(octets)

    def kinds(self) -> Counter[str]:
        """Return the number of packets per kind."""
        return Counter(
            dict(self._file.query("SELECT kind, count(*) FROM packets WHERE node = ? GROUP BY kind", (self._node,)))
        )

    def name_packet(self, number: int, packet: DecodedPacket) -> None:
        """Give the packet of that row its meaning."""
        self._file.write(
            "UPDATE packets SET time_ns = ?, service = ?, subtype = ?, kind = ?, name = ? WHERE id = ? AND node = ?",
            [(packet.time_ns, packet.service, packet.subtype, packet.kind, packet.name, number, self._node)],
        )

    def newest_packets(self, limit: int) -> Iterator[bytes]:
        """Yield the octets of the newest packets that bear a time, the newest first."""
        before = 1 << 62
        while limit > 0:
            rows = self._file.query(
                "SELECT id, octets FROM packets WHERE node = ? AND id < ? AND time_ns IS NOT NULL "
                "AND octets IS NOT NULL ORDER BY id DESC LIMIT ?",
                (self._node, before, min(limit, _CHUNK_ROWS)),
            )
            if not rows:
                return
            yield from (octets for _, octets in rows)
            before, limit = rows[-1][0], limit - len(rows)

    def onboard_ahead_ns(self, vcids: Sequence[int], at_ns: int) -> int | None:
        """Return by how much the on-board clock was ahead of the ground's around `at_ns`, None if nothing tells.

        vcids: the channels of real time. The last housekeeping that came over one of them before then decides.
        """
        marks = ", ".join("?" for _ in vcids)
        rows = self._file.query(
            f"SELECT time_ns - received_ns FROM packets WHERE node = ? AND vcid IN ({marks}) AND kind = ? "
            "AND received_ns <= ? AND id > (SELECT coalesce(max(id), 0) FROM packets) - ? ORDER BY id DESC LIMIT 1",
            (self._node, *vcids, HOUSEKEEPING, at_ns, _LOOK_BACK_ROWS),
        )
        return int(rows[0][0]) if rows else None

    def packets_since(self, names: Sequence[str], received_ns: int, limit: int) -> list[bytes]:
        """Return the octets of packets of these names that came since `received_ns`: the newest `limit`, oldest first.

        received_ns: TAI.
        """
        marks = ", ".join("?" for _ in names)
        rows = self._file.query(
            f"SELECT octets FROM packets WHERE node = ? AND name IN ({marks}) AND received_ns >= ? "
            "ORDER BY id DESC LIMIT ?",
            (self._node, *names, received_ns, limit),
        )
        return [octets for (octets,) in reversed(rows)]

    # Commands

    def commands(self, limit: int, epoch_tai_ns: int) -> list[CommandRecord]:
        """Return those of the newest `limit` commands that are open or lost, the oldest first.

        A command is left out if a later one has the same request id: reports speak of that one. Stages are on the
        ground's timeline, at whose time 0 TAI is `epoch_tai_ns`.
        """
        rows = self._file.query(
            "SELECT number, name, arguments, apid, seq, outcome, reason, code FROM commands "
            "WHERE node = ? ORDER BY number DESC LIMIT ?",
            (self._node, limit),
        )
        named: set[tuple[int, int]] = set()
        found: list[CommandRecord] = []
        for number, name, arguments, apid, seq, outcome, reason, code in rows:
            is_newest = (apid, seq) not in named
            named.add((apid, seq))
            if outcome not in ("", LOST) or not is_newest:
                continue
            stages = self._file.query(
                "SELECT name, time_ns, detail FROM stages WHERE node = ? AND command = ? ORDER BY position",
                (self._node, number),
            )
            staged = [Stage(stage, at - epoch_tai_ns, detail) for stage, at, detail in stages]
            found.append(CommandRecord(number, name, json.loads(arguments), apid, seq, staged, outcome, reason, code))
        return found[::-1]

    def close_commands(self, last: int, reason: str) -> None:
        """End as lost every command up to number `last` that still has no outcome: nobody follows them any more."""
        self._file.write(
            "UPDATE commands SET outcome = ?, reason = ? WHERE node = ? AND number <= ? AND outcome = ''",
            [(LOST, reason, self._node, last)],
        )
