"""Refusals in a burst: the first ones one by one, the rest as ranges of sequence counts by reason.

A range holds requests of one APID, refused for one reason, whose sequence counts followed each other without a gap: it
names each of them. Ranges are reported together, once a period; where there are more than a report holds, further
refusals are counted in a last row of their reason with `exact` at 0, whose ends are the first and the last of them,
whichever their APIDs are.
"""

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
RANGES_MAX = 240  # beside a row for each reason: a report counts its rows in an octet
_ROW = (
    Field("code", "u16", "", "failure code, as in a failure of acceptance"),
    Field("apid", "u16", "", "of the requests; where not exact, of the first one"),
    Field("first", "u16", "", "sequence count of the first request"),
    Field("last", "u16", "", "sequence count of the last request"),
    Field("count", "u32", "", "requests refused"),
    Field("exact", "u8", "", "1: every request from first to last; 0: only some of them"),
)


def declare(apid: int) -> Declarations:
    rows = Field("ranges", "rows", text="refusals that had no report of their own", fields=_ROW)
    return Declarations(reports=(Report(apid, 1, SUBTYPE, "refusals", (rows,)),))


@dataclass(slots=True)
class _Range:
    code: int
    apid: int
    first: int
    last: int
    count: int = 1
    exact: bool = True

    def row(self) -> tuple[int, ...]:
        return (self.code, self.apid, self.first, self.last, self.count, int(self.exact))


class Refusals(Service):
    """`admit` says whether a refusal may have a report of its own: `each_max` a period may."""

    def __init__(self, apid: int, telemetry: Telemetry, each_max: int) -> None:
        self._apid = apid
        self._telemetry = telemetry
        self._layout = declare(apid).reports[0].layout
        self._each_max = each_max
        self._each_left = each_max
        self._ranges: list[_Range] = []
        self._newest: dict[tuple[int, int], _Range] = {}  # by code and APID
        self._rest: dict[int, _Range] = {}  # by code
        self._begun = Event()

    def admit(self, request: RequestId, code: int) -> bool:
        """True where the refusal is to be reported by itself; otherwise it is in the next summary."""
        self._begun.set()
        if self._each_left > 0:
            self._each_left -= 1
            return True
        apid, seq = request.apid, request.seq
        newest = self._newest.get((code, apid))
        if newest is not None and seq == (newest.last + 1) % SEQUENCE_MODULUS and newest.count < SEQUENCE_MODULUS:
            newest.last = seq
            newest.count += 1
        elif len(self._ranges) < RANGES_MAX:
            self._newest[code, apid] = _Range(code, apid, seq, seq)
            self._ranges.append(self._newest[code, apid])
        elif code in self._rest:
            self._rest[code].last = seq
            self._rest[code].count += 1
        else:
            self._rest[code] = _Range(code, apid, seq, seq, exact=False)
        return False

    def tasks(self) -> Iterable[ServiceTask]:
        return (ServiceTask("commands.refusals", self.run, deadline_s=1.0),)

    async def run(self, task: Task) -> None:
        """A summary each period in which there was one to make."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            await task.sleep(_PERIOD_S)
            self.flush()

    def flush(self) -> None:
        """Report what was gathered, and begin a new period."""
        rows = tuple(one.row() for one in (*self._ranges, *self._rest.values()))
        self._ranges, self._newest, self._rest, self._each_left = [], {}, {}, self._each_max
        if rows:
            values: list[Value] = [rows]
            self._telemetry.send(self._apid, 1, SUBTYPE, self._layout.encode(values))
