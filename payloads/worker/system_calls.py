"""What the kernel refuses a worker: system calls (seccomp) and files (Landlock). Edge code of the worker alone.

The process puts both upon itself, without any right of root. Nobody can take them off again, not even a program that
the process turns into. A refused call fails with EPERM, which Python raises as PermissionError.
"""

# A worker may have threads but no children: a child could outlive it, hold its descriptors, and remain when the node is
# killed. So every call that makes a process is refused, and with it every call that reaches another process (signals,
# tracing, priorities, limits), the network, or objects that outlive their maker (System V memory, message queues,
# keys).
#
# A refusal fails and does not kill, so that the app's author reads what was wrong. `clone3` gives ENOSYS instead of
# EPERM: its flags lie in memory, out of a filter's sight, and for ENOSYS the C library falls back to `clone`, whose
# flags the filter can see.
#
# The filter refuses what is listed and allows the rest. A list of what is allowed would be safer in principle, but the
# calls that numpy, onnxruntime and the C library make differ by version and processor, and a call that is missing from
# the list would show itself in orbit.
#
# Numbers of calls are stated for x86-64 and aarch64. Another processor flies without this guard, and says so.

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG = 1
_CLONE_THREAD = 0x00010000
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY = 8, 10, 15, 1024, 1026
_FIOSETOWN, _SIOCSPGRP, _FIOASYNC, _TIOCSTI = 0x8901, 0x8902, 0x5452, 0x5412


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of processor.

    audit: its number for audit (linux/audit.h). seccomp: its number of that call. column: of the numbers below.
    calls_end: numbers from here on are calls of another ABI.
    """

    audit: int
    seccomp: int
    column: int
    calls_end: int


MACHINES = {
    "x86_64": Machine(0xC000003E, 317, 0, 0x40000000),  # those of x32 begin there
    "aarch64": Machine(0xC00000B7, 277, 1, 0x40000000),
}

# Name: number on x86-64, on aarch64 (None: it has no such call).
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Processes
    "fork": (57, None), "vfork": (58, None),
    # Signals, and handles on other processes
    "tkill": (200, 130), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448),
    # Looking into other processes, or into the kernel
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "bpf": (321, 280),
    # Network; io_uring would open sockets past this filter
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Other views of the machine
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    # Objects that outlive the process
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219),
    # Priorities and processors, its own and those of others
    "setpriority": (141, 140), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
# What Landlock does not cover: the attributes of files. Refused to a process that has no folder to write in.
ATTRIBUTES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "file_setattr": (469, 469),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
# Calls that name a process: it may name itself alone.
OWN_PROCESS_ONLY = ((62, 129), (234, 131), (129, 138), (297, 240))  # kill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo
PRLIMIT = (302, 261)
# Calls of many uses: which argument chooses, and which choices are refused. A descriptor's owner is sent signals.
REFUSED_USES = (
    ((157, 167), 0, (PR_SET_PDEATHSIG,)),  # prctl
    ((72, 25), 1, (_F_SETOWN, _F_SETSIG, _F_SETOWN_EX, _F_SETLEASE, _F_NOTIFY)),  # fcntl
    ((16, 29), 1, (_FIOSETOWN, _SIOCSPGRP, _FIOASYNC, _TIOCSTI)),  # ioctl
)

# Classic BPF (linux/filter.h): load a word, compare, test bits, return.
_LOAD, _EQUAL, _NOT_BELOW, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_DENY = _ERRNO | errno.EPERM
_ABSENT = _ERRNO | errno.ENOSYS
Instruction = tuple[int, int, int, int]  # code, steps if true, steps if false, value


def machine() -> Machine | None:
    """Return the numbers of this processor, None if they are not known or this is a 32-bit program."""
    return MACHINES.get(os.uname().machine) if struct.calcsize("P") == 8 else None


def program(kind: Machine, own_pid: int, *, network: bool = False, attributes: bool = True) -> list[Instruction]:
    """Return the filter. `network` allows sockets, `attributes` changes of files' attributes."""
    column = kind.column
    # Offsets into struct seccomp_data: 0 is the number of the call, 4 the architecture, 16 the first argument. First,
    # calls of another architecture or ABI are refused: their numbers mean other calls.
    code: list[Instruction] = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, kind.audit), (_RETURN, 0, 0, _ABSENT),
        (_LOAD, 0, 0, 0), (_NOT_BELOW, 0, 1, kind.calls_end), (_RETURN, 0, 0, _ABSENT),
    ]  # fmt: skip
    refused = REFUSED | ({} if attributes else ATTRIBUTES)
    if network:
        del refused["socket"]
    for numbers in refused.values():
        number = numbers[column]
        if number is not None:
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY)]
    code += [(_EQUAL, 0, 1, CLONE3[column]), (_RETURN, 0, 0, _ABSENT)]
    code += _rule(CLONE[column], 0, [(_BITS, 0, 1, _CLONE_THREAD), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)])
    for pair in OWN_PROCESS_ONLY:
        code += _only(pair[column], own_pid)
    code += _only(PRLIMIT[column], 0)
    for pair, argument, values in REFUSED_USES:
        tests = [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _DENY))]
        code += _rule(pair[column], argument, [*tests, (_RETURN, 0, 0, _ALLOW)])
    return [*code, (_RETURN, 0, 0, _ALLOW)]


def _rule(number: int, argument: int, tests: list[Instruction]) -> list[Instruction]:
    """Return `tests` over the low word of an argument of one call. Each way through them must return."""
    return [(_EQUAL, 0, len(tests) + 1, number), (_LOAD, 0, 0, 16 + 8 * argument), *tests]


def _only(number: int, first: int) -> list[Instruction]:
    return _rule(number, 0, [(_EQUAL, 0, 1, first), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse_calls(*, network: bool, attributes: bool) -> None:
    """Put the filter upon this process, which must have set no-new-privileges. Raises OSError."""
    kind = machine()
    if kind is None:
        raise OSError(errno.ENOSYS, f"numbers of the system calls of {os.uname().machine} are not known")
    code = program(kind, os.getpid(), network=network, attributes=attributes)
    octets = b"".join(struct.pack("=HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(octets, len(octets))
    packed = _Program(len(code), ctypes.addressof(buffer))
    # SECCOMP_SET_MODE_FILTER with SPEC_ALLOW: kernels before 5.16 slow a filtered process down otherwise.
    checked(LIBC.syscall(kind.seccomp, 1, 4, ctypes.byref(packed)))


def checked(result: int) -> int:
    """Return the result of a call into the C library. Raises OSError if that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# Landlock: files (linux/landlock.h). The three calls have one number on every processor.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_CONTROL
_RIGHTS_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_RIGHTS_NEWEST = (1 << 16) - 1
_SCOPE_SOCKETS_AND_SIGNALS = 0b11  # since version 6: none to a process outside

# What any program reads: programs, libraries, their settings, and what the kernel says about itself.
_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/proc", "/sys", "/etc/ld.so.cache",
    "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/passwd", "/etc/nsswitch.conf", "/etc/OpenCL",
    "/etc/nv_tegra_release",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "nv*", "dri", "kfd")  # the last three: graphics processors


def hide_files(readable: Iterable[str], folder: str | None) -> None:
    """Leave only `readable`, the system's programs and `folder` (to write) open to this process. Raises OSError."""
    version = checked(LIBC.syscall(_CREATE, None, ctypes.c_size_t(0), 1))
    # Only rights that this version knows: it would refuse all of it for one that it does not.
    handled = _RIGHTS_BY_VERSION.get(version, _RIGHTS_NEWEST)
    attributes = struct.pack("=QQQ", handled, 0, _SCOPE_SOCKETS_AND_SIGNALS if version >= 6 else 0)
    size = 24 if version >= 6 else 8
    ruleset = checked(LIBC.syscall(_CREATE, attributes, ctypes.c_size_t(size), 0))
    try:
        for path, rights in _openings(readable, folder, handled):
            _open_to(ruleset, path, rights)
        checked(LIBC.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)


def _openings(readable: Iterable[str], folder: str | None, handled: int) -> Iterator[tuple[str, int]]:
    for path in (*_SYSTEM, *readable):
        yield path, handled & (_EXECUTE | _READ | _READ_FOLDER)
    for pattern in _DEVICES:
        for device in Path("/dev").glob(pattern):
            yield str(device), handled & (_READ | _READ_FOLDER | _WRITE | _DEVICE_CONTROL)
    if folder is not None:
        yield folder, handled & ~_EXECUTE


def _open_to(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES  # the kernel refuses rights of folders for a file
        checked(LIBC.syscall(_ADD, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0))
    finally:
        os.close(descriptor)
