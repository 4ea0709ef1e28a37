"""`orbitnode ground`: the ground process; telemetry in, commands out, archive, and the API of cmd, tm and events."""

# The order in `_serve` matters. The mission and the dictionary are read before anything is opened, so that their faults
# leave no trace. The folder is locked before the archive in it is opened: a second ground would otherwise count a start
# in it, or commit. The lock is flock(2) on a file of the folder: the kernel releases it when the process ends, however
# that happens, so a ground that was killed keeps nobody out.

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from flight.catalogue import dictionary_of, file_entities, ground_entity
from flight.contract.sections import LinkSection, link_plans
from flight.core.errors import SetupError, StorageError, reason_of
from flight.core.nanoseconds import ns
from flight.core.utc.utc_time import date_of
from flight.keys import keys_path, mission_keys
from flight.link.cfdp.numbers import EPOCH_BITS
from flight.link.security.associations import End
from flight.link.security.link_security import LinkSecurity
from flight.link.security.numbers import clock_number
from flight.linux.log_sink import LogSink, diverted
from flight.mission import MISSIONS, Mission, load
from flight.text.plain_text import plain
from ground.cli.dictionary import read_dictionary
from ground.config import GroundConfig
from ground.files.transfer_folder import TransferFolder
from ground.leap_second_file import ground_table
from ground.link.ground_link import GroundLink
from ground.link.kinds import open_session
from ground.link.mission_link import chosen_link, listened_links, udp_link
from ground.link.security.stored_security import StoredSecurity
from ground.products.product_store import ProductStore
from ground.security_file import SecurityFile
from ground.server.ground_server import GroundServer, epoch_tai_ns
from ground.station import GroundStation
from ground.telemetry.archive import Archive

LOCK_NAME = ".lock"
HELP = "run the ground: receive telemetry, send commands, keep the archive"
LOOP = True  # it runs until it is ended, so flight/cli.py treats its output as that of a loop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode ground`."""
    parser.add_argument("--mission", type=Path, default=MISSIONS / "bench.toml", metavar="FILE",
                        help="mission file (default: the bench mission)")  # fmt: skip
    parser.add_argument("--link", default="", metavar="NAME", help="the [[link]] to use (default: the first)")
    parser.add_argument("--dictionary", type=Path, metavar="FILE",
                        help="decode by this dictionary (from `orbitnode dictionary --json`)")  # fmt: skip
    parser.add_argument("--keys", type=Path, metavar="FILE",
                        help="keys of the mission's links (default: ~/.orbitnode/NODE_NAME.keys)")  # fmt: skip
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for archive and products (default: the mission's)")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder for this process alone. Raises SetupError if another process holds it, or it cannot be used.

    Two grounds with one archive would give out the same command numbers and request ids, and overwrite each other's
    rows.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # No link is followed, and a pipe under that name must not block: somebody else may have put it there.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        lock = os.open(folder / LOCK_NAME, flags, 0o644)
    except OSError as error:
        where = "" if error.filename in (None, str(folder)) else f"{error.filename}: "
        raise SetupError(f"folder {folder} cannot be used: {where}{reason_of(error)}; name another --folder") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The number may be old or missing, since the file is not the lock: it only helps to find the other ground.
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise SetupError(
                f"folder {folder} is held by another ground (process {holder}): end it, or name another --folder"
            ) from None
        except OSError as error:
            raise SetupError(f"folder {folder} cannot be locked: {reason_of(error)}") from None
        with suppress(OSError):  # the number is a courtesy to a second ground: a full disk must not stop the first
            os.ftruncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        yield
    finally:
        os.close(lock)


@contextmanager
def _security(mission: Mission, own: LinkSection, keys: Path | None) -> Iterator[StoredSecurity | None]:
    """Give the ground's link security, with its record held for this process; None if every link is clear."""
    ring = mission_keys(mission, keys)
    if ring is None:
        yield None
        return
    record = SecurityFile(keys_path(mission.node.name, keys))
    try:
        security = LinkSecurity(
            End.GROUND, ring, link_plans(mission.links), stored=record.content, lost=record.content is None,
            # A record that is not there, although the keys were in use, goes on from the clock as a lost one does.
            clock_number=clock_number(epoch_tai_ns() + time.monotonic_ns()), random=os.urandom,
        )  # fmt: skip
        for fault in [fault for fault in (record.fault, *security.faults) if fault]:
            print(plain(f"ground: link security: {fault}"), file=sys.stderr)
        yield StoredSecurity(
            security,
            record.save,
            record.is_slow,
            link=mission.links.index(own),
            node=ring.node,
            spacecraft_id=ring.spacecraft_id,
        )
        # Ended in order: nothing is reserved beyond what was used. If it fails, what stands there does as well.
        with suppress(StorageError):
            record.save(security.state.record(exact=True).encode())
    finally:
        record.close()


def execute(args: argparse.Namespace) -> int:
    """Run the ground until Ctrl-C and return 0. Raises OrbitnodeError if something keeps it from running."""
    with diverted() as sink:
        return _serve(args, sink)


def _serve(args: argparse.Namespace, sink: LogSink) -> int:
    mission = load(args.mission, extra={"ground": GroundConfig}, opens_devices=False)
    config: GroundConfig = mission.sections["ground"]
    section = chosen_link(mission, args.link)
    link = udp_link(section, config.node_host)
    further = listened_links(mission, section)
    receivers = {further_section.name: udp_link(further_section) for further_section in further}
    dictionary = dictionary_of(mission) if args.dictionary is None else read_dictionary(args.dictionary)
    node_entity, _ = file_entities(mission)
    leap_seconds = ground_table(config.leap_seconds)
    if leap_seconds.is_old(leap_seconds.tai_from_unix(time.time_ns())):
        print(plain(f"ground: the table of leap seconds says nothing from {date_of(leap_seconds.expires_mjd)} on: set "
                    "ground.leap_seconds to a newer leap-seconds.list"), file=sys.stderr)  # fmt: skip
    folder = Path(config.folder) if args.folder is None else args.folder
    with held(folder), Archive(folder / "archive.db") as archive, _security(mission, section, args.keys) as security:
        protection = None if security is None else security.security

        def session_of(own: LinkSection) -> GroundLink:
            return open_session(own.config, protection, mission.links.index(own))

        station = GroundStation(
            dictionary,
            session_of(section),
            epoch_tai_ns=epoch_tai_ns(leap_seconds),
            leap_seconds=leap_seconds,
            archive=archive.enter(dictionary),
            products=ProductStore(folder / "products", octets_max=config.products_octets_max),
            transfers=TransferFolder(folder / "transfers"),
            cfdp=ground_entity(mission),
            command_timeout_s=config.command_timeout_s,
            silence_s=config.silence_s,
            path_delay_ns=lambda _: ns(config.path_delay_s),
            node_entity=node_entity,
            # Not seeded: no two grounds may begin with the same numbers (ADR 0018).
            epoch=Random().getrandbits(EPOCH_BITS),
            further_links={further_section.name: session_of(further_section) for further_section in further},
            security=security,
        )
        asyncio.run(GroundServer(station, archive, config, link, sink, receivers).run())
    print("ground: stopped, the archive is safe", file=sys.stderr)
    return 0
