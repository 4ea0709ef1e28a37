"""A soak of one link in virtual time: both real ends, a bad channel between them, contact as an orbit gives it.

The node's stack and the ground's session are those that fly. Channel, passes, light time and modem are those of the
simulator (sim_hw/machine/air.py). The operator's commands come at seeded times over the whole span. `account` says at
any time what became of everything (sim_hw/soak/account.py).
"""

# Silent time costs nothing: the heap of virtual time moves from one event to the next, and without contact neither end
# asks for any, but for the next command of the operator. In contact nothing is left out: every frame, idle ones
# included, is made, coded, sent, damaged, decoded and accounted for. That is cheap enough (about 0.1 ms per frame), so
# there is no second account of frames that were only computed.
#
# All randomness is from one seed, by generators of their own: another length of the commands shifts no bit error.
#
# Link security is that of the mission's link, both ways, one or none; its keys are made from the seed. Each end has its
# record on a disk of its own, which outlives its reboots.
#
# Reboots strike the node or the ground, mostly within a pass. The node is off as long as a reboot takes elsewhere in
# the simulator. The ground is off for GROUND_OFF_S, which is longer than what it sent can be under way.

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from flight.core.errors import OrbitnodeError
from flight.core.nanoseconds import NS, ns
from flight.link.security.associations import End
from flight.link.tm_tc_stack import LinkConfig
from sim_hw.machine.air import Air
from sim_hw.machine.faults import REBOOT_S
from sim_hw.machine.loop import VirtualLoop
from sim_hw.soak.attacker import Attacker
from sim_hw.soak.commands import CommandList
from sim_hw.soak.downlink_ledger import DownlinkLedger
from sim_hw.soak.ends import SecurityEnd
from sim_hw.soak.findings import Findings
from sim_hw.soak.ground_end import GroundEnd
from sim_hw.soak.node_end import NodeEnd
from sim_hw.soak.protected_frames import ProtectedFrames
from sim_hw.soak.uplink_ledger import UplinkLedger
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.orbit import Pass
from sim_hw.world.world import World, WorldConfig

GROUND_OFF_S = 20.0
_MODEM_UNITS = 4  # frames in the node's modem: their CLCWs are as old as that
_IN_PASS_FRAC = 0.75  # of the reboots
_LOOK_HOURS = (24.0, 240.0)  # for the first pass, if the span that was asked for has none
_HEARD_S = 30.0  # of the last pass, at least, for the last commands


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """What a soak is asked for. `drop_frac` and `bit_error_rate` hold for both ways.

    forged: how many frames an attacker sends per real one, on each way that is protected.
    """

    hours: float = 24.0
    bit_error_rate: float = 1e-4
    drop_frac: float = 0.05
    seed: int = 1
    commands: int = 10_000
    reboots: int = 0
    forged: float = 0.0


class LinkSoak:
    """One run; see the head of the file. `rate_bps` is that of the downlink.

    Raises OrbitnodeError if no pass lies in the span, if the link has the convolutional code, or if frames of a link in
    clear are to be forged.
    """

    def __init__(
        self, plan: SoakPlan, config: LinkConfig, rate_bps: int, acquisition_s: float, world: WorldConfig
    ) -> None:
        if config.convolutional:
            raise OrbitnodeError(
                "the link has the convolutional code, whose decoder gives a frame with the next one; "
                "the account wants a link without it (convolutional = false)"
            )
        if plan.forged and not config.is_protected:
            raise OrbitnodeError(
                "the link is in clear both ways, so that forged frames are taken; the account wants a protected one "
                "(uplink_security or downlink_security)"
            )
        self.plan = plan
        self.config = config
        self.loop = VirtualLoop()
        self.end_ns = ns(plan.hours * 3600.0)
        self.world = World(world)
        self.passes = self._passes(self.world)
        random = Random(plan.seed)
        channels, commands, node, reboots, disks, attacks = (Random(random.getrandbits(64)) for _ in range(6))
        self.findings = Findings(self.loop.now_ns)
        self.air = self._air(rate_bps, acquisition_s, channels)
        last_ns = max((p.start_ns for p in self.passes if p.end_ns - p.start_ns >= ns(_HEARD_S)), default=0)
        times = sorted(int(commands.random() * last_ns) for _ in range(plan.commands))
        self.commands = CommandList(times, commands, self.findings)
        frames = ProtectedFrames(config)
        self.up = UplinkLedger(self.commands, self.findings, frames, corrects=config.cltu_errors == "correct")
        self.down = DownlinkLedger(config.tm_coding, self.findings, frames)
        self.air.up.channel.on_fate = self.up.on_fate
        self.air.down.channel.on_fate = self.down.on_fate
        self.node = NodeEnd(
            config, self.air, self.loop, security=self._security(End.NODE, disks), up=self.up, down=self.down,
            findings=self.findings, random=node,
        )  # fmt: skip
        self.ground = GroundEnd(
            config, self.air, self.loop, security=self._security(End.GROUND, disks), commands=self.commands,
            up=self.up, down=self.down, findings=self.findings,
        )  # fmt: skip
        self.attacker = Attacker(config, self.air, self.loop, up=self.up, down=self.down, random=attacks)
        if plan.forged:
            self.attacker.begin(plan.forged, self.node, self.ground)
        self.reboots_missed = 0  # that came while the same end was off already
        self._plan_reboots(reboots)
        self.node.boot()
        self.ground.start()

    def advance(self, to_ns: int) -> None:
        """Run until `to_ns`, at most to the end."""
        self.loop.run_until(min(to_ns, self.end_ns))

    def finish(self) -> None:
        """End both ends' lives, so that all of what they counted is in their totals. Harmless when called twice."""
        self.node.finish()
        self.ground.finish()

    @property
    def contact_s(self) -> float:
        """How long at least one station sees the spacecraft."""
        seen_ns = until_ns = 0
        for contact in self.passes:  # in order of rise; they may overlap
            seen_ns += max(0, contact.end_ns - max(contact.start_ns, until_ns))
            until_ns = max(until_ns, contact.end_ns)
        return seen_ns / NS

    def _security(self, end: End, random: Random) -> SecurityEnd:
        return SecurityEnd(
            end, self.config, self.loop, seed=self.plan.seed, start_tai_ns=self.world.start_tai_ns,
            random=Random(random.getrandbits(64)), findings=self.findings,
        )  # fmt: skip

    def _passes(self, world: World) -> list[Pass]:
        passes = world.passes(0, self.end_ns)
        if not any(contact.end_ns - contact.start_ns >= ns(_HEARD_S) for contact in passes):
            raise OrbitnodeError(
                f"no pass of {_HEARD_S:g} s or longer in the first {self.plan.hours:g} h; {_hours_enough(world)}"
            )
        return passes

    def _air(self, rate_bps: int, acquisition_s: float, random: Random) -> Air:
        plan, config = self.plan, self.config
        down = ChannelConfig(
            rate_bps, plan.bit_error_rate, acquisition_s, _MODEM_UNITS * config.unit_octets, plan.drop_frac
        )
        up = ChannelConfig(config.uplink_rate_bps, plan.bit_error_rate, acquisition_s, drop_frac=plan.drop_frac)
        air = Air(self.loop, self.world, down, up, random)
        air.schedule(self.passes)
        return air

    def _plan_reboots(self, random: Random) -> None:
        for _ in range(self.plan.reboots):
            if random.random() < _IN_PASS_FRAC:
                contact = self.passes[random.randrange(len(self.passes))]
                t_ns = contact.start_ns + int(random.random() * (contact.end_ns - contact.start_ns))
            else:
                t_ns = int(random.random() * self.end_ns)
            strike = self.reboot_node if random.random() < 0.5 else self.reboot_ground
            self.loop.call_at(t_ns, strike)

    def reboot_node(self) -> None:
        """Take the power from the node, and give it back after a while."""
        if not self.node.is_on:
            self.reboots_missed += 1
            return
        self.node.go_down()
        self.loop.call_at(self.loop.now_ns() + ns(REBOOT_S), self.node.boot)

    def reboot_ground(self) -> None:
        """Kill the ground, and start it again after a while."""
        if self.ground.session is None:
            self.reboots_missed += 1
            return
        self.ground.go_down()
        self.loop.call_at(self.loop.now_ns() + ns(GROUND_OFF_S), self.ground.start)


def _hours_enough(world: World) -> str:
    """Say how many hours have a pass that is long enough."""
    for hours in _LOOK_HOURS:
        ends = [
            c.start_ns + ns(_HEARD_S)
            for c in world.passes(0, ns(hours * 3600.0))
            if c.end_ns - c.start_ns >= ns(_HEARD_S)
        ]
        if ends:
            # Up to the next tenth, so that what is asked for has it for certain.
            return f"--hours {math.ceil(min(ends) / ns(360.0)) / 10:g} has one"
    return f"none of its stations sees it for so long in {_LOOK_HOURS[-1]:g} h"
