"""The account of a soak: every counter of both ends beside what it should be, and what became of each unit."""

# The ledgers know what was sent and what the channel did to it; the counters are those of the flying code. Each row of
# the account sets one beside the other. Both sides of a row come from different places, so a frame that vanished, came
# twice or was counted twice shows as a row that does not hold.
#
# A row holds within its `slack`, which is 0 as a rule. It is more only for what the decoders corrected, once a damaged
# unit was not found in its place: then nobody outside can tell how its pieces were read.

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sim_hw.soak.commands import State
from sim_hw.soak.downlink_ledger import RECEIVED
from sim_hw.soak.findings import Row
from sim_hw.soak.link_soak import LinkSoak
from sim_hw.soak.security_account import forgery_rows, security_figures, security_rows
from sim_hw.soak.uplink_ledger import FARM_RESULTS, REFUSED, UNDER_WAY, UNFOUND, Kind
from sim_hw.world.channel import Fate

_ENDED = (State.ACKNOWLEDGED, State.LOST, State.REJECTED)
_REASONS_MAX = 10  # for which commands were lost, the most frequent first


@dataclass(frozen=True, slots=True)
class Account:
    """What came of a soak that has ended: its rows, findings, and figures by name, JSON-ready."""

    rows: tuple[Row, ...]
    findings: tuple[str, ...]
    findings_total: int
    figures: dict[str, Any]

    @property
    def unfinished(self) -> str:
        """What the link had no time for, one sentence; "" if every command ended. Its account adds up all the same."""
        commands = self.figures["commands"]
        count = commands["open"] + commands["not sent"]
        if not count:
            return ""
        return (
            f"{count:,} of {commands['asked']:,} commands had not ended when the time was over: the link carries too "
            "little; ask for more --hours, fewer --commands, or less of --ber and --drop"
        )

    @property
    def failures(self) -> list[str]:
        """Everything that does not add up, one sentence each."""
        wrong = [f"{row.text}: {row.counted:,}, should be {row.right}" for row in self.rows if not row.holds]
        more = self.findings_total - len(self.findings)
        return wrong + list(self.findings) + ([f"findings that are not listed: {more:,}"] if more else [])


def account_of(soak: LinkSoak) -> Account:
    """Close the books of a soak: both ends' lives end with it."""
    soak.finish()
    rows = (*_commands(soak), *_up(soak), *_node(soak), *_down(soak), *_ground(soak), *_packets(soak), *_coding(soak),
            *security_rows(soak), *forgery_rows(soak))  # fmt: skip
    return Account(rows, tuple(soak.findings.texts), soak.findings.total, _figures(soak))


def _commands(soak: LinkSoak) -> list[Row]:
    states, ground, plan = soak.commands.states(), soak.ground.totals, soak.plan
    arrived = sum(command.arrivals > 0 for command in soak.commands.commands)
    ended = [command for command in soak.commands.commands if command.state in _ENDED]
    lost_with_ground = sum(c.reason == soak.ground.LOST_WITH_GROUND for c in soak.commands.commands)
    rows = [
        Row("commands that ended: acknowledged or lost", len(ended), states["acknowledged"] + states["lost"]),
        Row("commands that arrived, each once", arrived, soak.commands.arrivals),
        Row("session: commands", plan.commands - states["not sent"], ground["commands"]),
        Row("session: acknowledged", states["acknowledged"], ground["acknowledged"]),
        Row("session: rejected", states["rejected"], ground["rejected"]),
        Row("session: lost", states["lost"] - lost_with_ground, ground["lost"]),
    ]
    if not plan.reboots:
        ended_and_arrived = sum(command.arrivals > 0 for command in ended)
        rows.append(Row("commands that ended and arrived, without any reboot", len(ended), ended_and_arrived))
    return rows


def _up(soak: LinkSoak) -> list[Row]:
    up, ground, channel = soak.up, soak.ground.totals, soak.air.up.channel
    kinds, fates = up.kinds, up.cltu_fates
    return [
        Row("session: CLTUs", up.cltus, ground["cltus"]),
        Row("session: retransmissions", kinds[Kind.REPEATED], ground["retransmissions"]),
        Row("session: bypass", 0, ground["bypass"]),
        Row("session: alerts", sum(soak.ground.alerts.values()), ground["alerts"]),
        Row("transmitter: CLTUs taken", up.offered, channel.counters.accepted),
        Row("transmitter: CLTUs refused", fates[REFUSED], channel.counters.refused),
        Row("channel: CLTUs dropped", fates[Fate.DROPPED.value], channel.counters.dropped),
        Row("channel: CLTUs cut", fates[Fate.CUT.value], channel.counters.lost - channel.counters.dropped),
        Row("frames up by fate, and under way", sum(kinds.values()), sum(up.fates.values()) + up.open_fates),
    ]


def _node(soak: LinkSoak) -> list[Row]:
    """Return the rows of the node's receiver and of FARM-1: each counter of theirs."""
    up, node = soak.up, soak.node.totals
    rejected = [name for name in node if name.startswith("rejected")]
    rows = [Row(f"FARM-1: {name}", up.fates[name], node[f"farm.{name}"]) for name in FARM_RESULTS]
    rows += [Row(f"node: {name}", up.results[name], node[name]) for name in rejected]
    by_fate = sum(up.rejected(name) for name in rejected)
    return [
        *rows,
        Row("FARM-1: lockouts", up.fates["outside_window"], node["farm.lockouts"]),
        Row("node: rejected, by frame and by fragment", by_fate, sum(node[name] for name in rejected)),
        Row("node: frames for FARM-1", sum(up.fates[name] for name in FARM_RESULTS), node["tc_frames"]),
        Row("node: packets", soak.commands.arrivals, node["tc_packets"]),
        Row("node: units of the receiver", up.units, node["cltus"] + node["rejected: cltu"], up.units_slack),
        Row("node: wrong bits corrected", up.corrected_bits, node["cltu_corrected"], up.corrected_slack),
    ]  # fmt: skip


def _down(soak: LinkSoak) -> list[Row]:
    down, channel, node = soak.down, soak.air.down.channel, soak.node.totals
    fates = down.fates
    return [
        Row("node: frames made, sent and forgotten", down.offered + soak.node.discarded, node["units_sent"]),
        Row("channel: frames taken", down.offered, channel.counters.accepted),
        Row("channel: frames dropped", fates[Fate.DROPPED.value], channel.counters.dropped),
        Row("channel: frames cut", fates[Fate.CUT.value], channel.counters.lost - channel.counters.dropped),
        Row("channel: frames with wrong bits", down.with_errors + down.damaged_unheard, channel.counters.with_errors),
        Row("frames by fate, and under way", down.offered, sum(fates.values()) + down.open_fates),
    ]


def _ground(soak: LinkSoak) -> list[Row]:
    down, ground = soak.down, soak.ground.totals
    rejected = [name for name in ground if name.startswith("rejected: ")]
    by_fate = sum(down.rejected(name) for name in rejected)
    return [
        Row("session: frames", down.fates[RECEIVED], ground["frames"]),
        Row("session: CLCWs", down.words.clcws, ground["clcws"]),
        Row("session: CLCWs that do not decode", 0, ground["clcws_invalid"]),
        Row("session: frame security reports that say something new", down.words.reports, ground["reports"]),
        Row("session: frame security reports that do not decode", 0, ground["reports_invalid"]),
        Row("session: idle frames", down.idle_received, ground["idle_frames"]),
        Row("session: rejected", by_fate, sum(ground[name] for name in rejected)),
        Row("session: frames missed", soak.ground.gaps, ground["frames_missed"]),
        Row(
            "session: gaps, by frames that got lost",
            down.counts.missed_expected,
            soak.ground.gaps - down.counts.missed_unknown,
        ),
        Row("session: restarts of the node", down.counts.restarts_noticed, ground["restarts"]),
    ]  # fmt: skip


def _packets(soak: LinkSoak) -> list[Row]:
    down, node, end = soak.down, soak.node.totals, soak.node
    return [
        Row("node: telemetry packets refused", end.packets_refused, node["packets_refused"]),
        Row("session: packets, those that came whole", down.packets_expected, soak.ground.totals["packets"]),
        Row(
            "telemetry packets: whole, broken, forgotten, under way", node["packets_queued"],
            down.packets_expected + down.packets_broken + end.packets_forgotten + down.open_packets,
        ),
    ]  # fmt: skip


def _coding(soak: LinkSoak) -> list[Row]:
    """Return the rows of the Reed-Solomon decoder, if there is one."""
    coding, down, ground = soak.config.tm_coding, soak.down, soak.ground.totals
    if coding is None or not coding.parity:
        return []
    unseen = down.fates[UNFOUND] + down.fragments
    slack = coding.interleave * unseen
    units = ground["frames"] + sum(n for name, n in ground.items() if name.startswith("rejected: "))
    symbols_slack = slack * coding.parity // 2
    return [
        Row("decoder: codewords", coding.interleave * units, ground["decoder.codewords"], slack),
        Row(
            "decoder: codewords that cannot be corrected", down.corrections.uncorrectable - slack,
            ground["decoder.codewords_uncorrectable"], 2 * slack,
        ),
        Row(
            "decoder: codewords corrected", down.corrections.corrected - slack,
            ground["decoder.codewords_corrected"], 2 * slack,
        ),
        Row(
            "decoder: symbols corrected", down.corrections.symbols - symbols_slack,
            ground["decoder.symbols_corrected"], 2 * symbols_slack,
        ),
    ]  # fmt: skip


def _figures(soak: LinkSoak) -> dict[str, Any]:
    plan, up, down, ground = soak.plan, soak.up, soak.down, soak.ground
    reasons = Counter(command.reason for command in soak.commands.commands if command.state is State.LOST)
    return {
        "hours": plan.hours,
        "bit_error_rate": plan.bit_error_rate,
        "drop_frac": plan.drop_frac,
        "seed": plan.seed,
        "coding": soak.config.coding,
        "uplink_security": soak.config.uplink_security,
        "downlink_security": soak.config.downlink_security,
        "passes": len(soak.passes),
        "contact_s": round(soak.contact_s, 3),
        "reboots": {
            "node": soak.node.lives - 1, "ground": ground.lives - 1, "while_off": soak.reboots_missed,
            "seen_by_counts": down.counts.restarts_noticed, "not_seen_by_counts": down.counts.unnoticed_restarts,
        },
        "commands": {
            "asked": plan.commands, **soak.commands.states(),
            "arrived": sum(command.arrivals > 0 for command in soak.commands.commands),
            "arrivals": soak.commands.arrivals,
            "lost_because": dict(reasons.most_common(_REASONS_MAX)),
        },
        "up": {
            "cltus": up.cltus,
            "sent": {kind.value: up.kinds[kind] for kind in Kind},
            "became": dict(sorted(up.fates.items())) | {UNDER_WAY: up.open_fates},
            "with_bit_errors": up.with_errors,
            "fragments": up.fragments,
            "retransmitted_because": dict(sorted(ground.causes.items())),
            "alerts": dict(sorted(ground.alerts.items())),
        },
        "down": {
            "sent": down.offered,
            "became": dict(sorted(down.fates.items())) | {UNDER_WAY: down.open_fates},
            "with_bit_errors": down.with_errors,
            "fragments": down.fragments,
            "missed_by_count": ground.gaps,
            "packets_whole": down.packets_expected,
            "packets_broken": down.packets_broken,
        },
        "security": security_figures(soak),
        "node_counters": _sorted(soak.node.totals),
        "ground_counters": _sorted(ground.totals),
    }  # fmt: skip


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
