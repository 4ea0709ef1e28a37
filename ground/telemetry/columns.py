"""Housekeeping as columns: from a structure of the dictionary to the layout of its packets' fields.

It serves many packets of one structure at once, while `ground.telemetry.decoder` decodes one packet.
"""

from __future__ import annotations

from collections.abc import Iterable

from flight.contract.dictionary import Structure
from flight.contract.fields import Field
from flight.kernels import FieldSpec, PacketLayout
from flight.link.pus import TM_DATA_OFFSET
from flight.link.time.time_code import CUC_OCTETS

PACKET_TIME = "packet.time"

_SID_OCTETS = 2
_TIME_BITS = 8 * CUC_OCTETS
_KINDS = {"u": "unsigned", "i": "signed", "f": "float"}


def fixed_fields(fields: Iterable[Field], octet: int) -> list[FieldSpec]:
    """Return the fields from octet `octet` of a packet on, up to the first of varying length.

    An enumerated field gives its number. A time gives its CUC, whole units of 2^-16 s of TAI since 1958-01-01.
    """
    specs: list[FieldSpec] = []
    at = 8 * octet
    for field in fields:
        if field.is_number:
            specs.append(FieldSpec(field.name, at, int(field.type[1:]), _KINDS[field.type[0]]))  # type: ignore[arg-type]
        elif field.type == "time":
            specs.append(FieldSpec(field.name, at, _TIME_BITS))
        else:
            break  # behind a text or rows, every packet has its fields at other places
        at += specs[-1].bits
    return specs


def structure_layout(structure: Structure) -> PacketLayout:
    """Return the layout for `extract_fields` over packets TM[3,25] of `structure`: PACKET_TIME, then their fields.

    The caller must have checked that the packets are of this structure, and their error control.
    """
    time = FieldSpec(PACKET_TIME, 8 * (TM_DATA_OFFSET - CUC_OCTETS), _TIME_BITS)
    return PacketLayout([time, *fixed_fields(structure.fields, TM_DATA_OFFSET + _SID_OCTETS)])
