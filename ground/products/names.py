"""Names of files that the downlink chooses, made into names that a folder takes. Sans-IO."""

# A name from space must not be able to mean anything but a file in the products folder: no folder, no hidden file, no
# option of a shell command. Nor may it meet a name that the program itself gives in that folder. Two rules see to that:
# the working file begins with a dot, which `safe_name` never gives; and `.part` and `.missing`, the endings of what is
# not a whole file, are moved out of the way by `whole_name`.

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

PART, MISSING = ".part", ".missing"  # endings: of an incomplete file, and of the list of what it lacks
_NAME_MAX = 100  # leaves room for our endings in the 255 octets of a file system's names
COPIES_MAX = 100
_DIGEST_DIGITS = 32


def safe_name(sent: str) -> str:
    """Return a file name made of what the downlink says: no folders, not hidden, not an option, bounded in length."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", sent.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".-")
    return name[:_NAME_MAX] or "unnamed"


def whole_name(sent: str) -> str:
    """Return the safe name for a file that came whole: it does not end as that of an incomplete one."""
    name = safe_name(sent)
    # Compared in lower case: some file systems do not tell `A.PART` from `a.part`.
    return f"{name}_" if name.lower().endswith((PART, MISSING)) else name


def candidates(name: str, digest: str) -> Iterator[str]:
    """Yield `name`, then `name` with numbers, then a name made of the `digest` of the content, with numbers as well.

    One of them is free or has just that content: a digest in use by another content takes somebody who wants that.
    """
    path = PurePath(name)
    named_by_content = f"{path.stem}-{digest[:_DIGEST_DIGITS]}"
    for stem in (path.stem, named_by_content):
        yield f"{stem}{path.suffix}"
        yield from (f"{stem}-{number}{path.suffix}" for number in range(2, COPIES_MAX + 1))
