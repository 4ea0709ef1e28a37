"""Commands of a ground before this one, settled: what became of them, as far as anybody can tell.

A ground that ends, or is killed, leaves commands without an outcome. Whoever goes on with its archive ends them as
lost: nobody knows. What the archive has of their reports is looked at once more, and reports that come yet decide over
"lost" as they always do. Nothing is guessed.

    open, or lost  --a report of before in the archive, or one that comes--> completed, failed, rejected
    open           --no such report-------------------------------------> lost, with the reason below
"""

from __future__ import annotations

from ground.commands.verification import CommandTracker
from ground.operator import LOST, SCHEDULED, SENT, CommandRecord, Stage
from ground.telemetry.decoder import VERIFICATION, Decoder
from ground.telemetry.node_archive import NodeArchive

COMMANDS_MAX = 4096  # the newest that are looked at
_REPORTS_MAX = 20_000
UNKNOWN = "unknown: the ground ended before the node's final report; one that comes yet tells"
UNKNOWN_SCHEDULED = "unknown: the ground ended while the node held it for its time; a report that comes yet tells"


class Recall:
    """Reads the open commands as it is made; `settle` ends them, once there is a time to do it at."""

    def __init__(self, archive: NodeArchive, tracker: CommandTracker, epoch_tai_ns: int, realtime: list[int]) -> None:
        """realtime: channels that carry what was made just now."""
        self._archive = archive
        self._tracker = tracker
        self._epoch_tai_ns = epoch_tai_ns
        self._last = archive.last_command()  # what comes behind it is this ground's own
        self._records = archive.open_rows.commands(COMMANDS_MAX, epoch_tai_ns)
        for record in self._records:
            sent_ns = record.stage_ns(SENT)
            if sent_ns is None:
                continue
            sent_tai_ns = sent_ns + epoch_tai_ns
            ahead_ns = archive.open_rows.onboard_ahead_ns(realtime, sent_tai_ns) if record.is_open else None
            tracker.recall(record, None if ahead_ns is None else sent_tai_ns + ahead_ns)

    def settle(self, decoder: Decoder, now_ns: int) -> list[CommandRecord]:
        """The commands that have an outcome now and had none, or another one, before."""
        opened = [record for record in self._records if record.is_open]
        for record in opened:
            is_held = record.stage_ns(SCHEDULED) is not None
            record.outcome, record.reason = LOST, UNKNOWN_SCHEDULED if is_held else UNKNOWN
            record.stages.append(Stage(LOST, now_ns, record.reason))
        changed = {record.number: record for record in opened}
        for octets in self._reports(opened, decoder):
            packet = decoder.decode_late(octets)
            if packet is not None:
                told = [self._tracker.on_report(packet, now_ns, live=False)]
                told += self._tracker.on_refusals(packet, now_ns, live=False)
                changed |= {one.number: one for one in told if one is not None}
        self._archive.open_rows.close_commands(self._last, UNKNOWN)
        self._records = []
        return list(changed.values())

    def _reports(self, opened: list[CommandRecord], decoder: Decoder) -> list[bytes]:
        """Verification reports in the archive that came after the first of these commands was sent."""
        names = [report.name for report in decoder.dictionary.reports if report.service == VERIFICATION]
        if not opened or not names:
            return []
        first_ns = min(record.stages[0].now_ns for record in opened)
        return self._archive.open_rows.packets_since(names, first_ns + self._epoch_tai_ns, _REPORTS_MAX)
