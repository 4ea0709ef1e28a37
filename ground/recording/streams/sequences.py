"""Finds missing packets by their sequence counts, per virtual channel and APID (CCSDS 133.0-B-2, 4.1.3.4.3)."""

# How the step from one count to the next is read (modulo 16,384):
#
#   1                      nothing is missing
#   2 .. 8,191             so many less one are missing; one gap
#   0, or 8,192 and more   a step back: a node that restarted, or packets sent twice. One gap, nothing missing
#   two odd steps in a     one count stands out of line alone: its header is damaged, or it is a packet of another APID.
#   row that add up to     One gap, nothing missing
#   1 or 2
#
# If fewer than half of an APID's counts step by one, it does not count at all, or the recording holds only a selection
# of its packets. Its gaps then say nothing (`ApidAccount.counts` is False), and are not reported.

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account, ApidAccount

SEQUENCE_COUNTS = 1 << 14
_BACK = SEQUENCE_COUNTS // 2  # steps of so many or more lead back
_COUNTING_FRAC = 0.5  # of the steps of an APID that counts are by one, at least
_TELLING_STEPS = 8  # with fewer, a single step by one is enough
_IDLE_APID = 0x7FF


@dataclass(slots=True)
class _Line:
    """The last count of an APID, and how many steps it made so far, of them how many by one."""

    last: int
    steps: int = 0
    ones: int = 0


class SequenceCounts:
    """Follows the counts of every APID: call `note` with every batch, in order."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lines: dict[tuple[int, int], _Line] = {}

    def note(self, batch: PacketBatch) -> None:
        """Bring the account of every APID of the batch up to date."""
        if not len(batch):
            return
        for vcid in np.unique(batch.vcid).tolist():
            rows = batch.vcid == vcid
            if rows.all():
                self._note_channel(vcid, batch.apid, batch.seq, batch.flags)
            else:
                self._note_channel(vcid, batch.apid[rows], batch.seq[rows], batch.flags[rows])

    def _note_channel(
        self, vcid: int, apid: NDArray[np.uint16], seq: NDArray[np.uint16], flags: NDArray[np.uint8]
    ) -> None:
        if not (apid != apid[0]).any():
            self._note_line((vcid, int(apid[0])), seq, flags)
            return
        order = np.argsort(apid, kind="stable")
        apid, seq, flags = apid[order], seq[order], flags[order]
        edges = np.concatenate(([0], np.flatnonzero(apid[1:] != apid[:-1]) + 1, [len(apid)])).tolist()
        for start, stop in pairwise(edges):
            self._note_line((vcid, int(apid[start])), seq[start:stop], flags[start:stop])

    def _note_line(self, key: tuple[int, int], seq: NDArray[np.uint16], flags: NDArray[np.uint8]) -> None:
        account = self._account.apids.setdefault(key, ApidAccount())
        account.packets += len(seq)
        for head, n in enumerate(np.bincount(flags >> 2, minlength=4).tolist()):
            if n:
                account.heads[head] += n
        if key[1] == _IDLE_APID:  # nobody keeps the count of idle packets
            account.counts = False
            return
        line = self._lines.get(key)
        counts = seq.astype(np.int32)
        if line is None:
            line = self._lines[key] = _Line(int(counts[0]))
        else:
            counts = np.concatenate(([line.last], counts))
        steps = np.diff(counts) % SEQUENCE_COUNTS
        line.last = int(counts[-1])
        line.steps += len(steps)
        line.ones += int(np.count_nonzero(steps == 1))
        odd = np.flatnonzero(steps != 1)
        if len(odd):
            self._note_gaps(account, steps, odd)
        if line.steps >= _TELLING_STEPS:
            account.counts = line.ones >= _COUNTING_FRAC * line.steps
        else:  # a few packets without any step by one are of damaged headers
            account.counts = line.ones > 0 or not line.steps

    @staticmethod
    def _note_gaps(account: ApidAccount, steps: NDArray[np.int32], odd: NDArray[np.intp]) -> None:
        """Count gaps and missing packets; odd: indices of the steps that are not 1."""
        # There and back again in two steps: one count is damaged, or the APID is, so that it is another APID's packet.
        back = (steps[odd[:-1]] + steps[odd[1:]]) % SEQUENCE_COUNTS
        pairs = odd[:-1][(np.diff(odd) == 1) & ((back == 1) | (back == 2))]
        # Each pair counts as one gap, and its two steps are not looked at again.
        spoilt = np.zeros(len(steps), np.bool_)
        spoilt[pairs] = spoilt[pairs + 1] = True
        account.gaps += len(pairs)
        others = steps[odd[~spoilt[odd]]]
        forward = others[(others > 1) & (others < _BACK)]
        account.missing += int((forward - 1).sum())
        account.gaps += len(others)
