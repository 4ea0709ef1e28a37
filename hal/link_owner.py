"""Whose a device's name is. A link in a folder that everybody may write to can be another user's, and lead anywhere."""

from __future__ import annotations

import os
import stat

from hal.base import HalError


def check_link_owner(path: str) -> None:
    """Raise HalError if `path` is a link that is neither this user's nor root's. One that is missing is let pass: that
    is told as it is opened.
    """
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise HalError(
            f"board {path}: the link belongs to another user (uid {found.st_uid}), who chooses what is behind it; "
            "name a device or a link of your own"
        )
