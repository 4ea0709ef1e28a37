"""What a frame meets on its way through this end: per link and association a lane, made of what the state says."""

# A lane holds all that a frame needs, looked up once: the octets of its SPI, the suite with its key, the numbers. Lanes
# are made again whenever keys or associations change, which is rare; frames are not. A suite with a key outlives that
# as long as its key is in use; when it is let go of, the contexts in it clear themselves.

from __future__ import annotations

from collections.abc import Sequence

from flight.link.security.associations import Association, Direction, End, LinkPlan, SaRole, SaState
from flight.link.security.numbers import Numbers, ReceiveNumbers, SendNumbers
from flight.link.security.report import FrameSecurityReport
from flight.link.security.state import SecurityState
from flight.link.security.suites import SPI_OCTETS, KeyedSuite, Suite


class Lane:
    """What a frame over one association needs. `keyed` is None if none may pass, and `refusal` says then why."""

    __slots__ = ("direction", "keyed", "link", "name", "number_end", "receive", "refusal", "send", "spi", "suite")

    def __init__(self, association: Association, numbers: Numbers | None, keyed: KeyedSuite | None) -> None:
        self.spi = association.spi
        self.link = association.link
        self.name = association.spi.to_bytes(SPI_OCTETS, "big")
        self.direction = association.direction
        self.suite = association.suite
        self.number_end = association.suite.header_octets
        self.send = numbers if isinstance(numbers, SendNumbers) else None
        self.receive = numbers if isinstance(numbers, ReceiveNumbers) else None
        self.keyed = keyed
        self.refusal = _refusal_of(association)


def _refusal_of(association: Association) -> tuple[str, str]:
    """Return the reason and the text for frames of an association that takes none."""
    if association.state is not SaState.OPERATIONAL:
        return "association", f"SPI {association.spi} is {association.state.name.lower()}, should be operational"
    return "key", f"SPI {association.spi}: its key {association.key_id} is not active"


class LinkEnd:
    """The lanes of one link at this end: `spare` is that of the volatile association."""

    __slots__ = ("alarm", "last", "overhead", "receiving", "sending", "skips", "spare")

    def __init__(self, received: Suite | None) -> None:
        self.overhead = received.overhead_octets if received else 0
        self.receiving: dict[bytes, Lane] = {}
        self.sending: Lane | None = None
        self.spare: Lane | None = None
        self.alarm = False
        self.last = ("", 0, 0)  # of the last frame: reason of its refusal, SPI, number
        self.skips = 0

    def report(self) -> FrameSecurityReport:
        """Return the report on what came over the link."""
        reason, spi, number = self.last
        return FrameSecurityReport(
            spi, number & 0xFF, self.alarm, bad_number=reason == "replay", bad_mac=reason == "mac",
            bad_association=reason in ("spi", "association", "key"),
        )  # fmt: skip


class Lanes:
    """All lanes of an end. `lost`: an association that frames come over has lost its numbers."""

    def __init__(self, end: End, plans: Sequence[LinkPlan]) -> None:
        self.incoming, self.out = (Direction.UP, Direction.DOWN) if end is End.NODE else (Direction.DOWN, Direction.UP)
        self.links = [LinkEnd(plan.up if end is End.NODE else plan.down) for plan in plans]
        self.by_spi: dict[int, Lane] = {}
        self.lost = False
        self._end = end
        self._keyed: dict[tuple[bytes, str], KeyedSuite] = {}

    def refresh(self, state: SecurityState) -> None:
        """Make the lanes of what `state` says now."""
        keyed: dict[tuple[bytes, str], KeyedSuite] = {}
        self.by_spi = {}
        self.lost = False
        for end in self.links:
            end.receiving, end.sending, end.spare = {}, None, None
        senders: list[list[Association]] = [[] for _ in self.links]
        for association in state.associations.values():
            lane = self.by_spi[association.spi] = Lane(association, state.numbers.get(association.spi), None)
            usable = state.usable(association)
            key = state.key_of(association)
            if usable and key is not None:
                name = (key.fingerprint, association.suite.name)
                lane.keyed = keyed[name] = self._keyed.get(name) or association.suite.keyed(key.octets)
            if association.direction is self.incoming:
                self.links[association.link].receiving[lane.name] = lane
                self.lost = self.lost or (usable and association.lost)
            elif usable and association.role is SaRole.VOLATILE:
                self.links[association.link].spare = lane
            elif usable and not association.lost:
                senders[association.link].append(association)
        for link, usable_ones in enumerate(senders):
            if usable_ones:
                self.links[link].sending = self.by_spi[self._carrier(state.chosen[link], usable_ones).spi]
        self._keyed = keyed

    def _carrier(self, chosen: int, usable: list[Association]) -> Association:
        """Return the association to send over: the ground's choice; the one that the node started last."""
        if self._end is End.NODE:
            return max(usable, key=lambda association: association.started)
        return next((association for association in usable if association.spi == chosen), usable[0])
