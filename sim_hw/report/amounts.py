"""How an amount is written for a person, in the closing table and in the report: octets with their unit."""

from __future__ import annotations

_KILO, _MEGA = 1e3, 1e6


def octet_unit(octets: float) -> tuple[float, str]:
    """Return the size and the name of the unit in which a number of octets can be read: small ones would be 0.0 MB."""
    return (_MEGA, "MB") if octets >= _MEGA or not octets else (_KILO, "kB")


def sized(octets: int) -> str:
    """Return a number of octets with its unit: 29.2 MB, 4.3 kB."""
    size, unit = octet_unit(octets)
    return f"{octets / size:,.1f} {unit}"
