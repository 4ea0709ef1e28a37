"""What the documentation site changes in pages that Sphinx makes."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from docs.tools.site import linked_pictures, readable


class Colour(enum.Enum):
    RED = 1


@dataclass
class Example:
    name: str
    limit: int = 3
    colour: Colour = Colour.RED
    kind: type = str
    counts: dict[str, int] = field(default_factory=dict)
    apply: Callable[[], None] = lambda: None
    _waits: int = 0


def test_arguments_of_a_dataclass_are_as_one_writes_them() -> None:
    found = readable(inspect.signature(Example)).parameters
    defaults = {name: repr(argument.default) for name, argument in found.items() if name != "name"}
    assert list(found) == ["name", "limit", "colour", "kind", "counts", "apply"]
    assert defaults == {"limit": "3", "colour": repr(Colour.RED), "kind": "...", "counts": "...", "apply": "..."}


def test_a_picture_opens_its_file_unless_it_is_a_link_already() -> None:
    picture = '<img alt="a house" src="../_images/house.svg" />'
    assert (
        linked_pictures(f"<p>{picture}</p>") == f'<p><a class="picture" href="../_images/house.svg">{picture}</a></p>'
    )
    badge = f'<a href="x">{picture}</a>'
    assert linked_pictures(badge) == badge
