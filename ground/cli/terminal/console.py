"""The console on which people see results: what it prints is text, never an instruction to rich or to the terminal.

Rich's markup is off, since `[bold]` in the text of an event is that text: styles are given with `rich.text.Text` or by
the column of a table. A character that cannot be seen is shown by its number (flight.text.plain_text), even if the text
was not made plain before it came here.

Import this module only when something is shown: rich takes longer to load than a command takes to be answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from flight.text.plain_text import plain


class PlainConsole(Console):
    """A rich console that prints text only; see the head of the file. `options` are those of rich."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield rich's segments with every character of their text made visible."""
        # Here and not where texts are made: every renderable ends as segments, so nothing can go round this place.
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:  # line ends are not printable, but rich puts them into segments of their own, or at their ends
                yield Segment("\n".join(map(plain, segment.text.split("\n"))), segment.style)
