"""Every counter of the ground by name, for its archive and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ground.link.ground_link import GroundLink


@dataclass(slots=True)
class StationCounters:
    """Of the station itself; those of its parts are with them. `boots` of the node since the station began to hear it,
    `boots_repeated` of them with a count that is not higher than before. `octets_by_vc` of the station's own link.
    `faults` of the ground's own code, in what it made of something that came.
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
    """Of a UDP port that frames come to: `datagrams` taken, those of them that are `empty`, and those that the kernel
    `dropped` because others were not taken in time. What reached this machine was taken or dropped.
    """

    datagrams: int = 0
    empty: int = 0
    dropped: int = 0
    errors: int = 0


def link_parts(link: GroundLink, prefix: str = "") -> dict[str, object]:
    """The counters of one link: `link`, and if its frames are coded `coding` and `sync`."""
    parts: dict[str, object] = {f"{prefix}link": link.counters}
    if link.decoder is not None:
        parts |= {f"{prefix}coding": link.decoder.counters, f"{prefix}sync": link.decoder.synchronizer.counters}
    return parts


def by_name(parts: Mapping[str, object]) -> dict[str, int]:
    """Numbers as PART.COUNTER, or PART.COUNTER.KEY, of counter dataclasses by part."""
    out: dict[str, int] = {}
    for part, counters in parts.items():
        for name, value in asdict(counters).items():  # type: ignore[call-overload]
            if isinstance(value, dict):
                out |= {f"{part}.{name}.{key}": number for key, number in value.items()}
            else:
                out[f"{part}.{name}"] = value
    return out
