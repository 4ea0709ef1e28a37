"""How the executive runs on its computer: the `[executive]` section of mission.toml."""

from __future__ import annotations

from dataclasses import dataclass

from flight.core.config import key

CPUS_MAX = 1024
# A call of a driver may take 2 s, and its opening at boot 15 s, before it is cut off (hal/guard.py). The watchdog must
# not be quicker than that; at boot it waits six times as long.
WATCHDOG_LEAST_S = 3.0


@dataclass(frozen=True, slots=True)
class ExecutiveConfig:
    """The scheduler's limits, and what the node asks of the kernel at boot (flight/linux/realtime.py).

    The node goes on without what the kernel refuses.
    """

    fifo_priority: int = key(0, minimum=0, maximum=99, text="SCHED_FIFO priority, 0 for the usual scheduling")
    cpus: tuple[int, ...] = key((), minimum=0, maximum=CPUS_MAX - 1, text="processors to run on, empty for all")
    lock_memory: bool = key(False, text="keep all memory resident, now and later")
    catch_up_max: int = key(3, minimum=0, maximum=1000, text="missed ticks that a late task replays, more are skipped")
    restarts_max: int = key(3, minimum=0, maximum=1000, text="restarts of a task that fails again and again")
    starve_s: float = key(5.0, minimum=0.01, maximum=3600.0, text="longest wait of a ready task under overload")
    critical_starve_s: float = key(1.0, minimum=0.01, maximum=3600.0, text="the same for critical tasks")
    watchdog_s: float = key(10.0, minimum=0.0, maximum=3600.0, text="a node that hangs this long is ended; 0: never")

    def faults(self) -> list[tuple[str, str]]:
        """Return what contradicts itself: a processor named twice, a watchdog quicker than what it watches."""
        found = []
        if len(set(self.cpus)) < len(self.cpus):
            found.append(("cpus", f"is {list(self.cpus)}, should name each processor once"))
        # Twice: a critical task that waits for as long as it may must not look like a node that hangs.
        least_s = max(2 * self.critical_starve_s, WATCHDOG_LEAST_S)
        if 0.0 < self.watchdog_s < least_s:
            text = f"is {self.watchdog_s:g}, should be 0 or at least {least_s:g}: "
            found.append(("watchdog_s", f"{text}twice critical_starve_s, and no less than {WATCHDOG_LEAST_S:g}"))
        return found
