"""Docstrings of this project as reStructuredText, which is what Sphinx takes them for.

They are plain text with code in single backquotes, lists that begin with a dash or a number, and indented lines that
keep their shape: tables, states, examples. Whatever else reStructuredText would read as markup stands for itself, so
that no docstring can make a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

_CODE = re.compile(r"``(.+?)``|`([^`]+)`", re.DOTALL)
_CELL = re.compile(r"(\S+(?: \S+)*)( {2,}|$)")  # of a table: what stands between two blanks or more
_ITEM = re.compile(r"(-|\d+\.) +(?=\S)")
_MARKUP = re.compile(r"[\\*`|_]")
_INDENT = "    "


def restructured(lines: Sequence[str]) -> list[str]:
    """Return the lines of a docstring, dedented, as lines of reStructuredText."""
    written: list[str] = []
    for paragraph in _paragraphs(lines):
        written += [*_paragraph(paragraph), ""]
    return written


def _paragraphs(lines: Sequence[str]) -> Iterator[list[str]]:
    """Return what stands between empty lines; indented lines stay together over empty ones."""
    for is_text, group in groupby(lines, lambda line: bool(line.strip())):
        if is_text:
            yield list(group)


def _paragraph(lines: list[str]) -> Iterator[str]:
    """One paragraph: items of a list, lines that keep their shape, and text, each set apart from the other."""
    kinds: list[tuple[str, list[str]]] = []
    for line in lines:
        kind = _kind(line, kinds[-1][0] if kinds else "")
        if kinds and kind == kinds[-1][0] and not (kind == "item" and _ITEM.match(line)):
            kinds[-1][1].append(line)
        else:
            kinds.append((kind, [line]))
    for number, (kind, part) in enumerate(kinds):
        if number:
            yield ""
        if kind == "shape":
            margin = min(len(line) - len(line.lstrip()) for line in part)
            yield from ("::", "", *(f"{_INDENT}{_shape(line[margin:])}" for line in part))
        elif kind == "item":
            yield from _item(part)
        else:
            yield from _text("\n".join(part)).split("\n")


def _kind(line: str, before: str) -> str:
    if _ITEM.match(line) and before != "text":  # in a text it is a number at the beginning of a line
        return "item"
    if line.startswith(" "):
        return "item" if before == "item" else "shape"
    return "text"


def _shape(line: str) -> str:
    """Return a line that keeps its shape: all is literal, so its code has no backquotes; columns stay in line."""

    def bare(cell: re.Match[str]) -> str:
        text = _CODE.sub(lambda code: code[1] or code[2], cell[1])
        return f"{text}{' ' * (len(cell[1]) - len(text))}{cell[2]}" if cell[2] else text

    return _CELL.sub(bare, line)


def _item(lines: list[str]) -> Iterator[str]:
    found = _ITEM.match(lines[0])
    assert found is not None
    marker = f"{found[1]} "
    first, *others = _text("\n".join([lines[0][found.end() :], *(line.strip() for line in lines[1:])])).split("\n")
    yield marker + first
    yield from (" " * len(marker) + line for line in others)


def _text(text: str) -> str:
    """Text with its code as literals and all other markup taken literally."""
    written, end = "", 0
    for found in _CODE.finditer(text):
        written += _escaped(text[end : found.start()])
        code = " ".join((found[1] or found[2]).split())
        # A literal must not touch a letter: an escaped blank parts them and is not shown.
        written += ("\\ " if written[-1:].isalnum() else "") + f"``{code}``"
        end = found.end()
        written += "\\ " if text[end : end + 1].isalnum() or text[end : end + 1] == "_" else ""
    return written + _escaped(text[end:])


def _escaped(text: str) -> str:
    # At the beginning of a line, also what would make a field, a comment, a quote, a title or a list of it.
    return re.sub(r"(?m)^([^\w\s\\]|\d+\.|\w\.)", r"\\\1", _MARKUP.sub(r"\\\g<0>", text))
