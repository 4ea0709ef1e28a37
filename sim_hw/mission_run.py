"""A whole run in virtual time: spacecraft, each with its world and its ground, on one loop, one archive, one digest."""

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
    """One run. Build it, `start` it, `advance` it to its end, `finish` it; its `spacecraft` have what came of it."""

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
        """`tiles` gives what a camera sees, by the seed of its spacecraft; `faults` are by the name of the node.
        `procedure` is what the operator of the first spacecraft does, in place of its mission's script.

        Raises OrbitnodeError, HalError or SetupError, each naming what is missing or wrong.
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
            made = SpacecraftRun(
                mission, tiles(own_seed), out.of(name), shared, seed=own_seed, faults=plans.get(name, FaultPlan()),
                procedure=None if place else procedure,
            )  # fmt: skip
            self.spacecraft.append(made)

    def start(self) -> None:
        """Boot every node and let the operators begin."""
        for one in self.spacecraft:
            one.start()

    def advance(self, t_ns: int) -> None:
        """The loop up to `t_ns`, or to the end of the run, over power cuts that a disk makes."""
        end_ns = min(t_ns, self.end_ns)
        while self.loop.now_ns() < end_ns:
            try:
                self.loop.run_until(end_ns)
            except PowerCut as cut:
                (struck,) = (one.spacecraft for one in self.spacecraft if one.spacecraft.disk is cut.disk)
                struck.power_lost()

    def finish(self) -> None:
        """End every node and its ground in good order. Harmless when called twice."""
        with ExitStack() as closing:  # each of them, also after one that raises
            closing.callback(self.archive.commit)
            for one in reversed(self.spacecraft):
                closing.callback(one.finish)


def spacecraft_seed(seed: int, name: str, place: int) -> int:
    """The first one has the run's, and flies as it would alone; each further one has its own by its name, so that
    neither its place nor the others change how it flies.
    """
    return seed if place == 0 else Random(f"spacecraft {name} {seed}").getrandbits(63)


def check_fleet(missions: Sequence[Mission]) -> None:
    """Raise SetupError unless these missions can fly in one run: names tell them apart, they have one time, and none
    would open a device of this machine.
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
    for one, other in combinations(missions, 2):
        both = f"missions {one.path} and {other.path}"
        if one.node.name == other.node.name:
            raise SetupError(f"{both} are both of node {one.node.name!r}: give each a node.name of its own")
        starts = [_start(one), _start(other)]
        if parse_utc(starts[0]) != parse_utc(starts[1]):
            raise SetupError(f"{both} begin at {' and '.join(starts)}: give both the same sim.world.orbit.start")


def _start(mission: Mission) -> str:
    """UTC at which a run of this mission starts."""
    config: SimConfig = mission.sections["sim"]
    return config.world.orbit.start
