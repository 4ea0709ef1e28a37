"""Puts up a worker's guards, from inside the process, before its app is imported. Edge code.

A guard that this kernel or this user is not granted is left out, and the node reports it. None is a condition for
flying.
"""

# From inside, because namespaces are for a process of one thread, and because code between fork and exec (`preexec_fn`)
# is unsafe in a node that has threads (ADR 0019).
#
# The order is what the kernel demands:
#   1. namespaces, while the process has one thread (numpy starts more)
#   2. mounts, while it has the rights that its own user namespace gives it
#   3. no rights at all any more, and no way to get them
#   4. limits, and the files that it may read
#   5. last the filter of system calls, which refuses all that was needed until then
#
# The process is to die with its parent from its first moment on. A change of rights takes that off again, so it is
# asked for a second time.
#
# The worker's folder is memory (tmpfs) over /dev/shm, in a mount namespace of its own: bounded, seen by nobody else,
# and gone with the process, however it ends. Without that namespace it has no folder to write in: one on disk would
# have no bound and would be left behind.
#
# Two guards can be had in two ways, of which one is enough. No network: a namespace, or no socket by the filter.
# Read-only files: the mounts, or Landlock together with the filter, which then also refuses changes of files'
# attributes.

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from payloads.worker.guards import Guard
from payloads.worker.settings import WorkerSettings
from payloads.worker.system_calls import LIBC, PR_SET_PDEATHSIG, checked, hide_files, refuse_calls

THREADS_MAX = 64  # per worker, besides those that it computes with
DESCRIPTORS_MAX = 256
FILE_OCTETS_MAX = 1 << 20  # per file
FOLDER = "/dev/shm"
OOM_SCORE = 1000  # the highest: killed before anything else

_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 24, 38, 47
_AMBIENT_CLEAR_ALL = 4
_NEW_USER, _NEW_NETWORK, _NEW_MOUNTS, _NEW_IPC = 0x10000000, 0x40000000, 0x00020000, 0x08000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096
_MOUNT_OPTIONS = {
    "nosuid": _MS_NOSUID, "nodev": _MS_NODEV, "noexec": _MS_NOEXEC, "noatime": 1 << 10, "nodiratime": 1 << 11,
    "relatime": 1 << 21,
}  # fmt: skip
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY = 442, -100, 0x8000, 1


def isolate(parent: int, settings: WorkerSettings) -> Guard:
    """Put up what `settings` asks for. Returns the guards that hold. Ends the process if the parent is gone."""
    _reset_signals()
    wanted = Guard.every() & ~Guard.of(settings.guards_off)
    die_with(parent)
    root = os.geteuid() == 0
    held = Guard(0)

    def put_up(guard: Guard, step: Callable[[], None]) -> None:
        nonlocal held
        if guard & wanted:
            try:
                step()
            except OSError:
                return
            held |= guard

    os.nice(settings.nice)
    put_up(Guard.OOM_FIRST, _go_first)
    own_users, separate = _separate(wanted)
    held |= separate
    if Guard.READ_ONLY_FILES in separate and settings.scratch_mib:
        put_up(Guard.PRIVATE_FOLDER, lambda: _mount_folder(settings.scratch_mib))
    folder = FOLDER if Guard.PRIVATE_FOLDER in held else None
    os.chdir(folder or "/")
    os.environ["HOME"] = os.environ["TMPDIR"] = folder or "/"
    if os.getsid(0) == os.getpid():
        held |= Guard.OWN_SESSION
    put_up(Guard.NO_CAPABILITIES, _drop_capabilities)
    put_up(Guard.NO_NEW_PRIVILEGES, lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))
    held |= _limit(settings, wanted, root=root, own_users=own_users)
    put_up(Guard.HIDDEN_FILES, lambda: hide_files(settings.readable_paths(), folder))
    die_with(parent)  # again: a change of rights takes it off
    held |= Guard.DIES_WITH_NODE
    network, attributes = Guard.NO_NETWORK not in wanted, folder is not None
    put_up(Guard.SYSTEM_CALLS, lambda: refuse_calls(network=network, attributes=attributes))
    # Both of these have a second wall, which keeps the same out.
    if Guard.SYSTEM_CALLS in held:
        held |= Guard.NO_NETWORK & wanted
        if Guard.HIDDEN_FILES in held and folder is None:
            held |= Guard.READ_ONLY_FILES & wanted
    return held


def _reset_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the node may have blocked what it reads from a descriptor


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def _go_first() -> None:
    Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")


def _prctl(option: int, value: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    checked(LIBC.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def _separate(wanted: Guard) -> tuple[bool, Guard]:
    """Get a network and mounts of its own, through a user namespace or by root's rights.

    Returns whether the process has a user namespace, and the guards that hold.
    """
    flags = _NEW_IPC
    flags |= _NEW_NETWORK if Guard.NO_NETWORK in wanted else 0
    flags |= _NEW_MOUNTS if Guard.READ_ONLY_FILES in wanted else 0
    if flags == _NEW_IPC:
        return False, Guard(0)
    own_users = _new_users(flags)
    if not own_users and LIBC.unshare(flags) < 0:
        return False, Guard(0)
    held = Guard.NO_NETWORK & wanted
    if Guard.READ_ONLY_FILES in wanted:
        try:
            _mount_read_only()
        except OSError:
            return own_users, held
        held |= Guard.READ_ONLY_FILES
    return own_users, held


def _new_users(flags: int) -> bool:
    """Enter a user namespace with this one user in it, and the namespaces in `flags`. Returns False if refused."""
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(_NEW_USER | flags) < 0:
        return False
    with contextlib.suppress(OSError):  # if the user cannot be mapped, the process runs as nobody, which does as well
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    return True


def _mount_read_only() -> None:
    """Make every mounted file system read-only, as this process sees it. Raises OSError."""
    # Private first: otherwise the change would reach the mounts of the machine.
    checked(LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    attributes = struct.pack("=QQQQ", _ATTR_READ_ONLY, 0, 0, 0)
    try:
        size = ctypes.c_size_t(len(attributes))
        checked(LIBC.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, size))
    except OSError:  # before Linux 5.12
        remount_one_by_one()


def remount_one_by_one() -> None:
    """Do the same with the means of older kernels. Raises OSError if a mount stays writable."""
    # A remount sets all options, so those that a mount had before have to be named again.
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        words = line.split()
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), words[4])  # spaces are written in octal
        flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY
        for option in words[5].split(","):
            flags |= _MOUNT_OPTIONS.get(option, 0)
        path = point.encode(errors="surrogateescape")
        # A mount point that does not exist here lies under another mount, and cannot be reached.
        if LIBC.mount(None, path, None, ctypes.c_ulong(flags), None) < 0 and os.path.exists(point):
            raise OSError(ctypes.get_errno(), f"{point} stays writable")


def _mount_folder(mib: int) -> None:
    options = f"size={mib}m,nr_inodes=4096,mode=700".encode()
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    checked(LIBC.mount(b"orbitnode", FOLDER.encode(), b"tmpfs", flags, options))


def _drop_capabilities() -> None:
    """Give up every right of root, also those that a program started as root would be given again."""
    try:
        _prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
        for capability in range(64):
            _prctl(_PR_CAPBSET_DROP, capability)
    except OSError:  # beyond the last capability; or there is no right to drop any, because there are none
        pass
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process; no set has any bit
    checked(LIBC.capset(header, bytes(24)))


def _limit(settings: WorkerSettings, wanted: Guard, *, root: bool, own_users: bool) -> Guard:
    """Set limits that this process cannot raise again. Returns the guards that hold."""
    for name in (resource.RLIMIT_CORE, resource.RLIMIT_MSGQUEUE, resource.RLIMIT_NICE, resource.RLIMIT_RTPRIO):
        resource.setrlimit(name, (0, 0))
    limits = [
        (Guard.FILE_SIZE_LIMIT, resource.RLIMIT_FSIZE, FILE_OCTETS_MAX),
        (Guard.DESCRIPTOR_LIMIT, resource.RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (Guard.THREAD_LIMIT, resource.RLIMIT_NPROC, thread_limit(settings, own_users=own_users)),
    ]
    if settings.memory_mib:
        limits.append((Guard.MEMORY_LIMIT, resource.RLIMIT_AS, settings.memory_mib << 20))
    held = Guard(0)
    for guard, name, value in limits:
        if guard not in wanted:
            continue
        hard = resource.getrlimit(name)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))
        held |= guard
    return held & ~Guard.THREAD_LIMIT if root else held  # the kernel exempts root from it


def thread_limit(settings: WorkerSettings, *, own_users: bool) -> int:
    """Return the value for RLIMIT_NPROC that lets this worker have its threads."""
    # The kernel counts all threads of a user: since 5.14 those in the user namespace, before that all on the machine.
    # So in the older case those that run now are added.
    allowed = THREADS_MAX + settings.threads
    version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2] if part.isdigit())
    if own_users and version >= (5, 14):
        return allowed
    user, count = os.getuid(), 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == user:
                count += len(os.listdir(process / "task"))
        except OSError:  # it ended meanwhile
            continue
    return count + allowed
