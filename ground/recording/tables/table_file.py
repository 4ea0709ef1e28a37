"""What a file of one table is to those who fill it, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ground.recording.table import Column


class TableFile(Protocol):
    """One table on its way into a file. OSError comes through as it is.

    append: more rows; the columns have the same names, kinds and types each time, as the first call had them.
    finish: write what is left; the file is whole then.
    close: let go of what is open, whole or not. More than once does no harm.
    """

    def append(self, columns: Mapping[str, Column]) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...
