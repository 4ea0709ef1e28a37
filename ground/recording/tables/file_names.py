"""Makes names of tables and columns safe for files, and distinct.

Letters and digits of any script stay, and `._-`; everything else becomes `_`. If two names are the same after that, or
differ in capitals alone, the later one gets a number.
"""

# A table's name comes from a file of definitions that anybody may have written. It may hold a slash and lead out of the
# folder, or be longer than a file's name can be. A leading dot is replaced because the writers' own working folders
# begin with one; a leading dash, because a command would take the file's name for an option. Capitals do not count
# because some file systems do not tell them apart: there, the second table would overwrite the first.

from __future__ import annotations

from unicodedata import normalize

NAME_OCTETS_MAX = 180  # leaves room for a number and suffixes below the 255 octets that file systems take

_KEPT = "._-"


class DistinctNames:
    """Gives names out, each of them only once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def give(self, wanted: str) -> str:
        """Return `wanted`, with "_2", "_3" ... behind it if it was given before."""
        name, number = wanted, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name.casefold())
        return name


def table_file_name(name: str) -> str:
    """Return the name of a table's file without its suffix: 1..NAME_OCTETS_MAX octets of UTF-8."""
    kept = "".join(letter if letter.isalnum() or letter in _KEPT else "_" for letter in normalize("NFC", name))
    # Cut by octets; a character that the cut splits is dropped.
    short = kept.encode()[:NAME_OCTETS_MAX].decode(errors="ignore")
    return "_" + short[1:] if short.startswith((".", "-")) else short or "_"
