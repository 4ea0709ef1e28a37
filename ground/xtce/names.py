"""Names that XTCE allows (NameType), each given once within its set."""

# What the document declares is named by names of the dictionary, joined by "__": `packet__field`, `command__argument`,
# `rows__column`; and with a last part of ours for what stands in a packet beside a field: `field__octets`,
# `rows__count`, `rows__row`. A name of the dictionary has no "__" in it and no "_" at either end
# (flight/contract/names.py). So a joined name can be taken apart in one way only, and no two are equal. In documents of
# others the names are brought to this form first.
#
# What stands for all packets, such as PUS_TIME, is in capitals and has one part. Only FAILURE_DETAIL has octets beside
# it, and so could be somebody's packet with such a field: this name is taken.

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from flight.contract.dictionary import Dictionary
from flight.contract.fields import Field

# Containers that the document has besides those of packets, with the bits between the end of the space packet's header
# and the fields of what is derived from them.
ROOT_CONTAINER = "CCSDSPacket"
BITS_BEFORE = {
    ROOT_CONTAINER: 0, "PusReport": 104, "VerificationReport": 104, "HousekeepingReport": 120, "EventReport": 120,
    "RequestReport": 136,
}  # fmt: skip
_CONTAINERS = (*BITS_BEFORE, "PusTelemetry", "IdlePacket", "CfdpPdu")
# The telecommand from which all others are derived, and its arguments with their bits.
BASE_COMMAND = "PusTelecommand"
BASE_ARGUMENTS = {"apid": 11, "ack": 4, "service": 8, "subtype": 8, "source": 16}

# The one parameter beside those of packets that is a text, and so has octets.
FAILURE_DETAIL = "FAILURE_DETAIL"

_UNNAMABLE = re.compile(r"[./:\[\]\s\x00-\x20\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_JOINING = re.compile("_{2,}")


def parameter_name(container: str, field: str) -> str:
    """Return the name of the XTCE parameter for one field of a structure, event or report."""
    return f"{container}__{field}"


def named_for_xtce(dictionary: Dictionary) -> Dictionary:
    """Return the dictionary with names that XTCE allows, and that are unique within their set.

    Packets share one set of names, commands another, the fields of each a third. Names of our own do not change.
    """
    packets, commands = _Names((*_CONTAINERS, FAILURE_DETAIL)), _Names((BASE_COMMAND,))

    def fields(given: tuple[Field, ...], taken: Iterable[str] = ()) -> tuple[Field, ...]:
        names = _Names(taken)
        return tuple(replace(field, name=names.of(field.name), fields=fields(field.fields)) for field in given)

    return replace(
        dictionary,
        mission=_UNNAMABLE.sub("_", dictionary.mission) or "_",
        structures=tuple(replace(s, name=packets.of(s.name), fields=fields(s.fields)) for s in dictionary.structures),
        events=tuple(replace(e, name=packets.of(e.name), fields=fields(e.fields)) for e in dictionary.events),
        reports=tuple(replace(r, name=packets.of(r.name), fields=fields(r.fields)) for r in dictionary.reports),
        commands=tuple(
            replace(c, name=commands.of(c.name), arguments=fields(c.arguments, BASE_ARGUMENTS))
            for c in dictionary.commands
        ),
    )


class _Names:
    """A set of names that can be joined by "__", each given out once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def of(self, name: str) -> str:
        """Return a name that XTCE allows and that was not given out before, as near to `name` as can be."""
        plain = free = _JOINING.sub("_", _UNNAMABLE.sub("_", name)).strip("_") or "unnamed"
        number = 1
        while free in self._taken:
            number += 1
            free = f"{plain}_{number}"
        self._taken.add(free)
        return free
