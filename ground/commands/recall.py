"""Commands of an earlier ground, settled: what became of them, as far as anybody can tell.

A ground that ends, or is killed, leaves commands without an outcome. The next one on its archive ends them as lost,
which means that nobody knows. Reports that the archive has, or that come later, overrule "lost" as they always do.

    open, or lost  --a report in the archive, or one that comes later--> completed, failed, rejected
    open           --no such report-----------------------------------> lost, with the reason below
"""

# Nothing is guessed: a command that was sent a moment before the ground was killed may have been executed or not.
#
# Why the archive's reports are read once more: a report may have been archived in the same second in which the process
# was killed, before the record of its command was written again. The records are ended first and the reports applied
# afterwards, with `live=False`: an old report whose time is clearly before the command was sent belongs to an earlier
# command with the same request id, since ids come round.

from __future__ import annotations

from ground.commands.verification import CommandTracker
from ground.operator import LOST, SCHEDULED, SENT, CommandRecord, Stage
from ground.telemetry.decoder import VERIFICATION, Decoder
from ground.telemetry.node_archive import NodeArchive

COMMANDS_MAX = 4096  # of the archive's commands, the newest; as many as the tracker holds
_REPORTS_MAX = 20_000
UNKNOWN = "unknown: the ground ended before the node's final report; a report that still comes will tell"
UNKNOWN_SCHEDULED = "unknown: the ground ended while the node held it for its time; a report that still comes will tell"


class Recall:
    """Reads the open commands when it is constructed; `settle` ends them, once there is a time at which to do so."""

    def __init__(self, archive: NodeArchive, tracker: CommandTracker, epoch_tai_ns: int, realtime: list[int]) -> None:
        """realtime: virtual channels that carry what the node made just now. Raises OrbitnodeError."""
        self._archive = archive
        self._tracker = tracker
        self._epoch_tai_ns = epoch_tai_ns
        self._last = archive.last_command()  # higher numbers will be this ground's own
        self._records = archive.open_rows.commands(COMMANDS_MAX, epoch_tai_ns)
        for record in self._records:
            sent_ns = record.stage_ns(SENT)
            if sent_ns is None:
                continue
            sent_tai_ns = sent_ns + epoch_tai_ns
            ahead_ns = archive.open_rows.onboard_ahead_ns(realtime, sent_tai_ns) if record.is_open else None
            tracker.recall(record, None if ahead_ns is None else sent_tai_ns + ahead_ns)

    def settle(self, decoder: Decoder, now_ns: int) -> list[CommandRecord]:
        """End the open commands; return all whose outcome changed. Raises OrbitnodeError."""
        opened = [record for record in self._records if record.is_open]
        for record in opened:
            is_held = record.stage_ns(SCHEDULED) is not None
            record.outcome, record.reason = LOST, UNKNOWN_SCHEDULED if is_held else UNKNOWN
            record.stages.append(Stage(LOST, now_ns, record.reason))
        changed = {record.number: record for record in opened}
        for octets in self._reports(opened, decoder):
            packet = decoder.decode_late(octets)
            if packet is not None:
                named = [self._tracker.on_report(packet, now_ns, live=False)]
                named += self._tracker.on_refusals(packet, now_ns, live=False)
                changed |= {record.number: record for record in named if record is not None}
        self._archive.open_rows.close_commands(self._last, UNKNOWN)
        self._records = []
        return list(changed.values())

    def _reports(self, opened: list[CommandRecord], decoder: Decoder) -> list[bytes]:
        """Return verification reports in the archive that came after the first of these commands was sent."""
        names = [report.name for report in decoder.dictionary.reports if report.service == VERIFICATION]
        if not opened or not names:
            return []
        first_ns = min(record.stages[0].now_ns for record in opened)
        return self._archive.open_rows.packets_since(names, first_ns + self._epoch_tai_ns, _REPORTS_MAX)
