"""One end of the protected links of a mission: it protects frames, checks them, and says what must be stored.

A frame from the receiver goes through `check`, then through FARM-1 (or whatever takes frames of this link), then
through `commit`. `check` has no side effect but counters, the report and a wish to store; `commit` spends the number
whatever FARM-1 made of the frame. A frame that `check` refuses changes nothing.

After every call look at `to_store`. What it returns goes to storage, and its end is reported to `stored` or
`store_failed`, in the order of the generations.
"""

# The order of the checks: length, SPI, state of the association, state of its key, number, MAC. What is cheap comes
# first, and all that stands before the MAC is in clear in the frame or fixed by the mission, so that whoever measures
# how long a refusal takes learns nothing that he did not send himself. A number that was spent is refused without
# arithmetic: a flood of recorded frames costs less than a flood of forged ones. Nothing depends on the octets of the
# MAC: it is compared in constant time (suites.py).
#
# Why a MAC that is right may still have to wait: a number at or above the stored limit could be taken again after a
# power cut, so the limit is stored first (numbers.py). Only frames with a right MAC get that far, so that nobody else
# can make the node write.
#
# A frame is checked, and then committed, before the next one is checked. `Checked` is good for that one commit.
#
# Storage that fails. The node says `volatile` and goes on: it takes numbers beyond the limit from memory (whoever owns
# the commands takes only those that may be repeated), and sends over the volatile association once its numbers are
# used up, with a key of its own and random numbers, of which the receiver checks no order. The ground sends nothing
# beyond its limit: its operator has another disk. Both end with the next write that succeeds. `retry` asks for one;
# else it is asked for when the numbers want another limit.
#
# A change by a procedure (management.py) is a transaction: it counts at once in memory, and is taken back if its write
# fails. There is one at a time.
#
# What a frame security report makes a sender do has a bound: whoever forges reports must not be able to use up the
# numbers, which at 8 skips of 512 a contact would take longer than the Sun lasts.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flight.core.errors import DecodeError, OrbitnodeError
from flight.link.actions import StoreSecurity
from flight.link.security.associations import Direction, End, LinkPlan
from flight.link.security.keyring import Keyring
from flight.link.security.lanes import Lane, Lanes, LinkEnd
from flight.link.security.numbers import Numbers, ReceiveNumbers, SendNumbers
from flight.link.security.record import Record
from flight.link.security.report import FrameSecurityReport
from flight.link.security.state import Saved, SecurityState
from flight.link.security.suites import SPI_OCTETS

REASONS: tuple[str, ...] = ("length", "spi", "association", "key", "replay", "mac")
"""Why `check` refuses a frame, in the order of the checks."""
SKIPS_PER_CONTACT = 8
IN_FLIGHT_MAX = 8
"""Writes whose end was not reported yet; `to_store` gives no more until one is."""


class SecurityError(DecodeError):
    """Raised for a frame that is refused; `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NumbersExhausted(OrbitnodeError):
    """Raised by the ground's `protect` if every number of a key is used: the key must be changed."""


class Busy(OrbitnodeError):
    """Raised if a change must wait until the write of the one before has ended."""


class Checked(NamedTuple):
    """A frame whose MAC is right. `waits`: its number is not below the stored limit; store first, then check again.

    skipped: numbers of its association between the last one that was spent and its own.
    """

    spi: int
    number: int
    data: bytes
    waits: bool
    skipped: int = 0


@dataclass(slots=True)
class SecurityCounters:
    """Since boot. `waiting`: frames not sent, `check_waits`: frames not taken, until a limit was stored."""

    protected: int = 0
    protected_volatile: int = 0
    waiting: int = 0
    exhausted: int = 0
    checked: int = 0
    check_waits: int = 0
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    skips: int = 0
    skips_refused: int = 0
    stores: int = 0
    store_failures: int = 0


class LinkSecurity:
    """One end's keys, associations and numbers. `state` is for management.py, and for showing; frames go through here.

    It takes the keyring over: each end needs one of its own. `stored` is the content of the last StoreSecurity, None if
    there was none; `lost`: there was one and it cannot be read. A content that does not decode is lost as well.
    `clock_number` is TAI in units of 2^-16 s, 0 if the clock is not known: numbers that are sent begin there at least
    (state.py). `random` returns so many unpredictable octets.
    """

    def __init__(
        self, end: End, keyring: Keyring, links: Sequence[LinkPlan], *, stored: bytes | None = None,
        lost: bool = False, clock_number: int = 0, random: Callable[[int], bytes],
    ) -> None:  # fmt: skip
        record, fault = None, ""
        if stored is not None:
            try:
                record = Record.decode(stored)
            except DecodeError as error:
                lost, fault = True, str(error)
        self.end = end
        self.random = random
        # Whether frames of a former life of this end may still be on their way, or in somebody's hands.
        self.has_past = record is not None or lost
        self.state = SecurityState(end, keyring, links, record, lost and record is None, clock_number)
        if fault:
            self.state.faults.insert(0, fault)
        # What of the record or of the keys could not be used at boot; empty if all is well.
        self.faults = tuple(self.state.faults)
        self.counters = SecurityCounters()
        self._lanes = Lanes(end, links)
        self._links = self._lanes.links
        self._generation = 0
        self._in_flight: dict[int, list[tuple[Numbers, int]]] = {}
        self._change: tuple[int, Saved] | None = None
        self._due = record is None  # what is as delivered is stored too, so that a lost record is noticed
        self._failing = False
        self.refresh()
        for lane in [link_end.sending for link_end in self._links]:
            if lane and lane.send:
                # Asked for at boot, so that the first frame need not wait.
                lane.send.ask(lane.send.next)
                self._due = True

    @property
    def volatile(self) -> bool:
        """Whether what is taken now could be taken again after a reboot: numbers are lost, or cannot be stored."""
        return self._failing or self._lanes.lost

    # Frames.

    def overhead(self, link: int, direction: Direction) -> tuple[int, int]:
        """Return the octets of security header and trailer on this link; (0, 0) if it is in clear."""
        plan = self.state.links[link]
        suite = plan.up if direction is Direction.UP else plan.down
        return (suite.header_octets, suite.trailer_octets) if suite else (0, 0)

    def protect(self, link: int, header: bytes, data: bytes) -> bytes | None:
        """Return security header, data and MAC of a frame with this primary header.

        None if the frame must wait: a limit is to be stored first (`to_store`), or no association can carry it. Raises
        NumbersExhausted on the ground if every number of the key is used.
        """
        lane = self._links[link].sending
        if lane is not None and lane.send is not None and lane.keyed is not None:
            numbers = lane.send
            number = numbers.take()
            if numbers.due:
                self._due = True
            if number is not None:
                self.counters.protected += 1
                return lane.keyed.protect(header, lane.name, number, data)
            if numbers.exhausted:
                self.counters.exhausted += 1
                if self.end is End.GROUND:
                    raise _exhausted(lane, numbers)
            elif not self._failing:
                self.counters.waiting += 1
                return None
        return self._protect_volatile(link, header, data)

    def can_protect(self, link: int) -> bool:
        """Return whether `protect` would return a frame now; what keeps it from that is asked for (`to_store`).

        Raises NumbersExhausted on the ground if every number of the key is used.
        """
        end = self._links[link]
        lane, spare = end.sending, end.spare is not None and end.spare.keyed is not None
        if lane is None or lane.send is None or lane.keyed is None:
            return spare
        numbers = lane.send
        if numbers.next < numbers.limit:
            return True
        if numbers.exhausted and self.end is End.GROUND:
            raise _exhausted(lane, numbers)
        numbers.ask(numbers.next)
        self._due = self._due or numbers.due
        return spare and (self._failing or numbers.exhausted)

    def _protect_volatile(self, link: int, header: bytes, data: bytes) -> bytes | None:
        assert self.overhead(link, self._lanes.out) != (0, 0), f"link {link} is in clear"
        lane = self._links[link].spare
        if lane is None or lane.keyed is None:
            self.counters.waiting += 1
            return None
        self.counters.protected_volatile += 1
        number = lane.suite.random_number(self.random(lane.suite.number_octets))
        return lane.keyed.protect(header, lane.name, number, data)

    def check(self, link: int, header: bytes, body: bytes) -> Checked:
        """Return what is in a frame: `header` is its primary header, `body` what stands between it and OCF or FECF.

        Raises SecurityError if it is refused. Counts, and sets the report; changes nothing else.
        """
        checked = self.look(link, header, body)
        if isinstance(checked, str):
            raise SecurityError(checked, _refusal_text(self._lanes, link, len(body)))
        return checked

    def look(self, link: int, header: bytes, body: bytes) -> Checked | str:
        """Return what `check` does, or the reason of a refusal: nothing else is made of a frame that is refused."""
        end = self._links[link]
        if len(body) <= end.overhead:
            return self._refused(end, "length", 0, 0)
        lane = end.receiving.get(body[:SPI_OCTETS])
        if lane is None:
            return self._refused(end, "spi", int.from_bytes(body[:SPI_OCTETS], "big"), 0)
        number = int.from_bytes(body[SPI_OCTETS : lane.number_end], "big")
        if lane.keyed is None:
            return self._refused(end, lane.refusal[0], lane.spi, number)
        numbers = lane.receive
        if numbers is not None and number <= numbers.spent:
            return self._refused(end, "replay", lane.spi, number)
        data = lane.keyed.opened(header, body)
        if data is None:
            return self._refused(end, "mac", lane.spi, number)
        self.counters.checked += 1
        end.last = ("", lane.spi, number)
        skipped = 0 if numbers is None else number - numbers.spent - 1
        if numbers is None or number < numbers.limit or self._failing:
            return Checked(lane.spi, number, data, False, skipped)
        numbers.wait(number)
        self._due = self._due or numbers.due
        self.counters.check_waits += 1
        return Checked(lane.spi, number, data, True, skipped)

    def _refused(self, end: LinkEnd, reason: str, spi: int, number: int, count: int = 1) -> str:
        self.counters.refused[reason] += count
        end.alarm = True
        end.last = (reason, spi, number)
        return reason

    def spent(self, link: int) -> list[tuple[int, int | None]]:
        """Return the SPIs that come over a link, each with the last number of which `look` says "replay".

        None if it says something else, whatever the number.
        """
        return [
            (lane.spi, None if lane.keyed is None or lane.receive is None else lane.receive.spent)
            for lane in self._links[link].receiving.values()
        ]

    def refused_at_sight(self, link: int, counts: Mapping[str, int], last: tuple[str, int, int]) -> None:
        """Count frames that somebody refused as `look` would have done, by what stands in clear in them.

        counts: by reason, "length", "spi" or "replay". last: reason, SPI and number of the last frame.
        """
        end = self._links[link]
        for reason, count in counts.items():
            self._refused(end, reason, 0, 0, count)
        end.last = last

    def commit(self, link: int, checked: Checked) -> None:
        """Spend the number of a frame that was checked and does not wait, whatever became of it since."""
        assert not checked.waits, "store first, then check again"
        lane = self._lanes.by_spi[checked.spi]
        assert lane.link == link, (checked.spi, link)
        self.counters.accepted += 1
        if lane.direction is Direction.UP:
            self.state.proven.add(lane.spi)
        numbers = lane.receive
        if numbers is not None:
            assert checked.number > numbers.spent, "a frame is committed once"
            numbers.spend(checked.number)
            if numbers.due:
                self._due = True

    # Storage.

    def to_store(self) -> StoreSecurity | None:
        """Return what must be stored now, or None; each content is given out once."""
        return self.snapshot() if self._due and len(self._in_flight) < IN_FLIGHT_MAX else None

    def snapshot(self) -> StoreSecurity:
        """Return a content that is given out whether or not something is due."""
        self._due = False
        self._generation += 1
        self.counters.stores += 1
        content = self.state.record().encode()
        numbers = self.state.numbers.values()
        self._in_flight[self._generation] = [(each, each.wanted) for each in numbers]
        for each in numbers:
            each.due = False
        return StoreSecurity(content, self._generation)

    def stored(self, generation: int) -> None:
        """Take note that this content, and so all before it, is durable."""
        for before in [given for given in self._in_flight if given <= generation]:
            for numbers, limit in self._in_flight.pop(before):
                numbers.durable(limit)
        self._failing = False
        if self._change and self._change[0] <= generation:
            saved, self._change = self._change[1], None
            self.state.wipe_what_went(saved)

    def store_failed(self, generation: int) -> None:
        """Take note that this content could not be stored: what is taken from now on is not safe against a reboot.

        A change that was to be stored with it is taken back.
        """
        self._in_flight.pop(generation, None)
        self.counters.store_failures += 1
        self._failing = True
        if self._change and self._change[0] == generation:
            saved, self._change = self._change[1], None
            self.state.restore(saved)
            self.refresh()
            self._due = True  # a content given out meanwhile has the change in it, and may be on the medium

    def retry(self) -> None:
        """Want a content to be stored, if the last one could not be. Whoever owns the storage says when."""
        self._due = self._due or self._failing

    @property
    def changing(self) -> bool:
        """Whether a change waits for the end of its write."""
        return self._change is not None

    def change(self, make: Callable[[SecurityState], None]) -> StoreSecurity:
        """Let `make` change the state, and return what must be stored for it; if that fails, all is as before.

        `make` may raise, and has then changed nothing. Raises Busy if another change waits for its write.
        """
        if self._change or len(self._in_flight) >= IN_FLIGHT_MAX:
            raise Busy("a change of keys or associations waits for storage; ask again when it has ended")
        saved = self.state.save()
        try:
            make(self.state)
        except OrbitnodeError:
            self.state.restore(saved)
            raise
        self.refresh()
        store = self.snapshot()
        self._change = (store.generation, saved)
        return store

    def refresh(self) -> None:
        """Let frames go by what the state says now."""
        self._lanes.refresh(self.state)

    def carrier(self, link: int) -> int | None:
        """Return the SPI that frames go out over, None if there is none."""
        lane = self._links[link].sending
        return lane.spi if lane else None

    def choose(self, link: int, spi: int) -> None:
        """Send over this association from now on, as long as it is usable. For the ground."""
        association = self.state.associations[spi]
        assert (self.end, association.link, association.direction) == (End.GROUND, link, Direction.UP)
        self.state.chosen[link] = spi
        self._due = True
        self.refresh()

    # After the other end's reboot.

    def skip(self, link: int) -> None:
        """Go beyond whatever the receiver's stored limit can be, on every association of this link that sends.

        Where nothing was sent since the last skip, that is so already.
        """
        self.counters.skips += 1
        sends = [self.state.numbers.get(each.spi) for each in self.state.of_link(link, self._lanes.out)]
        skipped = [numbers.skip() for numbers in sends if isinstance(numbers, SendNumbers)]
        self._due = self._due or any(skipped)

    def advance(self, spi: int, number: int) -> None:
        """Go on sending over an association with `number`, if that is ahead: to get beyond what the receiver lost."""
        numbers = self.state.numbers[spi]
        assert isinstance(numbers, SendNumbers), spi
        numbers.advance(number)
        self._due = True

    def widen(self) -> None:
        """Have the ground store half as often what it receives: its storage is too slow for the frames that come."""
        assert self.end is End.GROUND, "the block of the way up is the same at both ends"
        for numbers in self.state.numbers.values():
            if isinstance(numbers, ReceiveNumbers):
                numbers.widen()

    def distrust(self) -> None:
        """Take it that the record is the last but one, and what was written last is gone: numbers may be lost."""
        self.state.distrust()
        self.refresh()
        self._due = True

    def begin_contact(self, link: int) -> None:
        """Let reports cause skips again, after SKIPS_PER_CONTACT of them."""
        self._links[link].skips = 0

    def heed(self, link: int, report: FrameSecurityReport) -> bool:
        """Skip if the receiver reports a bad number and may be believed; return whether it was done.

        Believed once per frame that was sent since the last skip, and SKIPS_PER_CONTACT times per contact.
        """
        end = self._links[link]
        lane = end.sending
        if not report.bad_number or lane is None or lane.send is None or report.spi != lane.spi:
            return False
        if lane.send.skipped or end.skips >= SKIPS_PER_CONTACT:
            self.counters.skips_refused += 1
            return False
        end.skips += 1
        self.skip(link)
        return True

    # The report.

    def report(self, link: int) -> FrameSecurityReport:
        """Return the report on what this end receives over the link."""
        return self._links[link].report()

    def reset_alarm(self, link: int) -> None:
        """Clear the alarm of a link, and what is said of its last frame."""
        end = self._links[link]
        end.alarm = False
        end.last = ("", *end.last[1:])


def stores_due(security: LinkSecurity | None) -> Sequence[StoreSecurity]:
    """Return what must be stored by now, as actions of a link; `security` is None if it is clear both ways."""
    content = None if security is None else security.to_store()
    return () if content is None else (content,)


def seal_frame(security: LinkSecurity, link: int, header: bytes, data: bytes) -> bytes:
    """Protect a frame that has a number for certain, since `can_protect` was asked."""
    sealed = security.protect(link, header, data)
    assert sealed is not None, "no number is left, which `can_protect` said there is"
    return sealed


def _exhausted(lane: Lane, numbers: SendNumbers) -> NumbersExhausted:
    return NumbersExhausted(f"SPI {lane.spi}: all {numbers.end - 1} numbers of its key are used; change the key")


def _refusal_text(lanes: Lanes, link: int, octets: int) -> str:
    """Return what is wrong with the last frame that came over the link, which was refused; `octets` of its body."""
    end = lanes.links[link]
    reason, spi, number = end.last
    match reason:
        case "length":
            return f"{octets} octets, shortest is {end.overhead + 1}"
        case "spi":
            return f"SPI {spi} does not come over this link"
        case "replay":
            return f"SPI {spi}: number {number} is spent"
        case "mac":
            return f"SPI {spi}: MAC mismatch"
    return lanes.by_spi[spi].refusal[1]
