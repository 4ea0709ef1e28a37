"""What an operator sees of a commanding link: FOP-1, the queues, the newest CLCW, and how the service is led."""

# It is a picture of one moment, taken when somebody asks. Nothing decides by it.

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

from flight.core.nanoseconds import NS
from flight.link.tc.clcw import Clcw
from flight.link.tc.fop import Fop
from flight.link.tc.fop_actions import FopState
from ground.link.ground_link import Service

MANUAL = "manual"  # the mode of a link that an operator leads


@dataclass(frozen=True, slots=True)
class FopStatus:
    """FOP-1 at one moment. timer_ns: until T1 runs out, None if it does not run."""

    state: FopState
    suspended: FopState | None
    vs: int
    nnr: int
    sent_queue: int
    wait_queue: int
    window: int
    t1_ns: int
    transmission_limit: int
    transmissions: int
    timeout_type: int
    timer_ns: int | None

    @classmethod
    def of(cls, fop: Fop, now_ns: int) -> Self:
        """Take the picture."""
        return cls(
            state=fop.state,
            suspended=fop.suspended,
            vs=fop.vs,
            nnr=fop.nnr,
            sent_queue=fop.outstanding,
            wait_queue=fop.queued,
            window=fop.window,
            t1_ns=fop.t1_ns,
            transmission_limit=fop.transmission_limit,
            transmissions=fop.transmissions,
            timeout_type=fop.timeout_type,
            timer_ns=None if fop.timer_ns is None else max(0, fop.timer_ns - now_ns),
        )

    def document(self) -> dict[str, object]:
        """Return it as plain values; times in seconds, states as the standard numbers them."""
        return {
            "fop_state": f"S{self.state.value}",
            "suspended": None if self.suspended is None else f"S{self.suspended.value}",
            "vs": self.vs,
            "nnr": self.nnr,
            "sent_queue": self.sent_queue,
            "wait_queue": self.wait_queue,
            "window": self.window,
            "t1_s": self.t1_ns / NS,
            "transmission_limit": self.transmission_limit,
            "transmissions": self.transmissions,
            "timeout_type": self.timeout_type,
            "timer_s": None if self.timer_ns is None else self.timer_ns / NS,
        }


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """See the head of the file.

    waiting: commands of which FOP-1 does not have all parts. undecided: frames of a service that ended. proof_pending:
    a control command is under way, and no CLCW has shown yet that the node took it.
    """

    manual: bool
    service: Service
    fop: FopStatus
    waiting: int
    undecided: int
    proof_pending: bool
    clcw: Clcw | None
    clcw_age_ns: int
    alerts: int
    last_alert: str

    def document(self) -> dict[str, object]:
        """Return it as a document of plain values, for the API; times in seconds."""
        return {
            "mode": MANUAL if self.manual else "automatic",
            "service": self.service.value,
            **self.fop.document(),
            "waiting": self.waiting,
            "undecided": self.undecided,
            "proof_pending": self.proof_pending,
            "clcw": None if self.clcw is None else asdict(self.clcw),
            "clcw_age_s": None if self.clcw is None else self.clcw_age_ns / NS,
            "alerts": self.alerts,
            "last_alert": self.last_alert,
        }
