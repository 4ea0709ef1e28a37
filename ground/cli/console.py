"""The console that results are shown on for people: what is printed is text, and never an order to rich or a terminal.

There is no markup, since `[bold]` in the text of an event is that text: styles are given with `rich.text.Text` or by
the column of a table. And whatever a text holds that is not to be seen is shown by its number (flight.text.plain_text),
also if the text came here without having been made plain before.

Imported only when something is shown: rich takes longer to load than a command to be answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from flight.text.plain_text import plain


class PlainConsole(Console):
    """See the head of the file. `options` are those of rich."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments, of which those that are text are harmless."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:  # rich ends its lines by segments of their own, or within them
                yield Segment("\n".join(map(plain, segment.text.split("\n"))), segment.style)
