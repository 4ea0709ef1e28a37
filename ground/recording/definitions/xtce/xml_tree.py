"""Reads an XML file as a tree of elements that know their line, for messages that name the place of a mistake."""

# XML from anybody is hostile until read. A document type declaration is refused, and with it every entity: XTCE needs
# none, and entities are what lets a small file grow without end or reach for other files. Depth and number of elements
# are bounded here, the size of the file by `ground.recording.definitions.definition_files`.
#
# Namespaces are cut off: XTCE files have that of version 1.1 or 1.2, with a prefix or as default, or none at all, and
# no element's meaning depends on it.

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from flight.core.errors import OrbitnodeError

_DEPTH_MAX = 200  # elements inside one another; `Element.path` recurses as deep
_ELEMENTS_MAX = 1 << 20
_SHOWN_MAX = 60  # characters of a text in a message


@dataclass(slots=True)
class Element:
    """One element.

    tag: without its namespace. line: at which it begins. source: name of the file, for messages.
    around: the element that this one is inside of. parts: pieces of its text, as the parser gave them.
    """

    tag: str
    attributes: Mapping[str, str]
    line: int
    source: str
    around: Element | None
    children: list[Element] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text before its first child, without space around it."""
        return "".join(self.parts).strip()

    @property
    def path(self) -> str:
        """The elements down to this one, with their names in brackets."""
        name = " ".join(self.attributes.get("name", "").split())[:_SHOWN_MAX]
        own = f"{self.tag}[{name}]" if name else self.tag
        return own if self.around is None else f"{self.around.path}/{own}"

    @property
    def where(self) -> str:
        """File, line and path of the element, as messages begin."""
        return f"{self.source}:{self.line}: {self.path}"

    def fault(self, what: str) -> OrbitnodeError:
        """Return the error to raise for this element: its place, and what is wrong with it."""
        return OrbitnodeError(f"{self.where}: {what}")

    def all(self, *tags: str) -> Iterator[Element]:
        """Return its children of these tags, in order."""
        return (child for child in self.children if child.tag in tags)

    def find(self, *path: str) -> Element | None:
        """Return the first child of the first tag, of that the first child of the second tag, and so on; or None."""
        found: Element | None = self
        for tag in path:
            found = None if found is None else next(found.all(tag), None)
        return found

    def get(self, name: str, default: str = "") -> str:
        """Return an attribute without space around it, or `default`."""
        return self.attributes.get(name, default).strip()

    def need(self, name: str) -> str:
        """Return an attribute. Raises OrbitnodeError if it is missing or empty."""
        value = self.get(name)
        if not value:
            raise self.fault(f"has no attribute {name}")
        return value

    def need_name(self) -> str:
        """Return its name. Raises OrbitnodeError if it has none, or one that cannot be printed on a line."""
        name = self.need("name")
        if not name.isprintable():
            raise self.fault(f"name {shown(name)} has a character that cannot be printed")
        return name

    def whole(self, name: str, default: int | None = None) -> int:
        """Return an attribute as a whole number, or `default`. Raises OrbitnodeError if it is anything else."""
        text = self.get(name)
        if not text and default is not None:
            return default
        return whole_number(text, self, f"attribute {name}")

    def real(self, name: str, default: float | None = None) -> float:
        """Return an attribute as a finite number, or `default`. Raises OrbitnodeError if it is anything else."""
        text = self.get(name)
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not -1e300 < value < 1e300:  # false for NaN as well
            raise self.fault(f"attribute {name} is {shown(text)}, should be a number")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return an attribute as a boolean, or `default`. Raises OrbitnodeError if it is anything else."""
        text = self.get(name).lower()
        if text not in ("", "true", "false", "1", "0"):
            raise self.fault(f"attribute {name} is {shown(text)}, should be true or false")
        return default if not text else text in ("true", "1")


def shown(text: str) -> str:
    """Quote a text of the file, cut so that a message stays one line."""
    return repr(text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "...")


def whole_number(text: str, at: Element, what: str) -> int:
    """Read a whole number of 64 bits at most, in base 10 or after 0x, 0o or 0b. Raises OrbitnodeError."""
    cut = text.strip()
    try:
        value = int(cut, 0 if cut.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10) if len(cut) < 80 else None
    except ValueError:
        value = None
    if value is None or not -(1 << 63) <= value < 1 << 64:
        raise at.fault(f"{what} is {shown(text)}, should be a whole number")
    return value


class _Tree:
    """Builds the tree from what the parser meets."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True  # one call for a text, not one for each of its lines
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.EntityDeclHandler = self._doctype
        self.root: Element | None = None
        self._stack: list[Element] = []
        self._elements = 0

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        own = tag.rpartition(" ")[2]  # the parser puts namespace and space in front
        line = self.parser.CurrentLineNumber
        self._elements += 1
        if len(self._stack) >= _DEPTH_MAX or self._elements > _ELEMENTS_MAX:
            raise OrbitnodeError(
                f"{self.source}:{line}: more than {_DEPTH_MAX} elements inside one another, or {_ELEMENTS_MAX} in all"
            )
        element = Element(own, attributes, line, self.source, self._stack[-1] if self._stack else None)
        if self._stack:
            self._stack[-1].children.append(element)
        else:
            self.root = element
        self._stack.append(element)

    def _end(self, _tag: str) -> None:
        self._stack.pop()

    def _text(self, text: str) -> None:
        if self._stack and not self._stack[-1].children:
            self._stack[-1].parts.append(text)

    def _doctype(self, *_: object) -> None:
        raise OrbitnodeError(
            f"{self.source}:{self.parser.CurrentLineNumber}: has a document type declaration or an entity, "
            "which a file of definitions does not need; take it out"
        )


def xml_tree(octets: bytes, source: str) -> Element:
    """Return the root element.

    Raises OrbitnodeError if the octets are not XML, have too many elements, or declare a document type or an entity.
    """
    tree = _Tree(source)
    try:
        tree.parser.Parse(octets, True)
    except expat.ExpatError as error:
        raise OrbitnodeError(f"{source}:{error.lineno}: not XML: {expat.errors.messages[error.code]}") from None
    except (LookupError, ValueError) as error:  # it names an encoding that is not known
        raise OrbitnodeError(f"{source}: not XML: {error}") from None
    assert tree.root is not None, source  # the parser takes no document without one
    return tree.root
