"""One simulated spacecraft over all its boots: the world around it, its disk, its camera, and the node in it."""

# Lives of a node:
#
#     off      --boot----------------------------------> up      on what the disk holds
#     up       --power cut (plan, disk, `cut_power`)---> off     and a reboot is put on the loop, REBOOT_S later
#     up       --the node gives up (Platform.stop)-----> off     the same, as a supervisor would do it
#     up       --shut_down-----------------------------> off     the end of the run, no reboot
#
# What survives: the disk, as far as it was synced; the world, in which the battery goes on; the camera's count; the
# modems, which are off meanwhile. The node object does not survive, nor anything it counted: `on_down` is the last
# chance to read it.
#
# Random numbers come from the spacecraft's own generator in a fixed order (disk, then one seed per boot), so a further
# boot shifts nothing for the disk.

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from flight import node as flight_node
from flight.core.nanoseconds import ns
from flight.link.security.keyring import Keyring
from flight.mission import Mission
from flight.node import Node
from hal.base import Radio
from sim_hw.machine.cpu_profile import CpuProfile
from sim_hw.machine.digest import Digest
from sim_hw.machine.disk import Disk, PowerCut
from sim_hw.machine.faults import REBOOT_S, FaultPlan, PlannedFault
from sim_hw.machine.loop import VirtualLoop
from sim_hw.machine.platform import ClockError, SimPlatform
from sim_hw.machine.simulated_devices import SimImager
from sim_hw.world.world import World


class SimRadio(Radio, Protocol):
    """A modem that hears nothing while the spacecraft has no power."""

    def set_power(self, on: bool) -> None:
        """Switch the receiver; without power nothing is heard."""


class Spacecraft:
    """Boots the node, cuts its power when the fault plan or the disk says so, and boots it again.

    `keys` gives the keys of its links, at each boot: a node wipes those that it had.

    `on_boot(node)` and `on_down(node)` are called around each life of a node; after `on_down` it is gone.
    """

    def __init__(  # noqa: PLR0913 - the parts of a spacecraft, each by name
        self,
        mission: Mission,
        loop: VirtualLoop,
        world: World,
        random: Random,
        *,
        radios: dict[str, SimRadio] | None = None,
        imager: SimImager | None = None,
        faults: FaultPlan | None = None,
        digest: Digest | None = None,
        cpu: CpuProfile | None = None,
        clock_error: ClockError = ClockError(),  # noqa: B008 - frozen
        log: FilteringBoundLogger | None = None,
        keys: Callable[[], Keyring | None] = lambda: None,
        on_boot: Callable[[Node], None] = lambda _: None,
        on_down: Callable[[Node], None] = lambda _: None,
    ) -> None:
        self.mission = mission
        self.loop = loop
        self.world = world
        self.boots = 0
        self.node: Node | None = None
        self._random = random
        self._radios = radios or {}
        self._imager = imager
        self.faults = faults or FaultPlan()
        self._digest = digest
        self._cpu = cpu
        self._clock_error = clock_error
        self._log = log
        self._keys = keys
        self._on_boot = on_boot
        self._on_down = on_down
        self.disk = Disk(Random(random.getrandbits(64)), note=self._committed)
        self._storage_channel = f"{mission.node.name}.storage"
        for fault in self.faults.of_kind("power-cut"):
            loop.call_at(ns(fault.at_s), partial(self._cut_as_planned, fault))

    def boot(self) -> Node:
        """Build a node on what the disk holds; raises what flight.node.build raises."""
        assert self.node is None, "already running"
        platform = SimPlatform(
            self.mission.node.name,
            self.loop,
            self.world,
            self.disk,
            Random(self._random.getrandbits(64)),
            radios=dict(self._radios),
            imager=self._imager,
            faults=self.faults,
            record=self._digest,
            cpu=self._cpu,
            clock_error=self._clock_error,
            on_stop=self._stop,
        )
        self.boots += 1
        for radio in self._radios.values():
            radio.set_power(True)
        self.node = flight_node.build(self.mission, platform, log=self._log, keys=self._keys())
        self._on_boot(self.node)
        return self.node

    def cut_power(self) -> None:
        """Cut the power now and boot again ten seconds later. Nothing happens to a spacecraft that is off."""
        if self.node is not None:
            self.disk.cut()
            self.power_lost()

    def _cut_as_planned(self, fault: PlannedFault) -> None:
        # A spacecraft that is off when its cut is due is not struck, and the plan says that it did not happen.
        if self.node is not None:
            self.faults.take_this(fault, self.loop.now_ns())
        self.cut_power()

    def run_until(self, end_ns: int) -> None:
        """Run the loop up to `end_ns`, over power cuts of the disk, for a spacecraft that is alone on it.

        Raises PowerCut of another spacecraft's disk.
        """
        while self.loop.now_ns() < end_ns:
            try:
                self.loop.run_until(end_ns)
            except PowerCut as cut:
                if cut.disk is not self.disk:
                    raise
                self.power_lost()

    def power_lost(self) -> None:
        """Take the node down, whose disk has lost its power, and boot it again ten seconds later."""
        self.shut_down()
        for radio in self._radios.values():
            radio.set_power(False)
        # Switches fall open with the power; what each took up to now is integrated first.
        self.world.advance(self.loop.now_ns())
        for load in ("payload", "radio", "heater"):
            self.world.set_switch(load, False)
        self.loop.call_at(self.loop.now_ns() + ns(REBOOT_S), self._reboot)

    def shut_down(self) -> None:
        """Take the node down and give its processes back."""
        if self.node is not None:
            node, self.node = self.node, None
            self._on_down(node)  # before it is closed: what it has counted is still there
            node.close()

    def _stop(self) -> None:
        """Let the present step of a node that gave up end, then start it again, as a supervisor would."""
        self.loop.call_at(self.loop.now_ns(), self.cut_power)

    def _reboot(self) -> None:
        if self.node is None:
            self.boot()

    def _committed(self, octets: bytes) -> None:
        if self._digest is not None:
            self._digest.enter(self.loop.now_ns(), self._storage_channel, octets)
