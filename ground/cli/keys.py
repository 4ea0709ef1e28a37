"""`orbitnode keys`: make the keys of a mission's links, show them, change one over the air, go back. Edge code."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flight.contract.sections import link_plans
from flight.core.errors import OrbitnodeError, SetupError
from flight.core.nanoseconds import ns
from flight.core.utc.leap_seconds import BUILT_IN
from flight.keys import key_text, keys_path, lacking_spis, locked, open_keys, open_keys_of, read_keys, write_keys
from flight.link.security.keyring import (
    CREATED_FORMAT,
    MASTER_KEY_ID,
    Keyring,
    KeyUse,
    delivered_keys,
    delivered_spis,
)
from flight.link.security.numbers import clock_number
from flight.link.security.suites import KEY_OCTETS
from flight.text.plain_text import json_text, plain
from flight.text.plural import counted
from ground.cli.api.client import add_connection_arguments, output
from ground.cli.api.rotation_transport import ApiTransport, GroundIdentity
from ground.config import GroundConfig
from ground.link.mission_link import chosen_link
from ground.link.security.carrying_keys import active_keys
from ground.link.security.key_reversion import changed_over_the_air, reverted
from ground.link.security.key_rotation import KeyRotation, RotationTransport, carry_out
from ground.link.security.numbers_recovery import NumbersRecovery
from ground.security_file import SUFFIX, SecurityFile

if TYPE_CHECKING:
    from flight.mission import Mission

# What is printed is for screens and for the logs of screens: ids, states and fingerprints, never a key. `new` does not
# overwrite: keys that fly and are gone from the ground leave a node that nobody can command. So `--replace` has to be
# said, and the former file stays beside the new one.
#
# `rotate` holds the file's lock from the first step to the last, so that nothing else writes it meanwhile. The steps
# are in ground/link/security/key_rotation.py; what came of one is in the file before the next one begins.

HELP = "make, show and change the keys of a mission's links"

_ACTIONS = {
    "new": ("", "make fresh keys for the links of a mission, at random"),
    "add": ("", "make the keys that the mission lacks, after a link was added or protected, and keep the others"),
    "show": ("", "list the keys, without showing one, and check that the mission has all it needs"),
    "rotate": ("up|down", "change the key of a link over the air, through a running ground"),
    "recover": ("", "set the numbers of a link again, after the node or the ground lost its record"),
    "revert": ("", "go back to the keys of delivery, after the node lost its record of later ones"),
}
_ONLINE = ("rotate", "recover")  # through a running ground
_DIRECTIONS = ("up", "down")
_AHEAD_MAX_S = 100 * 366 * 86_400
_STAMP = "%Y%m%dT%H%M%SZ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode keys`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    usage = [f"  {f'{name} {words}':15} {text}" for name, (words, text) in _ACTIONS.items()]
    parser.epilog = "\n".join(["actions:", *usage])
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=", ".join(_ACTIONS))
    parser.add_argument("direction", nargs="?", choices=_DIRECTIONS, metavar="up|down", help="rotate: which way")
    parser.add_argument("--mission", type=Path, metavar="FILE", help="mission file (default: the bench mission)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="keys file (default: ~/.orbitnode/NODE.keys)")
    parser.add_argument("--replace", action="store_true", help="new: if there are keys, keep them beside the new ones")
    parser.add_argument("--link", default="", metavar="NAME", help="rotate, recover: the [[link]] (default: the first)")
    parser.add_argument(
        "--ahead", type=float, metavar="S", help="recover: seconds that the clock of the node may be ahead of this one"
    )
    add_connection_arguments(parser, by_mission=", ".join(_ONLINE))
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Make, show or change keys. Return 0. Raises OrbitnodeError for whatever is in the way."""
    if (args.direction is None) == (args.action == "rotate"):
        args.parser.error(f"{args.action} takes {_ACTIONS[args.action][0] or 'no words'}")
    if args.replace and args.action != "new":
        args.parser.error("--replace belongs to new")
    for name, value in (("--link", args.link), ("--port", args.port)):
        if value and args.action not in _ONLINE:
            args.parser.error(f"{name} belongs to {' and '.join(_ONLINE)}")
    if args.ahead is not None and (args.action != "recover" or not 0 <= args.ahead <= _AHEAD_MAX_S):
        args.parser.error(f"--ahead belongs to recover, and is 0 to {_AHEAD_MAX_S} seconds")
    # Here and not at the top: it loads most of the flight code, which a mere `--help` need not wait for.
    from flight.mission import MISSIONS, load

    extra = {"ground": GroundConfig} if args.action in _ONLINE else None
    mission = load(MISSIONS / "bench.toml" if args.mission is None else args.mission, extra=extra, opens_devices=False)
    path = keys_path(mission.node.name, args.keys)
    match args.action:
        case "new":
            return _new(mission, path, args.replace, args.json)
        case "add":
            return _add(mission, path, args.json)
        case "show":
            return _show(mission, path, args.json)
        case "revert":
            return _revert(mission, path, args.json)
        case "recover":
            return _recover(mission, args)
        case _:
            return _rotate(mission, path, args)


def _new(mission: Mission, path: Path, replace: bool, as_json: bool) -> int:
    links = link_plans(mission.links)
    if not delivered_spis(links):
        raise OrbitnodeError(f"mission {mission.path} protects no link, so there is nothing to make keys for")
    now = time.gmtime()
    ring = delivered_keys(
        links, lambda _: os.urandom(KEY_OCTETS), node=mission.node.name, spacecraft_id=mission.node.spacecraft_id,
        created=time.strftime(CREATED_FORMAT, now),
    )  # fmt: skip
    with locked(path):
        # Looked at by its name alone: whatever is there, readable or not, may be the keys of a node that flies.
        is_there = os.path.lexists(path)
        if is_there and not replace:
            raise SetupError(f"there are keys at {path} already; --replace makes new ones, and keeps these beside them")
        kept = _dated(path, now) if is_there else None
        write_keys(path, ring, keep_as=kept, is_new=not is_there)
    if as_json:
        print(json_text({"file": str(path), "kept": None if kept is None else str(kept), **_document(mission, ring)}))
        return 0
    print(plain(f"{path}: {counted(len(ring), 'key')} of {ring.node}, spacecraft {ring.spacecraft_id}"))
    if kept is not None:
        print(plain(f"{kept}: the keys that were there before"))
    return 0


def _add(mission: Mission, path: Path, as_json: bool) -> int:
    """Make the keys that the mission lacks, and leave those that are there as they are."""
    links, now = link_plans(mission.links), time.gmtime()
    with locked(path):
        ring = open_keys_of(path, mission.node.name, mission.node.spacecraft_id)
        lacking = lacking_spis(ring, links)
        if not lacking:
            raise OrbitnodeError(f"keys {path} have all that mission {mission.path} needs: there is none to add")
        if taken := [spi for spi in lacking if spi in ring]:
            raise OrbitnodeError(f"key {taken[0]} of {path} is for another association; take it out first")
        if changed_over_the_air(ring):
            # The board would get this file, and go by it after it has lost its record. The next change of key would
            # destroy here what it then goes by, and nothing could bring the two together.
            raise OrbitnodeError(
                f"keys of {path} were changed over the air, and the board's file should be as it was delivered: "
                "go back to that by `orbitnode keys revert`, or begin again by `orbitnode keys new --replace`"
            )
        fresh = delivered_keys(links, lambda _: os.urandom(KEY_OCTETS), created=time.strftime(CREATED_FORMAT, now))
        for key in fresh:
            if key.key_id in lacking:
                ring.put(key)
        kept = _dated(path, now)
        write_keys(path, ring, keep_as=kept)
    if as_json:
        print(json_text({"file": str(path), "kept": str(kept), "added": lacking, **_document(mission, ring)}))
        return 0
    print(plain(f"{path}: {counted(len(lacking), 'key')} added, for "
                f"{', '.join(key_text(spi, links) for spi in lacking)}"))  # fmt: skip
    print(plain(f"{kept}: the keys that were there before"))
    print("the board needs the same file; start the node and the ground again")
    return 0


def _dated(path: Path, now: time.struct_time) -> Path:
    """Return a name under which what was at `path` can be kept, which nothing has yet."""
    name = f"{path.name}.{time.strftime(_STAMP, now)}"
    kept, count = path.with_name(name), 1
    while os.path.lexists(kept):  # of the same second
        count += 1
        kept = path.with_name(f"{name}-{count}")
    return kept


def _revert(mission: Mission, path: Path, as_json: bool) -> int:
    """Make the keys of delivery those that carry again. The node is not asked."""
    now = time.gmtime()
    with locked(path):
        kept = _dated(path, now)
        ring = reverted(_checked(mission, path, allow_simulated=True), time.strftime(CREATED_FORMAT, now))
        with closing(SecurityFile(path)) as record:
            numbers = _dated(path.with_name(path.name + SUFFIX), now)
            had_numbers = record.set_aside(numbers)
            write_keys(path, ring, keep_as=kept)
    next_steps = _after_reversion(mission)
    if as_json:
        print(json_text({"file": str(path), "kept": str(kept), "numbers_kept": str(numbers) if had_numbers else None,
                         "next": next_steps, **_document(mission, ring)}))  # fmt: skip
        return 0
    print(plain(f"{path}: the keys of delivery carry again"))
    print(plain(f"{kept}: the keys that were there before"))
    if had_numbers:
        print(plain(f"{numbers}: the numbers that were used with them"))
    print("next, the last at once, since a key that was changed may be known to others:")
    for step in next_steps:
        print(plain(f"  {step}"))
    return 0


def _after_reversion(mission: Mission) -> list[str]:
    plans = link_plans(mission.links)
    protected = [plan for plan in plans if plan.up or plan.down]
    steps = ["orbitnode ground"]
    for command, concerned in (
        ("recover", protected),
        ("rotate up", [plan for plan in protected if plan.up]),
        ("rotate down", [plan for plan in protected if plan.down]),
    ):
        # Without --link it is the first link of the mission.
        steps += [f"orbitnode keys {command}" + ("" if plan is plans[0] else f" --link {plan.name}")
                  for plan in concerned]  # fmt: skip
    return steps


def _show(mission: Mission, path: Path, as_json: bool) -> int:
    ring = open_keys(path)
    document = _document(mission, ring)
    if as_json:
        print(json_text({"file": str(path), **document}))
    else:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("key", "use", "SPI", "state", "fingerprint", "created"):
            table.add_column(column, justify="right" if column in ("key", "SPI") else "left")
        for key in document["keys"]:
            spi = "-" if key["spi"] is None else str(key["spi"])
            created = key["created"] or "not known"
            table.add_row(str(key["id"]), plain(key["use"]), spi, key["state"], key["fingerprint"], created)
        of = "a simulation, " if ring.simulated else ""
        output().print(plain(f"{path}: {of}{ring.node}, spacecraft {ring.spacecraft_id}"), soft_wrap=True, markup=False)
        output().print(table)
    # Last, so that what is there is seen even if it is not what the mission needs.
    _check_carrying(mission, path, _checked(mission, path))
    return 0


def _check_carrying(mission: Mission, path: Path, ring: Keyring) -> None:
    """Raise SetupError for whatever of the mission no key carries; say which one does if that is not plain to see."""
    faults, links = [], link_plans(mission.links)
    for (place, use), keys in active_keys(ring, links).items():
        name = f"{links[place].name} {use.value}"
        if not keys:
            faults.append(f"none of its keys for {name} is active, so nothing carries it")
        elif len(keys) > 1:
            ids = " and ".join(str(key.key_id) for key in keys)
            rotate = f"rotate {use.value}" + (f" --link {links[place].name}" if place else "")
            again = "" if use is KeyUse.VOLATILE else f"; `orbitnode keys {rotate}` takes the others out"
            text = f"{name}: keys {ids} are active, {keys[-1].key_id} carries, which is the newest{again}"
            print(plain(f"orbitnode: {text}"), file=sys.stderr)
    if faults:
        raise SetupError(
            f"keys {path}: {'; '.join(faults)}: take the copy from the safe, or go back to the keys of delivery by "
            "`orbitnode keys revert`"
        )


def _checked(mission: Mission, path: Path, *, allow_simulated: bool = False) -> Keyring:
    node = mission.node
    return read_keys(path, node.name, node.spacecraft_id, link_plans(mission.links), allow_simulated=allow_simulated)


def _document(mission: Mission, ring: Keyring) -> dict[str, Any]:
    """Return what may be said of the keys."""
    links = link_plans(mission.links)
    carrying = {keys[-1].key_id for keys in active_keys(ring, links).values() if keys}
    keys = [
        {
            "id": key.key_id, "use": key_text(key.spi, links), "spi": key.spi or None, "state": key.state.text,
            "carries": key.key_id in carrying, "fingerprint": key.fingerprint.hex(), "created": key.created,
        }
        for key in ring
    ]  # fmt: skip
    return {"node": ring.node, "spacecraft_id": ring.spacecraft_id, "simulated": ring.simulated, "keys": keys}


def _rotate(mission: Mission, path: Path, args: argparse.Namespace) -> int:
    link = chosen_link(mission, args.link)
    use = KeyUse(args.direction)
    if (link.config.up_suite if use is KeyUse.UP else link.config.down_suite) is None:
        name = f"{use.value}link_security"
        raise OrbitnodeError(f'link {link.name} has no key {use.value} to change: {name} of {mission.path} is "clear"')
    ring = _checked(mission, path, allow_simulated=True)
    show = partial(_show_step, args.json)
    with _connected(mission, args) as (transport, ground):
        _check_reach(ground, link.name, use)
        master = ring.get(MASTER_KEY_ID)
        if master is not None and ground.master != master.fingerprint.hex():
            raise OrbitnodeError(
                f"the ground on port {_port(mission, args)} goes by other keys than {path}; name its file with --keys, "
                "or start it again if the file was exchanged"
            )
        rotate_over(transport, mission, path, mission.links.index(link), use, show)
    return 0


@contextmanager
def _connected(mission: Mission, args: argparse.Namespace) -> Iterator[tuple[ApiTransport, GroundIdentity]]:
    """Connect to the ground of the mission, and to no other. Raises OrbitnodeError."""
    port = _port(mission, args)
    with closing(ApiTransport(port)) as transport:
        ground = transport.identity()
        node = mission.node
        if (ground.node, ground.spacecraft_id) != (node.name, node.spacecraft_id):
            theirs, ours = ground.node, node.name
            if theirs == ours:
                theirs, ours = (f"{ours}, spacecraft {each.spacecraft_id}" for each in (ground, node))
            raise OrbitnodeError(
                f"the ground on port {port} is of {theirs}, the keys are of {ours}; name its port with --port, or its "
                "mission with --mission"
            )
        if ground.idle_by_hand:
            raise OrbitnodeError(
                "the command link is manual and down, nothing goes up: `orbitnode link auto` lets the ground lead it "
                "again, `orbitnode link initiate` brings it up by hand"
            )
        yield transport, ground


def _port(mission: Mission, args: argparse.Namespace) -> int:
    config: GroundConfig = mission.sections["ground"]
    return config.api_port if args.port is None else int(args.port)


def _check_reach(ground: GroundIdentity, link: str, use: KeyUse) -> None:
    """Raise OrbitnodeError if the ground neither sends, nor hears, by the key that is to be changed."""
    # The proof of a new key is a frame that goes by it. Over another link the proof would be of nothing.
    if use is KeyUse.UP and link != ground.link:
        raise OrbitnodeError(f"this ground commands over {ground.link}; start it with --link {link}")
    if use is KeyUse.DOWN and link not in (ground.link, *ground.hears):
        raise OrbitnodeError(f"this ground does not listen to {link}; start it with --link {link}")


def _show_step(as_json: bool, text: str) -> None:
    print(json_text({"step": text}) if as_json else plain(text), flush=True)


def _recover(mission: Mission, args: argparse.Namespace) -> int:
    """Set the numbers of a link again at both ends. The keys file is not touched."""
    link = mission.links.index(chosen_link(mission, args.link))
    tai_ns = BUILT_IN.tai_from_unix(time.time_ns())
    recovery = NumbersRecovery(link_plans(mission.links), link, clock_number(tai_ns + ns(args.ahead or 0.0)))
    with _connected(mission, args) as (transport, _):
        carry_out(recovery, transport, lambda: None, partial(_show_step, args.json))
    return 0


def rotate_over(
    transport: RotationTransport, mission: Mission, path: Path, link: int, use: KeyUse, show: Callable[[str], None]
) -> None:
    """Change the key of one direction of the mission's link `link`, counted from 0, with the keys file at `path`.

    show: is given what each step is for. Raises OrbitnodeError if the file, or one of the ends, is in the way.
    """
    created = time.strftime(CREATED_FORMAT, time.gmtime())
    with locked(path):
        ring = _checked(mission, path, allow_simulated=True)
        rotation = KeyRotation(ring, link, use, random=os.urandom, created=created)
        show(rotation.changes)
        try:
            carry_out(rotation, transport, lambda: write_keys(path, ring), show)
        finally:
            ring.wipe()
