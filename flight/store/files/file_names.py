"""What files and directories may be called, and how a path is read.

A name has 1 to 200 characters of A-Z a-z 0-9 . _ - + and does not begin with a dot. A path is a directory and a name;
a name alone stands for a file of `uploads`.
"""

# Names from outside never become names on the medium: a content is stored under its number (ADR 0043). So no path can
# leave the store, whatever it contains, and these rules are for people and for other systems: a name is the same on
# every file system, in every shell and in every report. Capitals are told apart.

from __future__ import annotations

import re

from flight.store.files.refusal import FileRefused, Reason

PRODUCTS, UPLOADS, MODELS, LOGS = "products", "uploads", "models", "logs"
DIRECTORIES = (PRODUCTS, UPLOADS, MODELS, LOGS)
"""Every directory. The place of each in this list is part of stored rows and of reports, so new ones go to the end."""
NAME_MAX = 200
_OUTSIDE = re.compile(r"[^A-Za-z0-9._+-]")


def checked_name(name: str) -> str:
    """Return `name` if a file may have it. Raises FileRefused with the reason."""
    if not name:
        raise FileRefused(Reason.NAME, f"the name is empty, should be 1 to {NAME_MAX} characters")
    if len(name) > NAME_MAX:
        raise FileRefused(Reason.NAME, f"the name has {len(name)} characters, should have at most {NAME_MAX}")
    if (outside := _OUTSIDE.search(name)) is not None:
        should = "should be of A-Z a-z 0-9 . _ - +"
        raise FileRefused(Reason.NAME, f"the name {name!a} has {outside[0]!a} at {outside.start()}, {should}")
    if name.startswith("."):
        raise FileRefused(Reason.NAME, f"the name {name!a} begins with a dot, should begin with something else")
    return name


def checked_directory(directory: str) -> str:
    """Return `directory` if there is one of that name. Raises FileRefused."""
    if directory not in DIRECTORIES:
        shown = directory if len(directory) <= NAME_MAX else f"{directory[:NAME_MAX]}..."
        raise FileRefused(
            Reason.DIRECTORY, f"there is no directory {shown!a}, should be one of {', '.join(DIRECTORIES)}"
        )
    return directory


def split_path(path: str) -> tuple[str, str]:
    """Return directory and name of `products/x` or `/products/x`; `x` alone is in uploads. Raises FileRefused."""
    directory, slash, name = path.removeprefix("/").rpartition("/")
    if not slash:
        if path.startswith("/"):
            raise FileRefused(Reason.NAME, f"the path {path[:NAME_MAX]!a} has no name behind the directory")
        return UPLOADS, checked_name(name)
    return checked_directory(directory), checked_name(name)
