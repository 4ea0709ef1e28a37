"""Bring the numbers of a protected link together again, after an end has lost its record: the steps, without I/O."""

# Which end lost what (flight/link/security/state.py):
#
#   the node     it takes only frames above the number of its clock, says that it is volatile, and sends over the
#                volatile association; "set ARSN" for each association ends that
#   the ground   it goes on from its clock by itself, unless the clock is behind what was used before
#
# So the ground first goes to the number of its clock. Then it asks the node how far it is, and sets both ends to a
# number above all that either has used. A number is used for the command that does it, and its repetitions too: the new
# one is UP_BLOCK ahead, which a skip after a bad frame security report reaches as well. So wherever this is cut, the
# link stays up, and it can be run again.
#
# If the clock of the node is ahead of that of the ground, `clock_number` may be set ahead of it as well.

from __future__ import annotations

from collections.abc import Generator, Sequence

from flight.link.security.associations import Direction, End, LinkPlan, SaRole, plan_associations
from flight.link.security.numbers import DOWN_SEND_BLOCK, UP_BLOCK
from flight.link.security.procedures import Pdu, Procedure
from flight.link.security.suites import SPI_OCTETS
from ground.link.security.key_rotation import Answer, Ask, RotationFailed, Step, Steps


class NumbersRecovery:
    """Of the mission's link `link`, counted from 0. `clock_number`: TAI in units of 2^-16 s."""

    def __init__(self, plans: Sequence[LinkPlan], link: int, clock_number: int) -> None:
        self._associations = [
            each for each in plan_associations(plans) if each.link == link and each.role is not SaRole.VOLATILE
        ]
        self._clock_number = clock_number
        if not self._associations:
            raise RotationFailed(f"link {plans[link].name} is in clear both ways, it has no numbers")

    def steps(self) -> Steps:
        """Yield the steps. Raises RotationFailed, after which it can be run again."""
        last: dict[int, int] = {}
        up = [each for each in self._associations if each.direction is Direction.UP]
        for each in up:
            last[each.spi] = yield from self._read(End.GROUND, each.spi, each.suite.number_octets)
            if last[each.spi] < self._clock_number:
                last[each.spi] = self._clock_number
                yield from self._set(End.GROUND, each.spi, self._clock_number, each.suite.number_octets)
        for each in self._associations:
            octets = each.suite.number_octets
            there = yield from self._read(End.NODE, each.spi, octets)
            if each.direction is Direction.UP:
                number = max(there, last[each.spi]) + UP_BLOCK
                yield from self._set(End.NODE, each.spi, number, octets)
                yield from self._set(End.GROUND, each.spi, number, octets)
            else:
                # Telemetry goes on meanwhile, the reply to the question included.
                yield from self._set(End.NODE, each.spi, max(there + DOWN_SEND_BLOCK, self._clock_number), octets)

    def _read(self, end: End, spi: int, octets: int) -> Generator[Step, Answer, int]:
        named = spi.to_bytes(SPI_OCTETS, "big")
        answer = yield from self._ask(end, Pdu(Procedure.READ_ARSN, named), f"ask for the number of SPI {spi}")
        value = answer.reply[3:]
        if value[:SPI_OCTETS] != named or len(value) != SPI_OCTETS + octets:
            raise RotationFailed(f"the number of SPI {spi} cannot be read from {len(answer.reply)} octets")
        return int.from_bytes(value[SPI_OCTETS:], "big")

    def _set(self, end: End, spi: int, number: int, octets: int) -> Generator[Step, Answer, None]:
        value = spi.to_bytes(SPI_OCTETS, "big") + number.to_bytes(octets, "big")
        yield from self._ask(end, Pdu(Procedure.SET_ARSN, value), f"set the number of SPI {spi} to {number}")

    @staticmethod
    def _ask(end: End, pdu: Pdu, what: str) -> Generator[Step, Answer, Answer]:
        what = f"{'node' if end is End.NODE else 'ground'}: {what}"
        answer = yield Ask(end, pdu.encode(), what)
        if answer.silent:
            raise RotationFailed(f"{what}: no answer came; run it again when the link is up")
        if answer.refused:
            raise RotationFailed(f"{what}: refused: {answer.text or answer.refused}")
        return answer
