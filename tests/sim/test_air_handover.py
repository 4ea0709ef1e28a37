"""Two stations in sight at once: one serves, the other takes over, and contact ends with the last of them."""

from __future__ import annotations

from random import Random

from flight.core.nanoseconds import NS, ns
from sim_hw.machine.air import Air
from sim_hw.machine.loop import VirtualLoop
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.orbit import Pass
from sim_hw.world.world import SVALBARD, TROLL, World, WorldConfig


def test_a_pass_within_or_after_another_does_not_end_the_contact() -> None:
    loop = VirtualLoop()
    config = ChannelConfig(rate_bps=100_000, bit_error_rate=0.0, acquisition_s=2.0)
    air = Air(loop, World(WorldConfig()), config, config, Random(1))
    contacts: list[tuple[float, str | None]] = []
    air.on_contact = lambda station: contacts.append((loop.now_ns() / NS, station))
    spans = ((SVALBARD, 10, 60), (TROLL, 20, 30), (TROLL, 50, 90), (SVALBARD, 200, 210))
    air.schedule([Pass(station, ns(a), ns(b), ns(a), 90.0) for station, a, b in spans])
    carrier = []
    for t_s in range(0, 220, 5):
        loop.run_until(ns(t_s + 2.5))
        if air.modem.carrier():
            carrier.append(t_s)
    assert contacts == [(10, "svalbard"), (60, "troll"), (90, None), (200, "svalbard"), (210, None)]
    assert carrier == [*range(10, 90, 5), 200, 205]
