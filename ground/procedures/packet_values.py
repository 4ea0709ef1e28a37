"""The values of a packet as a procedure gets them: a mistyped field is answered with the fields that there are."""

from __future__ import annotations

from typing import NoReturn

from flight.contract.fields import Plain

_LISTED_MAX = 20  # fields in one answer: more is not read


class UnknownField(KeyError):
    """Raised by `values[name]` if the packet has no such field. A KeyError, so that a procedure may catch it as one."""

    def __str__(self) -> str:
        # KeyError would show the repr of the text.
        return str(self.args[0])


class PacketValues(dict[str, Plain]):
    """The values of the packet called `packet`, by field."""

    def __init__(self, packet: str, values: dict[str, Plain]) -> None:
        super().__init__(values)
        self._packet = packet

    def __missing__(self, name: object) -> NoReturn:
        known = sorted(self)
        more = f" and {len(known) - _LISTED_MAX} more" if len(known) > _LISTED_MAX else ""
        fields = f"known: {', '.join(known[:_LISTED_MAX])}{more}" if known else "it has none"
        raise UnknownField(f"{self._packet} has no field {name!r}, {fields}")
