"""What the ground knows of a transfer that goes up, beside what its CFDP entity does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flight.core.errors import OrbitnodeError
from ground.products.names import safe_name

NAME_MAX = 200
_NAME = re.compile(r"(?:/?[a-z]+/)?[A-Za-z0-9_+][A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file that goes up, or a request for one that is to come down (`asks`).

    key: of its copy and record in the folder of transfers. name: on board. local: the file that was copied, "" if it
    was octets. digest: SHA-256 of the content. began_ns: TAI.
    """

    key: str
    name: str
    local: str
    octets: int
    digest: str
    mode: int
    began_ns: int
    asks: bool = False

    @property
    def priority(self) -> int:
        """What goes first: requests, then the shorter file. A word need not wait until gigabytes are up."""
        return 0 if self.asks else 1 + self.octets.bit_length()

    @property
    def shown_name(self) -> str:
        """What operators see: a request has no octets, and is not the file that it asks for."""
        return f"request for {self.name}" if self.asks else self.name

    def as_facts(self) -> dict[str, Any]:
        """Return what is stored of it beside the entity's record."""
        return {
            "name": self.name, "local": self.local, "octets": self.octets, "sha256": self.digest, "class": self.mode,
            "began_ns": self.began_ns, "asks": self.asks,
        }  # fmt: skip

    @classmethod
    def of_facts(cls, key: str, facts: Mapping[str, Any]) -> Outgoing:
        """Return what was stored. Raises LookupError, TypeError or ValueError for what was not stored by us."""
        return cls(
            key, str(facts["name"]), str(facts["local"]), int(facts["octets"]), str(facts["sha256"]),
            int(facts["class"]), int(facts["began_ns"]), bool(facts["asks"]),
        )  # fmt: skip


def check_name(name: str) -> None:
    """Raise OrbitnodeError if no file on board can have this name: it would go up for nothing."""
    if len(name) > NAME_MAX or _NAME.fullmatch(name) is None:
        raise OrbitnodeError(
            f"{name!r} cannot be the name of a file on board, {safe_name(name)!r} can; a directory may stand before "
            f"it, as in uploads/{safe_name(name)}"
        )
