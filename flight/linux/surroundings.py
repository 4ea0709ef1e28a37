"""What the system refused a program: the file or the thing, why, and what to do about it, in one line. Edge code.

A disk that is full, a folder that may not be written, a limit that was reached are no faults of the program. Where a
command knows what it was about, it says so itself. What none of them foresaw is said here, and is no crash.
"""

from __future__ import annotations

import errno
import os

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
    """The line for what the system refused; None for an error of another kind."""
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
