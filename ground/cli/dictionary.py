"""`orbitnode dictionary`: telemetry, commands, events and parameters of a mission, as XTCE, JSON or for Yamcs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from flight.contract.dictionary import Dictionary
from flight.core.errors import OrbitnodeError, UsageError, reason_of
from flight.text.plain_text import json_text, plain
from ground.whole_file import whole_file

# The document of a node that flies is not that of today's code (ADR 0005): keep what `--json` wrote when the node was
# built, and give it to `orbitnode ground --dictionary`. In either form the same mission always gives the same octets:
# a difference between two files is a difference between two nodes.

HELP = "write the mission's dictionary as XTCE or JSON, or the configuration of a Yamcs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode dictionary`."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--xtce", action="store_true", help="XTCE 1.2, for other ground systems (the default)")
    form.add_argument("--json", action="store_true", help="the dictionary document itself")
    form.add_argument(
        "--yamcs", type=Path, metavar="DIR", help="a folder with all that a Yamcs needs to be the ground of the node"
    )
    parser.add_argument("--link", default="", metavar="NAME", help="with --yamcs: its link (default: the first)")
    parser.add_argument("--mission", type=Path, metavar="FILE",
                        help="mission file (default: orbit.toml, with --yamcs yamcs.toml)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to the terminal")


def execute(args: argparse.Namespace) -> int:
    """Write the dictionary and return 0. Raises OrbitnodeError if the mission cannot be read or the file written."""
    # Here and not at the top: these load most of the flight code, which a mere `--help` need not wait for.
    from flight.catalogue import dictionary_of
    from flight.mission import MISSIONS, load
    from ground.xtce.document import xtce_document

    path = MISSIONS / "orbit.toml" if args.mission is None else args.mission
    if args.yamcs is not None:
        return _write_yamcs(args)
    if args.link:
        raise UsageError("--link goes with --yamcs")
    dictionary = dictionary_of(load(path, opens_devices=False))
    # What a terminal shows has everything invisible written by its number; a file is written as it is.
    if args.out is None:
        if args.json:
            print(json_text(dictionary.document(), indent=1))
        else:
            sys.stdout.write(plain_xml(xtce_document(dictionary), sys.stdout.encoding or "utf-8"))
        return 0
    if args.json:
        text = json.dumps(dictionary.document(), indent=1, ensure_ascii=False) + "\n"
    else:
        text = xtce_document(dictionary)
    with whole_file(args.out) as stream:
        stream.write(text.encode(errors="xmlcharrefreplace"))
    return 0


def _write_yamcs(args: argparse.Namespace) -> int:
    """Write the folder of a Yamcs instance and say what to do with it."""
    from flight.mission import MISSIONS, load
    from ground.config import GroundConfig
    from ground.yamcs.configuration import HTTP_PORT, instance_files
    from ground.yamcs.folder import write_instance
    from ground.yamcs.instance import yamcs_instance

    if args.out is not None:
        raise UsageError("--out goes with --xtce and --json; --yamcs names its folder itself")
    path = MISSIONS / "yamcs.toml" if args.mission is None else args.mission
    mission = load(path, {"ground": GroundConfig}, opens_devices=False)
    instance = yamcs_instance(mission, args.link)
    write_instance(args.yamcs, instance_files(instance))
    ports = instance.ports
    where = f"TM on UDP {ports.listen_port}, TC to {ports.node_host}:{ports.node_port}"
    print(plain(f"{args.yamcs}: Yamcs instance {instance.name}, {where}"))
    print(plain(f"start Yamcs in that folder (yamcsd --etc-dir etc), then open http://127.0.0.1:{HTTP_PORT}"))
    for note in instance.notes:
        print(plain(f"note: {note}"), file=sys.stderr)
    return 0


def plain_xml(document: str, encoding: str = "utf-8") -> str:
    """Return the document for a terminal of that encoding, still the same XML.

    A character that cannot be seen, or that the encoding lacks, such as the degree sign of a unit, becomes a numeric
    character reference.
    """
    seen = "".join(c if c.isprintable() or c in "\n\t" else f"&#{ord(c)};" for c in document)
    return seen.encode(encoding, "xmlcharrefreplace").decode(encoding)


def read_dictionary(path: Path) -> Dictionary:
    """Return the dictionary in a JSON file that `--json` wrote. Raises OrbitnodeError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OrbitnodeError(f"dictionary {path} cannot be read: {reason_of(error)}") from None
    except (ValueError, RecursionError):
        raise OrbitnodeError(f"dictionary {path} is not JSON; `orbitnode dictionary --json` writes one") from None
    try:
        return Dictionary.from_document(document)
    except OrbitnodeError as error:
        raise OrbitnodeError(f"{path}: {error}") from None
