"""Check who owns a link that stands for a device.

In a folder that everybody may write to, such as /tmp, a link can belong to another user, who may point it anywhere.
"""

from __future__ import annotations

import os
import stat

from hal.base import HalError


def check_link_owner(path: str) -> None:
    """Raise HalError if `path` is a link that belongs neither to this user nor to root."""
    # lstat looks at the link itself, not at what is behind it. A missing path passes: opening it reports that better.
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return
    if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise HalError(
            f"board {path}: the link belongs to another user (uid {found.st_uid}), who chooses what is behind it; "
            "name a device or a link of your own"
        )
