"""Names of files that the downlink chooses, made into names that a folder takes. Sans-IO.

What the program itself names in that folder no name from space can meet: its working file begins with a dot, which
`safe_name` never gives, and the endings of what is not a whole file, `.part` and `.missing`, are moved out of the way
by `whole_name`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

PART, MISSING = ".part", ".missing"  # end the name of a file that is incomplete, and of the list of what it lacks
_NAME_MAX = 100
COPIES_MAX = 100
_DIGEST_DIGITS = 32


def safe_name(sent: str) -> str:
    """A file name out of what the downlink says: no folders, nothing hidden, nothing that a shell's `*` would make an
    option of, bounded.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", sent.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".-")
    return name[:_NAME_MAX] or "unnamed"


def whole_name(sent: str) -> str:
    """The same for a file that came whole: it does not end as one that did not."""
    name = safe_name(sent)
    return f"{name}_" if name.lower().endswith((PART, MISSING)) else name


def candidates(name: str, digest: str) -> Iterator[str]:
    """`name`, then with a number, then with the `digest` of the file's content: one of them is free or has just that
    content, unless somebody has gone to great lengths.
    """
    path = PurePath(name)
    named_by_content = f"{path.stem}-{digest[:_DIGEST_DIGITS]}"
    for stem in (path.stem, named_by_content):
        yield f"{stem}{path.suffix}"
        yield from (f"{stem}-{number}{path.suffix}" for number in range(2, COPIES_MAX + 1))
