"""What docs/conf.py changes in pages that Sphinx makes: arguments of dataclasses, and pictures that can be opened."""

# Sphinx writes the arguments of a dataclass from its generated constructor: a default that is made by a factory becomes
# `<factory>`, a function `<function Durable.<lambda>>`. Neither is Python, so Sphinx cannot read the arguments either
# and shows types as it marks them for itself (`~collections.abc.Mapping`).

from __future__ import annotations

import ast
import enum
import inspect
import re

_PICTURE = re.compile(r'(<a [^>]*>\s*)?<img [^>]*?src="([^"]+)"[^>]*>')


class _Code:
    """Stands for a default that is made by code."""

    def __repr__(self) -> str:
        return "..."


def readable(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature of a dataclass as one writes it: no private arguments, `...` for a default made by code."""
    arguments = [
        argument if _is_python(argument.default) else argument.replace(default=_Code())
        for argument in signature.parameters.values()
        if not argument.name.startswith("_")
    ]
    return signature.replace(parameters=arguments)


def _is_python(default: object) -> bool:
    """Whether a default can be read as Python. Of a member of an enumeration Sphinx writes the name."""
    if default is inspect.Parameter.empty or isinstance(default, enum.Enum):
        return True
    try:
        ast.parse(repr(default), mode="eval")
    except SyntaxError:
        return False
    return True


def linked_pictures(body: str) -> str:
    """Return the HTML of a page in which each picture is a link to its file, unless it is a link already."""

    def linked(found: re.Match[str]) -> str:
        return found[0] if found[1] else f'<a class="picture" href="{found[2]}">{found[0]}</a>'

    return _PICTURE.sub(linked, body)
