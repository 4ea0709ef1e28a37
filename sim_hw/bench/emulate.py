"""`orbitnode sim`: the spacecraft's board emulated in real time on the other side of a pseudo-terminal. Edge code.

The world (orbit, Sun, power, heat) runs at `--speed` times real time and answers the board protocol, so that a node
with the serial driver cannot tell it from a board on a wire.
"""

# Here the physics of sim_hw/world meets real time. One thread: wait for octets for ADVANCE_S at most, move the world to
# the present, answer. The world does not care how unevenly it is moved, so nothing has to be on time.
#
# The line is a pseudo-terminal: the node's driver sets it up, polls it and loses it as it would a serial port. Its
# device has another name each time (/dev/pts/N), so a symbolic link gives it a stable one. Who owns the link is said by
# a lock on the file beside it, which the kernel drops with the process: a link that a killed emulator left behind can
# be taken over, one that is served cannot.
#
# Whatever the node does, the emulator goes on: a node that does not read loses answers (`overruns`), as on a real line
# without flow control, and the next one that opens the device finds the board as it is.

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import select
import signal
import stat
import sys
import time
import tty
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Self

from flight.core.errors import SetupError, UsageError, reason_of
from flight.core.nanoseconds import NS, ns
from flight.linux.ending_signals import ending_signals
from flight.linux.log_sink import diverted
from flight.mission import MISSIONS, Mission, load
from flight.text.plain_text import CLEAR_LINE, plain
from sim_hw.bench.board_server import BoardServer, WorldBoard
from sim_hw.config import SimConfig
from sim_hw.world.world import World, WorldConfig

HELP = "emulate the spacecraft's board on a serial line (pseudo-terminal), or soak a link in virtual time"
ADVANCE_S = 0.1  # the world moves at least so often; its own steps are of one second
STATUS_S = 1.0  # between two lines on a terminal
STATUS_QUIET_S = 60.0  # and in a log


class Wire:
    """A pseudo-terminal under a stable name. The lock beside the link tells a live emulator's from a dead one's.

    The default name is in a folder of the system's temporary one, in which every user may put what they like. So the
    folder is made for this user alone, one that belongs to somebody else is not used, and no link is written through.
    Raises SetupError if the link cannot be had.
    """

    def __init__(self, link: str | Path) -> None:
        self.link = Path(link)
        self._lock_path = self.link.with_name(self.link.name + ".lock")
        try:
            _make_own_folder(self.link.parent)
            self._lock = _open_lock(self._lock_path)
        except OSError as error:
            raise SetupError(f"cannot make {self._lock_path}: {reason_of(error)}; choose another --link") from None
        with ExitStack() as undo:
            undo.callback(os.close, self._lock)
            self._claim()
            try:
                self._connect(undo)
            except OSError as error:
                raise SetupError(f"cannot make {self.link}: {reason_of(error)}; choose another --link") from None
            undo.pop_all()

    def _claim(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            raise SetupError(
                f"{self.link} is served by another emulator (process {holder}); end it or choose another --link"
            ) from None
        except OSError as error:
            reason = reason_of(error)
            raise SetupError(f"{self._lock_path} cannot be locked: {reason}; choose another --link") from None
        if self.link.exists() and not self.link.is_symlink():
            raise SetupError(f"{self.link} exists and is not a link of an emulator; remove it or choose another --link")
        with suppress(OSError):  # a full disk: the process id is for the message above alone, the lock is what counts
            os.ftruncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())

    def _connect(self, undo: ExitStack) -> None:
        # The far end is kept open here as well, or whenever the node closes it a read here would fail (EIO).
        self.fileno, self._far = os.openpty()
        for fileno in (self.fileno, self._far):
            undo.callback(os.close, fileno)
        tty.setraw(self._far)  # no echo and no line editing before the node's driver has set it up
        os.set_blocking(self.fileno, False)
        self.device = os.ttyname(self._far)
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self.device)

    def close(self) -> None:
        """Take the link away and give the terminal back."""
        # The lock's file stays: if it were removed, two later emulators could each hold a lock on a file of their own.
        self.link.unlink(missing_ok=True)
        for fileno in (self.fileno, self._far, self._lock):
            os.close(fileno)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _make_own_folder(folder: Path) -> None:
    """Make it for this user alone, if it is not there; raises OSError, also if another user has put one there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    if folder.lstat().st_uid not in (0, os.geteuid()):
        raise OSError(errno.EPERM, f"the folder {folder} is another user's")
    if not folder.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def _open_lock(path: Path) -> int:
    """Open the lock's file, made if it is not there; raises OSError, also for what is not a file of this user's own."""
    # Without following links, and without waiting for the other end if it is a pipe that somebody has put there.
    fileno = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(fileno)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != os.geteuid():
        os.close(fileno)
        raise OSError(errno.EPERM, "what is there is not a file of this user's own")
    return fileno


@dataclass(slots=True)
class Emulator:
    """A world in real time behind a wire. `start_s` seconds of it have passed when it begins."""

    wire: Wire
    world: World
    speed: float = 1.0
    start_s: float = 0.0
    stopping: bool = False
    overruns: int = 0

    def run(self, report: bool = False) -> None:
        """Serve until `stopping`; `report` shows the state on stdout."""
        # A random boot number, so that a host notices that this is another start of the board.
        server = BoardServer(WorldBoard(self.world), int.from_bytes(os.urandom(2)))
        begin_ns = time.monotonic_ns()
        shown_ns = 0
        self.world.advance(ns(self.start_s))
        while not self.stopping:
            ready = select.select((self.wire.fileno,), (), (), ADVANCE_S)[0]
            now_ns = time.monotonic_ns()
            self.world.advance(round(self.start_s * NS + (now_ns - begin_ns) * self.speed))
            if ready:
                self._serve(server)
            period_s = STATUS_S if sys.stdout.isatty() else STATUS_QUIET_S
            if report and now_ns - shown_ns >= period_s * NS:
                shown_ns = now_ns
                self._show(server)

    def _serve(self, server: BoardServer) -> None:
        octets = os.read(self.wire.fileno, 4096)
        answer = server.feed(octets)
        if not answer:
            return
        try:
            if os.write(self.wire.fileno, answer) != len(answer):
                self.overruns += 1
        except BlockingIOError:  # nobody reads: a real line would lose it as well
            self.overruns += 1

    def _show(self, server: BoardServer) -> None:
        power, now_ns = self.world.read_power(), self.world.now_ns
        station = self.world.station_in_sight(now_ns)
        board = WorldBoard(self.world)
        on = [name for name in (*board.description.switches, *board.description.heaters) if board.switched_on(name)]
        line = (
            f"{now_ns / 60e9:6.1f} min  {'sun    ' if self.world.sun_frac(now_ns) > 0.5 else 'eclipse'}"
            f"  charge {power.soc_frac:5.1%}  solar {power.solar_w:4.1f} W  load {power.load_w:4.1f} W"
            f"  board {board.read_c('board'):5.1f} C  radiator {board.read_c('radiator'):5.1f} C"
            f"  on: {', '.join(on) or '-'}  pass: {station.name if station else '-'}"
            f"  requests {server.requests}, garbage {server.garbage}"
        )
        if sys.stdout.isatty():
            sys.stdout.write(CLEAR_LINE + plain(line))
        else:
            sys.stdout.write(plain(line) + "\n")
        sys.stdout.flush()


# Options of the one thing that mean nothing to the other, by their names in the namespace.
_OF_THE_EMULATOR = ("link", "speed", "start", "charge")
_OF_THE_SOAK = ("hours", "ber", "drop", "seed", "commands", "reboots", "forge", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode sim` to its parser."""
    parser.add_argument("what", nargs="?", metavar="link", choices=("link",),
                        help="soak both ends of a link in virtual time, instead of emulating a board")  # fmt: skip
    parser.add_argument("--mission", type=Path, metavar="FILE",
                        help="mission file, for the world and the link (default: the bench mission, with `link` the "
                             "orbit mission)")  # fmt: skip
    parser.add_argument("--link", help="path of the serial line (default: that of the mission's EPS)")
    parser.add_argument("--speed", type=float, help="seconds of the world per second (default 1)")
    parser.add_argument("--start", type=float, metavar="MIN", help="minutes into the orbit at the start (default 0)")
    parser.add_argument("--charge", type=float, metavar="FRAC", help="state of charge at the start, 0 to 1")
    group = parser.add_argument_group("link")
    group.add_argument("--hours", type=float, metavar="N", help="hours of virtual time (default 24)")
    group.add_argument("--ber", type=float, metavar="RATE", help="share of bits that arrive inverted, each way, "
                       "0.01 at most (default 1e-4)")  # fmt: skip
    group.add_argument("--drop", type=float, metavar="FRAC", help="share of frames and CLTUs that are lost whole, "
                       "0.5 at most (default 0.05)")  # fmt: skip
    group.add_argument("--seed", type=int, metavar="N", help="seed of all randomness (default 1)")
    group.add_argument("--commands", type=int, metavar="N", help="commands to send (default 10,000 per 24 hours)")
    group.add_argument("--reboots", type=int, metavar="N", help="reboots of the node or of the ground (default 0)")
    group.add_argument("--forge", type=float, metavar="F", help="frames of an attacker per real one, on each way that "
                       "is protected (default 0)")  # fmt: skip
    group.add_argument("--json", action="store_true", default=None, help="print the account as JSON, nothing else")


def is_loop(args: argparse.Namespace) -> bool:
    """Return whether this command line runs the emulator, which must not wait for whoever reads its output."""
    return args.what is None


LOOP = is_loop


def board_path(mission: Mission) -> str:
    """Return the path at which the mission looks for its board; raises SetupError if its EPS has no serial line."""
    scheme, _, path = mission.drivers.eps.partition("?")[0].partition(":")
    if scheme != "serial" or not path:
        raise SetupError(
            f"{mission.path}: drivers.eps is {mission.drivers.eps!r}, the emulator serves serial:PATH; "
            "name another mission, or the line with --link"
        )
    return path


def execute(args: argparse.Namespace) -> int:
    """Emulate until a signal ends it and return 0, or soak a link and return how it went.

    Raises OrbitnodeError if it cannot start.
    """
    of_others = _OF_THE_SOAK if args.what is None else _OF_THE_EMULATOR
    for name in of_others:
        if getattr(args, name) is not None:
            means = "`orbitnode sim link`" if args.what is None else "`orbitnode sim` without `link`"
            raise UsageError(f"--{name} is an option of {means}")
    if args.what is not None:
        from sim_hw.soak import soak_command  # both ends of a link, of which the emulator needs nothing

        return soak_command.run(args)
    with diverted():
        return _emulate(args)


def _emulate(args: argparse.Namespace) -> int:
    speed, start_min = args.speed if args.speed is not None else 1.0, args.start if args.start is not None else 0.0
    if not 0.0 < speed <= 1000.0:
        raise UsageError(f"--speed is {speed:g}, should be above 0 and at most 1000")
    if not 0.0 <= start_min <= 10_000.0:
        raise UsageError(f"--start is {start_min:g}, should be 0 .. 10000 minutes")
    if args.charge is not None and not 0.0 <= args.charge <= 1.0:
        raise UsageError(f"--charge is {args.charge:g}, should be 0 .. 1")
    mission = load(args.mission or MISSIONS / "bench.toml", {"sim": SimConfig})
    config: WorldConfig = mission.sections["sim"].world
    if args.charge is not None:
        config = replace(config, power=replace(config.power, soc_start_frac=args.charge))
    world = World(config)
    with Wire(args.link or board_path(mission)) as wire:
        emulator = Emulator(wire, world, speed, start_min * 60.0)

        def stop(_number: int, _frame: FrameType | None) -> None:
            emulator.stopping = True

        for number in ending_signals():
            signal.signal(number, stop)
        print(plain(f"board at {wire.link} ({wire.device}), {speed:g} x real time; Ctrl-C ends it"), flush=True)
        emulator.run(report=True)
        if sys.stdout.isatty():
            print()
    return 0
