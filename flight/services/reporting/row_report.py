"""Reports of many rows: as many packets as the rows need, a few per step (flight.core.step_budget)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flight.contract.app import Slices
from flight.contract.dictionary import Report
from flight.contract.fields import ROWS_MAX, Layout, Row, Value
from flight.core.step_budget import PACKETS
from flight.services.reporting.telemetry import Telemetry

REPORT_OCTETS_MAX = 1000  # of rows: a packet spans two frames of the usual length at most


class RowReport:
    """Sends `report`, whose last field holds the rows. A row longer than a report has a packet of its own."""

    def __init__(self, telemetry: Telemetry, report: Report) -> None:
        assert report.fields[-1].type == "rows", report.name
        self._telemetry = telemetry
        self._report = report
        self._lead = Layout(report.fields[:-1])
        self._row = Layout(report.fields[-1].fields)

    def send(self, rows: Iterable[Row], lead: Sequence[Value] = ()) -> Slices:
        """Send one packet at least, even without rows. Each begins with the values of `lead`."""
        head = self._lead.encode(lead)
        part: list[bytes] = []
        octets = sent = 0
        for row in rows:
            encoded = self._row.encode(row)
            # The number of rows travels as one octet, hence ROWS_MAX.
            if part and (octets + len(encoded) > REPORT_OCTETS_MAX or len(part) == ROWS_MAX):
                self._send(head, part)
                part, octets, sent = [], 0, sent + 1
                if sent % PACKETS == 0:
                    yield
            part.append(encoded)
            octets += len(encoded)
        self._send(head, part)
        return None

    def _send(self, head: bytes, part: list[bytes]) -> None:
        report, data = self._report, head + bytes((len(part),)) + b"".join(part)
        self._telemetry.send(report.apid, report.service, report.subtype, data)
