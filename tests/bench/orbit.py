"""One node through virtual time, as a process of its own, and the processor time that this took:

    python orbit.py SECONDS quiet|link

The power service samples and decides at 10 Hz; no payload app. `quiet`: no ground is in sight. `link`: the passes of
the default world, in which the node fills its link, with nobody at the other end. Prints seconds of processor time,
start-up left out.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from flight.core.nanoseconds import ns
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import MISSIONS, load
from sim_hw.machine.air import Air
from sim_hw.machine.digest import Digest
from sim_hw.machine.loop import VirtualLoop
from sim_hw.spacecraft import Spacecraft
from sim_hw.world.channel import ChannelConfig
from sim_hw.world.world import World, WorldConfig
from tests.mission_security import mission_keys

MISSION = """
extends = "{base}"
app = []
[power]
sample_period_s = 0.1
"""


def main(duration_s: float, with_link: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "mission.toml")
        path.write_text(MISSION.format(base=(MISSIONS / "orbit.toml").as_posix()), encoding="utf-8")
        mission = load(path)
    random, loop, world = Random(1), VirtualLoop(), World(WorldConfig())
    link = mission.links[0]
    assert isinstance(link.config, LinkConfig)
    up, down = ChannelConfig(rate_bps=link.config.uplink_rate_bps), ChannelConfig(rate_bps=link.rate_bps)
    air = Air(loop, world, down, up, random, record=Digest())
    if with_link:
        air.schedule(world.passes(0, ns(duration_s)))
    keys = partial(mission_keys, mission)
    craft = Spacecraft(mission, loop, world, random, radios={link.name: air.modem}, keys=keys)
    craft.boot()
    begin_s = time.process_time()
    craft.run_until(ns(duration_s))
    print(time.process_time() - begin_s)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] == "link")
