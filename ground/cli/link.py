"""`orbitnode link`: the command link by hand; see how COP-1 is, and give it directives."""

from __future__ import annotations

import argparse
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.text.plain_text import json_text
from ground.cli.api.client import GroundClient, add_connection_arguments, age, output
from ground.link.cop1.directive_values import directive_of

# The ground leads the link by itself. A directive that starts or ends the AD service or moves V(S) makes the link
# manual, and only `auto` ends that (ground/link/ad_service.py). So each answer shows the whole state, its mode first:
# an operator must see at once that the link now waits for them.
#
# What no link takes is wrong use, and told without a ground. What depends on the link is the ground's to refuse.

HELP = "see the command link, and lead COP-1 by hand"

_ACTIONS = {
    "status": ("", "show the link; without an action as well"),
    "auto": ("", "let the ground lead the link again"),
    "initiate": ("", "bring the AD service up without a check"),
    "initiate-clcw": ("", "the same, once a CLCW says N(R) = V(S)"),
    "initiate-unlock": ("", "the same, once the node has taken Unlock"),
    "initiate-set-vr": ("V", "the same, once the node has set V(R) to V"),
    "terminate": ("", "end the AD service"),
    "resume": ("", "go on after T1 has suspended the service"),
    "set-vs": ("V", "set V(S), while there is no AD service"),
    "set-window": ("K", "frames under way at most"),
    "set-t1": ("SECONDS", "timer T1, from its next start on"),
    "set-limit": ("N", "transmissions of a frame at most"),
    "set-timeout-type": ("0|1", "when T1 has run out for the last time: 0 alert, 1 suspend"),
}
_STATES = {
    "S1": "active", "S2": "retransmit", "S3": "retransmit, node has no buffer", "S4": "awaits a CLCW",
    "S5": "control command under way", "S6": "no AD service",
}  # fmt: skip
_FLAGS = ("lockout", "wait", "retransmit", "no_rf", "no_bit_lock")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `orbitnode link`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(
        ["actions:", *(f"  {f'{name} {word}':20} {text}" for name, (word, text) in _ACTIONS.items())]
    )
    parser.add_argument("action", nargs="?", default="status", choices=_ACTIONS, metavar="ACTION",
                        help="status (default), auto, or a directive, see below")  # fmt: skip
    parser.add_argument("value", nargs="?", type=float, metavar="VALUE", help="the directive's number")
    add_connection_arguments(parser)
    parser.set_defaults(parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Do the action and show the link. Return 0; raises OrbitnodeError if the ground refuses it."""
    word = _ACTIONS[args.action][0]
    if (args.value is None) == bool(word):
        args.parser.error(f"{args.action} takes {word or 'no value'}")
    if word:
        try:
            directive_of(args.action, args.value)
        except OrbitnodeError as error:
            args.parser.error(str(error).removeprefix("link: "))
    value = {} if args.value is None else {"value": args.value}
    with GroundClient(args.port, faithful=args.json) as client:
        link: dict[str, Any] = client.ask(do="link", action=args.action, **value)["link"]
    if args.json:
        print(json_text(link))
    elif "mode" not in link:
        raise OrbitnodeError("nothing can be sent over this link: there is no AD service to lead")
    else:
        _show(link)
    return 0


def _show(link: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(link):
        table.add_row(name, text)
    output().print(table)


def _rows(link: dict[str, Any]) -> list[tuple[str, str]]:
    state = link["fop_state"]
    suspended = f", suspended from {link['suspended']}: `resume`" if link["suspended"] else ""
    proof = ", no CLCW shows yet that the node took it" if link["proof_pending"] else ""
    timer = "stands" if link["timer_s"] is None else f"runs out in {link['timer_s']:.1f} s"
    after = "suspend" if link["timeout_type"] else "alert"
    tries = f"sent {link['transmissions']} of {link['transmission_limit']} times, then {after}"
    manual = "" if link["mode"] == "automatic" else ": the ground waits for directives, or `auto`"
    return [
        ("mode", link["mode"] + manual),
        ("contact", "yes" if link["contact"] else "no"),
        ("AD service", link["service"]),
        ("FOP-1", f"{state} {_STATES.get(state, '')}{suspended}{proof}"),
        ("numbers", f"V(S) {link['vs']}, NN(R) {link['nnr']}"),
        ("frames", f"{link['sent_queue']} of {link['window']} not acknowledged, {link['wait_queue']} in the queue"),
        ("commands", f"{link['waiting']} waiting, {link['undecided']} frames undecided"),
        ("T1", f"{link['t1_s']:g} s, {timer}; {tries} (type {link['timeout_type']})"),
        ("CLCW", _clcw(link)),
        ("alerts", str(link["alerts"]) + (f", the last: {link['last_alert']}" if link["last_alert"] else "")),
    ]


def _clcw(link: dict[str, Any]) -> str:
    clcw = link["clcw"]
    if clcw is None:
        return "none yet"
    flags = [name.replace("_", " ") for name in _FLAGS if clcw[name]]
    numbers = f"N(R) {clcw['report_value']}, FARM-B {clcw['farm_b_counter']}, channel {clcw['vcid']}"
    return f"{numbers}, {', '.join(flags) or 'no flag set'}, {age(link['clcw_age_s'])} ago"
