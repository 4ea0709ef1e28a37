"""Names of tables and columns as they may stand in a folder or a file: safe, and no two the same.

A table's name comes from a file of definitions that anybody wrote, so it may hold a slash, a leading dot, or be longer
than a file's name can be. Letters and digits of any script stay, and "._-"; the rest becomes "_". A name never begins
with a dot, which is how the writers' own working names begin, nor with a dash, which a command would take for an
option. Of two that are the same after that, or differ in capitals alone (file systems exist that do not tell those
apart), the later one gets a number.
"""

from __future__ import annotations

from unicodedata import normalize

NAME_OCTETS_MAX = 180  # with a number and a suffix below the 255 that file systems take

_KEPT = "._-"


class DistinctNames:
    """Gives names out, each only once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def give(self, wanted: str) -> str:
        """`wanted`, or with "_2", "_3" ... behind it if that was given before."""
        name, number = wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name.casefold())
        return name


def table_file_name(name: str) -> str:
    """The name of a file, without suffix, 1..NAME_OCTETS_MAX octets of UTF-8."""
    kept = "".join(one if one.isalnum() or one in _KEPT else "_" for one in normalize("NFC", name))
    short = kept.encode()[:NAME_OCTETS_MAX].decode(errors="ignore")
    return "_" + short[1:] if short.startswith((".", "-")) else short or "_"
