"""`orbitnode flight`: one node on this board, in real time, until SIGINT or SIGTERM. Edge code."""

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
    parser.add_argument("--mission", type=Path, default=MISSIONS / "bench.toml", metavar="FILE",
                        help="mission file (default: the bench mission, flown against `orbitnode sim`)")  # fmt: skip
    parser.add_argument("--storage", type=Path, metavar="DIR",
                        help="folder of what the node keeps (default: out/flight/NAME of the node)")  # fmt: skip
    parser.add_argument("--seed", type=int, help="seed of the node's randomness (default: from the system)")
    parser.add_argument("--log", choices=FORMS, default="console", help="form of the log (default %(default)s)")
    parser.add_argument("--log-level", choices=LEVELS, default="info", help="least level shown (default %(default)s)")


def execute(args: argparse.Namespace) -> int:
    """0 after SIGINT, SIGTERM or SIGHUP. Raises OrbitnodeError or HalError, whose message is one line, for whatever
    keeps the node from flying.
    """
    status = 1
    try:
        with diverted() as sink:
            status = _fly(args, sink)
    except KeyboardInterrupt:
        status = 128 + SIGINT
        raise
    except SystemExit as ended:  # by a second signal
        status = ended.code if isinstance(ended.code, int) else 1
        raise
    finally:
        end_within(status)  # also if a driver has left a thread behind that does not end
    return status


def _fly(args: argparse.Namespace, sink: LogSink) -> int:
    mission = load(args.mission, check=lambda read: boot_faults(read.apps))
    name = mission.node.name
    storage = args.storage if args.storage is not None else Path("out", "flight", name)
    platform = LinuxPlatform(storage, name, args.seed)
    try:
        watchdog = None
        if mission.section(ExecutiveConfig).watchdog_s:
            watchdog = platform.start_watchdog(
                mission.section(ExecutiveConfig).watchdog_s, partial(_log_last_words, sink)
            )
        log = node_log(name, platform.tai_ns, sink, form=args.log, level=args.log_level)
        sink.describe_gap = gap_line(name, platform.tai_ns, form=args.log)
        node = build(mission, platform, log=log, log_loss=sink)
        if watchdog is not None:
            watchdog.where = partial(_doing, node)
        try:
            for missing in apply(mission.section(ExecutiveConfig)):
                node.part(Events).emit("realtime_degraded", missing)
            # Said by the loop itself: from its first turn on it is true that signals end it in order.
            platform.call_at(platform.now_ns(), partial(_say_that_it_flies, mission, node, storage))
            ended_by = platform.run()
            if ended_by is not None:
                node.end(Signals(ended_by).name, lambda: None)
        finally:
            node.close()
    finally:
        platform.close()
    if ended_by is None:  # nobody asked for it: exit code 1, so that a supervisor starts the node anew
        raise OrbitnodeError(f"{name} ended itself, storage is safe: task {node.given_up} kept failing; start it anew")
    print(plain(f"{name}: stopped, storage is safe"), file=sys.stderr)
    return 0


def _say_that_it_flies(mission: Mission, node: Node, storage: Path) -> None:
    links = ", ".join(f"{link.name} {link.driver}" for link in mission.links)
    said = (
        f"{mission.node.name}: boot {node.part(BootRecord).count}, EPS {mission.drivers.eps}, link {links}, "
        f"storage {storage}; Ctrl-C ends it"
    )
    print(plain(said), file=sys.stderr, flush=True)


def _doing(node: Node) -> str:
    """What the node is at, for a thread beside the loop."""
    running = node.scheduler.running
    return "no task" if running is None else f"task {running.name}"


def _log_last_words(sink: LogSink, text: str) -> None:
    """Past everything that waits in the process that is being ended, and no longer than its log may take."""
    sink.write(text)
    sink.drain(LAST_WORDS_S)
