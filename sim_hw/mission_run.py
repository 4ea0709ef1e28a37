"""A whole run in virtual time: spacecraft, each with its world and its ground, on one loop, one archive, one digest."""

# Several spacecraft in one run must each fly as they would alone, so that adding one changes nothing about the others.
# Each has a world, a disk, a ground and generators of its own, seeded by its name; they share only what has no state
# that one could leave for another: the loop, on which calls of one instant keep their order, and an archive and a
# digest in which rows and channels bear the spacecraft's name. The first spacecraft has the run's own seed: a fleet of
# one is the plain run, with its digest.
#
# A disk that cuts the power at a chosen operation does so in the middle of a step, by an exception that leaves the
# loop. `advance` asks whose disk it was, takes that node down, and lets the loop go on for the others.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from random import Random

from flight.core.errors import SetupError
from flight.core.nanoseconds import ns
from flight.mission import Mission
from ground.procedures.procedure import Procedure
from ground.telemetry.archive import Archive
from sim_hw.config import SimConfig
from sim_hw.machine.digest import Digest
from sim_hw.machine.disk import PowerCut
from sim_hw.machine.faults import FaultPlan
from sim_hw.machine.loop import VirtualLoop
from sim_hw.report.outputs import RUN_FILES, RunFolder
from sim_hw.spacecraft_run import REAL_SCHEMES, SharedParts, SpacecraftRun
from sim_hw.world.orbit import parse_utc
from sim_hw.world.scenes import TileSource


class MissionRun:
    """One run. Build it, `start` it, `advance` it to its end, `finish` it; its `spacecraft` then have the results."""

    def __init__(
        self,
        missions: Sequence[Mission],
        tiles: Callable[[int], TileSource],
        out: RunFolder,
        *,
        seed: int,
        duration_s: float,
        faults: Mapping[str, FaultPlan] | None = None,
        procedure: Procedure | None = None,
    ) -> None:
        """Build every spacecraft of the run, without booting one.

        `tiles` gives what a camera sees, by the seed of its spacecraft; `faults` are by the name of the node.
        `procedure` is what the operator of the first spacecraft does, in place of its mission's script. Raises
        OrbitnodeError, HalError or SetupError, each naming what is missing or wrong.
        """
        check_fleet(missions)
        plans = faults or {}
        self.end_ns = ns(duration_s)
        self.out = out
        self.loop = VirtualLoop()
        self.digest = Digest()
        self.archive = Archive(out.archive)
        shared = SharedParts(self.loop, self.archive, self.digest, self.end_ns)
        self.spacecraft: list[SpacecraftRun] = []
        for place, mission in enumerate(missions):
            name = mission.node.name
            own_seed = spacecraft_seed(seed, name, place)
            spacecraft = SpacecraftRun(
                mission, tiles(own_seed), out.of(name), shared, seed=own_seed, faults=plans.get(name, FaultPlan()),
                procedure=None if place else procedure,
            )  # fmt: skip
            self.spacecraft.append(spacecraft)

    def start(self) -> None:
        """Boot every node and let the operators begin."""
        for spacecraft in self.spacecraft:
            spacecraft.start()

    def advance(self, t_ns: int) -> None:
        """Run the loop up to `t_ns`, or to the end of the run, over power cuts that a disk makes."""
        end_ns = min(t_ns, self.end_ns)
        while self.loop.now_ns() < end_ns:
            try:
                self.loop.run_until(end_ns)
            except PowerCut as cut:
                (struck,) = (craft.spacecraft for craft in self.spacecraft if craft.spacecraft.disk is cut.disk)
                struck.power_lost()

    def finish(self) -> None:
        """End every node and its ground in good order. Harmless when called twice."""
        with ExitStack() as closing:  # each of them, also after one that raises
            closing.callback(self.archive.commit)  # called last: what the grounds write as they end is in it
            for spacecraft in reversed(self.spacecraft):
                closing.callback(spacecraft.finish)


def spacecraft_seed(seed: int, name: str, place: int) -> int:
    """Return the seed of a spacecraft: for the first one the run's own, for others one made from it and their name.

    So the first one flies as it would alone, and neither its place nor the others change how a further one flies.
    """
    return seed if place == 0 else Random(f"spacecraft {name} {seed}").getrandbits(63)


def check_fleet(missions: Sequence[Mission]) -> None:
    """Raise SetupError unless these missions can fly in one run.

    Their names tell them apart, they begin at one time, and none of them would open a device of this machine.
    """
    for mission in missions:
        for kind, url in mission.devices():
            if url.partition(":")[0] in REAL_SCHEMES:
                raise SetupError(
                    f"mission {mission.path}: {kind.name} {url!r} is a real device; "
                    "`orbitnode run` flies simulated ones, such as sim:NAME"
                )
        if len(missions) > 1 and mission.node.name in RUN_FILES:
            raise SetupError(
                f"mission {mission.path}: a node of several cannot be called {mission.node.name!r},"
                " as a file of a run is"
            )
    for first, second in combinations(missions, 2):
        both = f"missions {first.path} and {second.path}"
        if first.node.name == second.node.name:
            raise SetupError(f"{both} are both of node {first.node.name!r}: give each a node.name of its own")
        starts = [_start(first), _start(second)]
        if parse_utc(starts[0]) != parse_utc(starts[1]):
            raise SetupError(f"{both} begin at {' and '.join(starts)}: give both the same sim.world.orbit.start")


def _start(mission: Mission) -> str:
    """Return UTC at which a run of this mission starts."""
    config: SimConfig = mission.sections["sim"]
    return config.world.orbit.start
