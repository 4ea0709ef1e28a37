"""The options by which `orbitnode decode` is told what a recording holds, and their translation to LinkOptions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ground.recording.streams.link_options import LinkOptions

_FORMS = ("auto", "units", "frames", "packets", "encapsulation")
# On the command line without parentheses, which a shell would take for its own.
_CODINGS = {"none": "none", "rs223": "rs(255,223)", "rs239": "rs(255,239)"}


def add_link_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that describe a recording. None of them is needed: what is not given is detected."""
    group = parser.add_argument_group(
        "what the recording holds", "detected from the data unless given here; a mission file says all of it"
    )
    group.add_argument(
        "--as", dest="form", choices=_FORMS, default="auto",
        help="coded units with markers, bare transfer frames, space packets, or encapsulation packets",
    )  # fmt: skip
    group.add_argument(
        "--encapsulation", dest="form", action="store_const", const="encapsulation", help="short for --as encapsulation"
    )
    group.add_argument("--service", choices=("tm", "aos"), help="kind of transfer frame: TM (132.0-B) or AOS (732.0-B)")
    group.add_argument("--frame-octets", type=int, metavar="N", help="length of a transfer frame")
    yes_no = argparse.BooleanOptionalAction  # three states: --fecf, --no-fecf, or None, which is detected
    group.add_argument("--fecf", action=yes_no, default=None, help="frames end with error control (CRC-16)")
    group.add_argument("--ocf", action=yes_no, default=None, help="AOS frames have an operational control field")
    group.add_argument("--insert-octets", type=int, metavar="N", help="length of the insert zone of AOS frames")
    group.add_argument("--header-control", action=yes_no, default=None, help="AOS frames have header error control")
    group.add_argument("--spacecraft", type=_number, metavar="ID", help="take frames of this spacecraft only")
    group.add_argument(
        "--vcid",
        type=_number,
        action="append",
        metavar="N",
        help="take frames of this virtual channel only; repeatable",
    )
    group.add_argument("--coding", choices=tuple(_CODINGS), help="Reed-Solomon code of units: (255,223) or (255,239)")
    group.add_argument("--interleave", type=int, metavar="N", help="codewords per unit")
    group.add_argument(
        "--randomizer", choices=("none", "short", "long"), help="sequence of 255 bits, or of 131,071 bits (131.0-B-5)"
    )
    group.add_argument(
        "--convolutional", action=yes_no, default=None, help="units are convolutionally coded (rate 1/2)"
    )
    group.add_argument(
        "--security-header", type=int, default=0, metavar="OCTETS",
        help="length of a security header in every frame, passed over (355.0-B)",
    )  # fmt: skip
    group.add_argument(
        "--security-trailer", type=int, default=0, metavar="OCTETS",
        help="length of a security trailer in every frame, passed over (355.0-B)",
    )  # fmt: skip
    group.add_argument("--skip", type=int, metavar="N", help="octets in front of every packet of a file of packets")
    group.add_argument("--any-version", action="store_true", help="take packets of any version number")
    group.add_argument(
        "--segments", choices=("join", "keep"), help="join segments to whole packets, or keep them as they are"
    )


def link_options(args: argparse.Namespace) -> LinkOptions:
    """Return the options that were given. Ends the command with status 2 if they contradict one another."""
    from ground.recording.detection.stated_options import contradictions
    from ground.recording.streams.link_options import Form, LinkOptions, Service

    options = LinkOptions(
        form=None if args.form == "auto" else Form(args.form),
        service=None if args.service is None else Service(args.service),
        frame_octets=args.frame_octets,
        has_fecf=args.fecf,
        has_ocf=args.ocf,
        insert_octets=args.insert_octets,
        has_header_control=args.header_control,
        spacecraft_id=args.spacecraft,
        vcids=None if args.vcid is None else tuple(args.vcid),
        coding=None if args.coding is None else _CODINGS[args.coding],
        interleave=args.interleave,
        randomizer=args.randomizer,
        convolutional=args.convolutional,
        skip_octets=args.skip,
        any_version=args.any_version,
        # --packets writes octets as they came; a joined packet has a header that does not say its length.
        joins_segments=False if args.packets is not None else {"join": True, "keep": False}.get(args.segments),
        security_header_octets=args.security_header,
        security_trailer_octets=args.security_trailer,
    )
    faults = options.faults() + contradictions(options)
    if args.segments == "join" and args.packets is not None:
        faults.append("--segments join contradicts --packets, which writes packets as they came")
    if faults:
        args.parser.error("; ".join(faults))
    return options


def _number(text: str) -> int:
    """Read a decimal number, or 0x and hexadecimal digits, as spacecraft ids are often written."""
    return int(text, 0)
