"""Housekeeping as columns: from a structure of the dictionary to the layout of its packets' fields.

For many packets of one structure at once, where `ground.telemetry.decoder` gives one packet its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.dictionary import Structure
from flight.contract.fields import Field
from flight.kernels import FieldSpec, PacketLayout
from flight.link.pus import TM_DATA_OFFSET
from flight.link.time_code import CUC_OCTETS

PACKET_TIME = "packet.time"

_SID_OCTETS = 2
_TIME_BITS = 8 * CUC_OCTETS
_KINDS = {"u": "unsigned", "i": "signed", "f": "float"}


def fixed_fields(fields: Iterable[Field], octet: int) -> list[FieldSpec]:
    """The fields from octet `octet` of a packet on, up to the first of varying length.

    An enumerated field is its number. A time is its CUC, whole units of 2^-16 s of TAI since 1958-01-01.
    """
    specs: list[FieldSpec] = []
    at = 8 * octet
    for one in fields:
        if one.is_number:
            specs.append(FieldSpec(one.name, at, int(one.type[1:]), _KINDS[one.type[0]]))  # type: ignore[arg-type]
        elif one.type == "time":
            specs.append(FieldSpec(one.name, at, _TIME_BITS))
        else:
            break
        at += specs[-1].bits
    return specs


def structure_layout(structure: Structure) -> PacketLayout:
    """For `extract_fields`, over packets TM[3,25] of `structure`: their time, called PACKET_TIME, and their fields.

    Whose packets they are and whether their error control fits is for the caller to see to, before.
    """
    time = FieldSpec(PACKET_TIME, 8 * (TM_DATA_OFFSET - CUC_OCTETS), _TIME_BITS)
    return PacketLayout([time, *fixed_fields(structure.fields, TM_DATA_OFFSET + _SID_OCTETS)])
