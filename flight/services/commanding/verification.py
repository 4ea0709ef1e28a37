"""ST[01] request verification: acceptance, start, completion, and their failures with a reason (6.1, 8.1).

Success is reported if the acknowledgement flags of the request ask for it, failure always.
"""

# A report can be made and emitted apart from each other. The terminal report of a durable command is made before it is
# stored, since its octets are what is stored, and emitted when they are durable. A place in the line of telemetry
# (`hold`, `settle`) keeps what others make meanwhile behind it, so that packets leave in the order of their numbers.

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flight.contract.dictionary import Declarations, Report
from flight.contract.failures import Failure
from flight.contract.fields import Field
from flight.link.pus import PusTc, RequestId
from flight.services.reporting.telemetry import Place, Telemetry, Told

ACCEPTED, STARTED, COMPLETED = 1, 3, 7

# Acknowledgement flags of a telecommand (ECSS-E-ST-70-41C, 7.4.4.1): which successes its sender wants to hear of.
# Bit 2 is progress, which this node never reports.
_FLAG = {ACCEPTED: 0b0001, STARTED: 0b0010, COMPLETED: 0b1000}

NONE = 0  # in place of a failure code: the stage succeeded

_REQUEST = (
    Field("request_apid_word", "u16", text="first two octets of the request's packet header"),
    Field("request_seq_word", "u16", text="third and fourth octets of the request's packet header"),
)
_FAILURE = (*_REQUEST, Field("code", "u16"), Field("detail", "str"))
_STAGES = {ACCEPTED: "acceptance", STARTED: "start", COMPLETED: "completion"}


def declare(apid: int) -> Declarations:
    """Return the reports of ST[01] and the failure codes of the node's own services."""
    successes = (Report(apid, 1, s, f"{name}_success", _REQUEST) for s, name in _STAGES.items())
    # The report of a failure has the subtype after that of the success (8.1.2).
    failures = (Report(apid, 1, s + 1, f"{name}_failure", _FAILURE) for s, name in _STAGES.items())
    return Declarations(reports=(*successes, *failures), failures=tuple(Failure))


class Verification:
    """Reports the stages of each telecommand: a success if its flags ask for it, a failure always.

    `counts` has every stage, whether it was reported or not.
    """

    def __init__(self, apid: int, telemetry: Telemetry) -> None:
        self.counts: Counter[str] = Counter()
        self._apid = apid
        self._telemetry = telemetry
        self._failure = Report(apid, 1, 2, "", _FAILURE).layout

    def success(self, request: PusTc, stage: int) -> None:
        """Report that a stage succeeded, if the sender wants to hear of it, and count it."""
        self.emit(stage, NONE, self.make_success(request, stage))

    def failure(self, request: PusTc, stage: int, code: int, detail: str) -> None:
        """Report that a stage failed, with a failure code and a text, and count it."""
        self.emit(stage, code, self.make_failure(request.request_id, stage, code, detail))

    def emit(self, stage: int, code: int, packet: bytes) -> None:
        """Emit a report that was made before, and count its stage. An empty packet is only counted."""
        self.count(stage, code)
        if packet:
            self._telemetry.emit(packet)

    def hold(self) -> Place:
        """Take a place in line for reports that are made next and emitted later (reporting/telemetry.py)."""
        return self._telemetry.hold()

    def let_go(self, place: Place) -> None:
        """Hold nothing back any more for reports that are emitted later, or never."""
        self._telemetry.let_go(place)

    def settle(self, place: Place, packets: Sequence[tuple[bytes, Told]]) -> None:
        """Emit reports that were made before, in the place that was held for them."""
        self._telemetry.settle(place, packets)

    def count(self, stage: int, code: int) -> None:
        """Count a stage that is reported by others, or not at all."""
        self.counts[f"{_STAGES[stage]}_{'success' if code == NONE else 'failure'}"] += 1

    def make_success(self, request: PusTc, stage: int) -> bytes:
        """Make the report as a packet, to be emitted later. It is empty if the sender does not ask for it."""
        if not request.ack & _FLAG[stage]:
            return b""
        return self._telemetry.make(self._apid, 1, stage, request.request_id.encode())

    def make_failure(self, request: RequestId, stage: int, code: int, detail: str) -> bytes:
        """Make the report of a failure as a packet, to be emitted later."""
        raw = request.encode()
        words = (int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:], "big"))
        return self._telemetry.make(self._apid, 1, stage + 1, self._failure.encode((*words, code, detail)))
