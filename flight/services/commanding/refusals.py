"""Refusals in a burst: the first ones are reported one by one, all others as ranges of sequence counts by reason.

A range holds requests of one APID that were refused for one reason and whose sequence counts follow each other without
a gap: so it names each of them. The ranges are reported together, once per period.
"""

# Every refused request is accounted for, and no burst fills the downlink: that is the rule here. Per period `each_max`
# refusals have a report of their own. The others extend the newest range of their code and APID, or begin a new one.
# When RANGES_MAX ranges exist, further refusals are counted in one last row per code with `exact` at 0: its ends are
# the first and the last request, of whatever APIDs. The rows above RANGES_MAX are kept free for these, which is room
# for 15 codes: nothing here grows with the length of a burst.

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flight.contract.dictionary import Declarations, Report
from flight.contract.fields import Field, Value
from flight.contract.service import Service, ServiceTask
from flight.core.future import Event
from flight.core.task import Task
from flight.link.pus import RequestId
from flight.services.reporting.telemetry import SEQUENCE_MODULUS, Telemetry

SUBTYPE = 128
_PERIOD_S = 1.0
RANGES_MAX = 240  # a report counts its rows in an octet; those above are for one row per failure code
_ROW = (
    Field("code", "u16", "", "failure code, as in a failure of acceptance"),
    Field("apid", "u16", "", "of the requests; where not exact, of the first one"),
    Field("first", "u16", "", "sequence count of the first request"),
    Field("last", "u16", "", "sequence count of the last request"),
    Field("count", "u32", "", "requests refused"),
    Field("exact", "u8", "", "1: every request from first to last; 0: only some of them"),
)


def declare(apid: int) -> Declarations:
    """Return TM[1,128], a report of our own: the refusals that had no report of ST[01] each."""
    rows = Field("ranges", "rows", text="refusals that had no report of their own", fields=_ROW)
    return Declarations(reports=(Report(apid, 1, SUBTYPE, "refusals", (rows,)),))


@dataclass(slots=True)
class _Range:
    """A row of the summary in the making."""

    code: int
    apid: int
    first: int
    last: int
    count: int = 1
    exact: bool = True

    def row(self) -> tuple[int, ...]:
        """Return the row as the report has it, in the order of _ROW."""
        return (self.code, self.apid, self.first, self.last, self.count, int(self.exact))


class Refusals(Service):
    """Decides which refusals have a report of their own: `each_max` per period. The others are in its summary."""

    def __init__(self, apid: int, telemetry: Telemetry, each_max: int) -> None:
        self._apid = apid
        self._telemetry = telemetry
        self._layout = declare(apid).reports[0].layout
        self._each_max = each_max
        self._each_remaining = each_max
        self._ranges: list[_Range] = []
        self._newest: dict[tuple[int, int], _Range] = {}  # by code and APID
        self._inexact: dict[int, _Range] = {}  # by code
        self._begun = Event()

    def admit(self, request: RequestId, code: int) -> bool:
        """Return True if the refusal is to be reported by itself. Otherwise it will be in the next summary."""
        self._begun.set()
        if self._each_remaining > 0:
            self._each_remaining -= 1
            return True
        apid, seq = request.apid, request.seq
        newest = self._newest.get((code, apid))
        # A range never goes round the sequence counts as a whole: its ends would no longer say what is in it.
        if newest is not None and seq == (newest.last + 1) % SEQUENCE_MODULUS and newest.count < SEQUENCE_MODULUS:
            newest.last = seq
            newest.count += 1
        elif len(self._ranges) < RANGES_MAX:
            self._newest[code, apid] = _Range(code, apid, seq, seq)
            self._ranges.append(self._newest[code, apid])
        elif code in self._inexact:
            self._inexact[code].last = seq
            self._inexact[code].count += 1
        else:
            self._inexact[code] = _Range(code, apid, seq, seq, exact=False)
        return False

    def tasks(self) -> Iterable[ServiceTask]:
        """Return the task that sends the summaries."""
        return (ServiceTask("commands.refusals", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """Send a summary after each period in which something was refused."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await task.sleep(_PERIOD_S)
            self.flush()

    def flush(self) -> None:
        """Report what was gathered, and begin a new period."""
        rows = tuple(gathered.row() for gathered in (*self._ranges, *self._inexact.values()))
        self._ranges, self._newest, self._inexact, self._each_remaining = [], {}, {}, self._each_max
        if rows:
            values: list[Value] = [rows]
            self._telemetry.send(self._apid, 1, SUBTYPE, self._layout.encode(values))
