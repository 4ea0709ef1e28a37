"""What the system refused a program, in one line: which file, why, and what to do about it. Edge code."""

# A disk that is full, a folder that may not be written and a limit that was reached are not faults of the program, so a
# traceback helps nobody. If a command knows what it was doing, it says so itself. This file has the words for refusals
# that no command foresaw: one line and exit code 1, not a crash report (flight/cli.py).

from __future__ import annotations

import errno
import os

# What to do, by the system's reason. A reason that is missing here is one that a mistake of ours may have caused, such
# as EBADF: that is a crash and gets a report.
_NO_ROOM, _NO_RIGHT, _OTHER = "make room", "let this user do that, or name another", "remove it, or name another"
_REMEDIES = {
    errno.ENOSPC: _NO_ROOM,
    errno.EDQUOT: _NO_ROOM,
    errno.EFBIG: "raise the limit with ulimit -f",
    errno.EMFILE: "raise the limit with ulimit -n",
    errno.ENFILE: "end something else on this machine",
    errno.ENOMEM: "end something else on this machine",
    errno.EAGAIN: "raise the limit with ulimit -u, or end something else on this machine",
    errno.EACCES: _NO_RIGHT,
    errno.EPERM: _NO_RIGHT,
    errno.EROFS: "name a place that can be written",
    errno.EIO: "the disk or the line behind it is faulty",
    errno.ENOENT: "is it there, and the folder that it is in?",
    errno.EEXIST: _OTHER,
    errno.ENOTDIR: _OTHER,
    errno.EISDIR: _OTHER,
    errno.ELOOP: _OTHER,
    errno.ENOTEMPTY: _OTHER,
    errno.ENXIO: _OTHER,
    errno.ENAMETOOLONG: "name another",
    errno.EBUSY: "end what uses it, or name another",
}


def refusal_text(error: BaseException) -> str | None:
    """Return the line for what the system refused, None for an error of another kind."""
    if isinstance(error, MemoryError):
        return "out of memory; end something else on this machine, or do less at once"
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        return f"no further thread could be had; {_REMEDIES[errno.EAGAIN]}"
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    what = " and ".join(
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)
    )
    return f"{what}{what and ': '}{error.strerror}; {_REMEDIES[error.errno]}"
