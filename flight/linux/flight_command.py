"""`orbitnode flight`: one node on this board, in real time, until SIGINT, SIGTERM or SIGHUP. Edge code."""

# The order in which things begin, each for the sake of what comes after it: the output is diverted first, so that even
# a fault in the mission cannot block on a reader. Then the mission and its keys are read, the storage is opened and
# locked, and the watchdog starts: from here on a boot that hangs in storage or a driver is ended. Then the node is
# built, real-time priority is asked for last, since helper threads must not inherit it, and the loop runs.
#
# It ends in the opposite order, but for the watchdog, which outlives the storage. Exit codes: 0 if a signal asked for
# the end; 1 if the node ended itself, so that a supervisor starts it again; 70 from the watchdog; 128 + number if a
# second signal cut the loop short.

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from signal import SIGINT, Signals

from flight.apps import boot_faults
from flight.core.errors import OrbitnodeError
from flight.core.executive_section import ExecutiveConfig
from flight.core.log import FORMS, LEVELS, gap_line, node_log
from flight.keys import mission_keys
from flight.linux.log_sink import LogSink, diverted
from flight.linux.platform import LinuxPlatform
from flight.linux.realtime import apply
from flight.linux.watchdog import end_within
from flight.mission import MISSIONS, Mission, load
from flight.node import Node, build
from flight.services.health.status import BootRecord
from flight.services.reporting.events import Events
from flight.text.plain_text import plain

HELP = "fly a node on this board"
LOOP = True
LAST_WORDS_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--mission", type=Path, default=MISSIONS / "bench.toml", metavar="FILE",
                        help="mission file (default: the bench mission, flown against `orbitnode sim`)")  # fmt: skip
    parser.add_argument("--storage", type=Path, metavar="DIR",
                        help="folder that the node stores its data in (default: out/flight/NODE_NAME)")  # fmt: skip
    parser.add_argument("--keys", type=Path, metavar="FILE",
                        help="keys of its links (default: ~/.orbitnode/NODE_NAME.keys)")  # fmt: skip
    parser.add_argument(
        "--seed", type=int, help="seed of the node's randomness, secrets aside (default: from the system)"
    )
    parser.add_argument("--log", choices=FORMS, default="console", help="format of the log (default %(default)s)")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="lowest level shown (default %(default)s)")


def execute(args: argparse.Namespace) -> int:
    """Fly until a signal, and return 0.

    Raises OrbitnodeError or HalError for whatever keeps the node from flying.
    """
    status = 1
    try:
        with diverted() as sink:
            status = _fly(args, sink)
    except KeyboardInterrupt:
        status = 128 + SIGINT
        raise
    except SystemExit as ending:  # by a second signal
        status = ending.code if isinstance(ending.code, int) else 1
        raise
    finally:
        end_within(status)  # a driver may have left a thread behind that does not end
    return status


def _fly(args: argparse.Namespace, sink: LogSink) -> int:
    mission = load(args.mission, check=lambda read: boot_faults(read.apps))
    name = mission.node.name
    storage = args.storage if args.storage is not None else Path("out", "flight", name)
    keys = mission_keys(mission, args.keys)
    platform = LinuxPlatform(storage, name, args.seed)
    try:
        watchdog = None
        if mission.section(ExecutiveConfig).watchdog_s:
            watchdog = platform.start_watchdog(
                mission.section(ExecutiveConfig).watchdog_s, partial(_log_last_words, sink)
            )
        leap_seconds = lambda: platform.leap_seconds  # noqa: E731 - ground may send a newer table
        log = node_log(name, platform.tai_ns, sink, form=args.log, level=args.log_level, leap_seconds=leap_seconds)
        sink.describe_gap = gap_line(name, platform.tai_ns, form=args.log, leap_seconds=leap_seconds)
        node = build(mission, platform, log=log, log_loss=sink, keys=keys)
        if watchdog is not None:
            watchdog.where = partial(_doing, node)
        try:
            for missing in apply(mission.section(ExecutiveConfig)):
                node.part(Events).emit("realtime_degraded", missing)
            # The loop says it itself, since only from its first turn on do signals end it in order.
            platform.call_at(platform.now_ns(), partial(_say_that_it_flies, mission, node, storage))
            ended_by = platform.run()
            if ended_by is not None:
                node.end(Signals(ended_by).name, lambda: None)
        finally:
            node.close()
    finally:
        platform.close()
    if ended_by is None:  # nobody asked for it: exit code 1, so that a supervisor starts the node again
        raise OrbitnodeError(f"{name} ended itself, storage is safe: task {node.given_up} kept failing; start it again")
    print(plain(f"{name}: stopped, storage is safe"), file=sys.stderr)
    return 0


def _say_that_it_flies(mission: Mission, node: Node, storage: Path) -> None:
    links = ", ".join(f"{link.name} {link.driver}" for link in mission.links)
    line = (
        f"{mission.node.name}: boot {node.part(BootRecord).count}, EPS {mission.drivers.eps}, link {links}, "
        f"storage {storage}; Ctrl-C ends it"
    )
    print(plain(line), file=sys.stderr, flush=True)


def _doing(node: Node) -> str:
    """Return what the node is doing. Called by the watchdog's thread, beside the loop."""
    running = node.scheduler.running
    return "no task" if running is None else f"task {running.name}"


def _log_last_words(sink: LogSink, text: str) -> None:
    """Write the watchdog's last words to the log, and wait for them no longer than LAST_WORDS_S."""
    sink.write(text)
    sink.drain(LAST_WORDS_S)
