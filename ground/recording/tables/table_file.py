"""What TableFolder needs of a file of one table, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ground.recording.table import Column


class TableFile(Protocol):
    """One table on its way into a file: `append` any number of times, `finish` once, `close` in any case.

    OSError passes through as it is, so that the caller can name the folder in its message.
    """

    def append(self, columns: Mapping[str, Column]) -> None:
        """Write more rows. The columns must have the same names, kinds and types as in the first call."""
        ...

    def finish(self) -> None:
        """Write what remains. The file is whole after this, and not before."""
        ...

    def close(self) -> None:
        """Let go of what is open, whole or not. Calling it more than once does no harm."""
        ...
