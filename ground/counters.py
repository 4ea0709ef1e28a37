"""Every counter of the ground by name, for its archive and its status."""

# Each part of the ground counts in a dataclass of its own, and the names are made here: PART.COUNTER. A counter that is
# added to a part shows in the archive and in `orbitnode tm ground` without another line.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from ground.link.ground_link import GroundLink


@dataclass(slots=True)
class StationCounters:
    """Counters of the station itself; its parts have their own.

    boots: of the node since the station began to hear it. boots_repeated: those whose count was not higher than before.
    octets_by_vc: frames of the station's own link. faults: of the ground's own code, in handling what came.
    """

    contacts: int = 0
    cltus: int = 0
    cltu_octets: int = 0
    alarms: int = 0
    boots: int = 0
    boots_repeated: int = 0
    storage_faults: int = 0
    packets_duplicate: int = 0
    faults: int = 0
    octets_by_vc: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class PortCounters:
    """Counters of a UDP port that receives frames. A datagram that reached this machine was either taken or dropped.

    datagrams: taken. empty: those of them without an octet. dropped: by the kernel, because others were not taken in
    time. errors: of the machine, when a datagram was to be taken.
    """

    datagrams: int = 0
    empty: int = 0
    dropped: int = 0
    errors: int = 0


def link_parts(links: Mapping[str, GroundLink]) -> dict[str, object]:
    """Return the counters of links by what stands before their names: `link`, and for coded frames `coding`, `sync`."""
    parts: dict[str, object] = {}
    for prefix, link in links.items():
        parts[f"{prefix}link"] = link.counters
        if link.decoder is not None:
            parts |= {f"{prefix}coding": link.decoder.counters, f"{prefix}sync": link.decoder.synchronizer.counters}
    return parts


def by_name(parts: Mapping[str, object]) -> dict[str, int]:
    """Return counter dataclasses by part as numbers by name: PART.COUNTER, or PART.COUNTER.KEY if it is a mapping."""
    # A counter that is a mapping, such as frames by reason of their rejection, has a key per entry.
    out: dict[str, int] = {}
    for part, counters in parts.items():
        for counter in fields(counters):  # type: ignore[arg-type]
            name, value = counter.name, getattr(counters, counter.name)
            if isinstance(value, dict):
                out |= {f"{part}.{name}.{key}": number for key, number in value.items()}
            else:
                out[f"{part}.{name}"] = value
    return out
