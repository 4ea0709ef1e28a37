"""The part of a soak's account that is about link security: every counter of both ends, and what forged frames met."""

# The rows of a direction that is in clear are there as well: there everything must be 0.
#
# What is checked, and checked again after a wait, is counted twice by `checked`, and each look that led to a wait once
# by `check_waits`. So the looks that ended are the difference, and each of these frames is accepted.

from __future__ import annotations

from typing import Any

from flight.link.security.associations import End
from flight.link.security.link_security import REASONS
from sim_hw.soak.attacker import Forgery
from sim_hw.soak.downlink_ledger import RECEIVED
from sim_hw.soak.ends import SecurityEnd
from sim_hw.soak.findings import Row
from sim_hw.soak.link_soak import LinkSoak
from sim_hw.soak.uplink_ledger import FARM_RESULTS, UNFOUND

# What the session refuses a frame for after link security has taken it.
_AFTER_CHECK = ("vcid", "pointer", "repeated")


def security_rows(soak: LinkSoak) -> list[Row]:
    """Return the rows of both ends' counters; none if the link is clear both ways."""
    if not soak.config.is_protected:
        return []
    up, down = soak.config.up_suite is not None, soak.config.down_suite is not None
    node, ground, totals = soak.node, soak.ground, soak.ground.totals
    taken_up = sum(soak.up.fates[name] for name in FARM_RESULTS) if up else 0
    taken_down = 0
    if down:
        refused_later = sum(soak.down.rejected(f"rejected: {reason}") for reason in _AFTER_CHECK)
        taken_down = soak.down.fates[RECEIVED] + refused_later + soak.down.open_late
    skips = totals["restarts"] + ground.skips if up else 0
    refused_up = {reason: soak.up.rejected(f"rejected: {reason}") for reason in REASONS if up}
    # On the way down frames of another length end before link security.
    refused_down = {r: soak.down.rejected(f"rejected: {r}") for r in REASONS if down and r != "length"}
    return [
        *_sender(End.NODE, node.security, node.totals, soak.down.frames_made if down else 0),
        *_receiver(End.NODE, node.totals, taken_up, node.frame_waits, 0, refused_up),
        Row("node security: skips", 0, node.totals["security.skips"]),
        Row("node security: skips refused", 0, node.totals["security.skips_refused"]),
        *_sender(End.GROUND, ground.security, totals, sum(soak.up.kinds.values()) if up else 0),
        *_receiver(End.GROUND, totals, taken_down, soak.down.waits, soak.down.waits_slack, refused_down),
        Row("ground security: skips, by restarts and by reports", skips, totals["security.skips"]),
        Row(
            "ground security: skips for reports, done and refused", soak.down.words.numbers_reported,
            ground.skips + totals["security.skips_refused"],
        ),
    ]  # fmt: skip


def _sender(end: End, store: SecurityEnd, totals: Any, protected: int) -> list[Row]:
    """Return the rows of what an end sends, and of its store."""
    name = f"{end.name.lower()} security"
    ended = store.durable + store.cut + store.in_flight
    return [
        Row(f"{name}: frames protected", protected, totals["security.protected"]),
        *(
            Row(f"{name}: {counter}", 0, totals[f"security.{counter}"])
            for counter in ("protected_volatile", "waiting", "exhausted", "store_failures")
        ),
        Row(f"{name}: stores", store.asked, totals["security.stores"]),
        Row(f"{name}: stores durable, cut off, under way", store.asked, ended),
    ]


def _receiver(end: End, totals: Any, taken: int, waits: int, slack: int, refused: dict[str, int]) -> list[Row]:
    """Return the rows of what an end receives: taken, made to wait, and refused by reason."""
    name = f"{end.name.lower()} security"
    return [
        Row(f"{name}: looks that led to a wait", waits, totals["security.check_waits"], slack),
        Row(f"{name}: checked", taken + totals["security.check_waits"], totals["security.checked"]),
        Row(f"{name}: accepted", taken, totals["security.accepted"]),
        *(
            Row(f"{name}: refused, {reason}", refused.get(reason, 0), totals[f"security.refused: {reason}"])
            for reason in REASONS
        ),
    ]


def forgery_rows(soak: LinkSoak) -> list[Row]:
    """Return the rows of forged frames; none if nobody forges."""
    if not soak.plan.forged:
        return []
    rows: list[Row] = []
    for way, ledger in (("up", soak.up), ("down", soak.down)):
        sent = sum(soak.attacker.sent[way, kind] for kind in Forgery)
        refused = sum(n for fate, n in ledger.forged_fates.items() if fate.startswith("rejected: "))
        # What neither was refused nor could be found in the pieces of a damaged unit before it has another fate, such
        # as one that FARM-1 gives.
        unseen = ledger.forged_fates[UNFOUND] + ledger.forged_fates[_off(way)] + ledger.open_forged
        rows += [
            Row(f"forged {way}: by fate, and under way", sent, sum(ledger.forged_fates.values()) + ledger.open_forged),
            Row(f"forged {way}: refused, of those that were found", sent - unseen, refused),
        ]
    return rows


def _off(way: str) -> str:
    return "node off" if way == "up" else "ground off"


def security_figures(soak: LinkSoak) -> dict[str, Any]:
    """Return figures by name, JSON-ready."""
    figures: dict[str, Any] = {}
    for name, end in (("node", soak.node.security), ("ground", soak.ground.security)):
        figures[name] = {"stores": end.asked, "durable": end.durable, "cut_off": end.cut}
    figures["node"] |= {"frames_waited": soak.node.frame_waits, "units_waited": soak.node.unit_waits}
    figures["ground"] |= {
        "frames_waited": soak.down.waits, "skips_after_restarts": soak.ground.totals["restarts"],
        "skips_after_reports": soak.ground.skips,
        "skips_refused": soak.ground.totals["security.skips_refused"],
    }  # fmt: skip
    for way, ledger in (("up", soak.up), ("down", soak.down)):
        figures[f"forged_{way}"] = {
            "sent": {kind.value: soak.attacker.sent[way, kind] for kind in Forgery if soak.attacker.sent[way, kind]},
            "became": dict(sorted(ledger.forged_fates.items())),
        }
    return figures
