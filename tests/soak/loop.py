"""The scheduler's host suite on this machine's own clock: `python -m tests.soak.loop --seconds 60` (`make loop`).

It puts the same load on the Linux platform as tests/properties/test_scheduler_host.py on its hostile host. After every
call it makes the same check: every task that is due will be woken (tests/executive_load.py says why). If not, it says
what is wrong and exits with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from random import Random

from flight.core.nanoseconds import NS, ns
from flight.core.scheduler import Scheduler
from flight.linux.platform import LinuxPlatform
from tests.executive_load import ExecutiveLoad, WatchedHost, WatchedTimer, unwoken

LOOK_NS = 200_000_000
STILL_NS = 30 * NS  # for giving up, not for measuring: on a machine this busy, the test cannot say anything


def run(seconds: float, seed: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        platform = LinuxPlatform(folder, "loop", seed)
        host, faults = WatchedHost(platform), list[str]()
        scheduler = Scheduler(host, platform.cpu_ns, lambda task, error: faults.append(f"{task.name}: {error!r}"))
        load = ExecutiveLoad(scheduler, Random(seed))
        end_ns, moved_ns, last = platform.now_ns() + ns(seconds), platform.now_ns(), 0

        def check() -> None:
            if who := unwoken(scheduler, host):
                faults.append(who)

        def look() -> None:
            nonlocal moved_ns, last
            now_ns, ticks = platform.now_ns(), scheduler.totals().ticks
            if ticks != last:
                moved_ns, last = now_ns, ticks
            check()
            if now_ns - moved_ns > STILL_NS:
                faults.append(f"no tick for {(now_ns - moved_ns) / NS:.0f} s")
            if faults or now_ns > end_ns:
                platform.stop()
            else:
                platform.call_at(now_ns + LOOK_NS, look)

        _after_every_call(host, check)
        platform.call_at(platform.now_ns(), look)
        ended_by = platform.run()
        faults.extend(load.missing())
        totals = scheduler.totals()
        scheduler.close()
        platform.close()
    for fault in faults[:20]:
        print(f"loop: {fault}", file=sys.stderr)
    print(
        f"{seconds:g} s, seed {seed}: {totals.steps} steps, {totals.ticks} ticks, {totals.skipped} skipped, "
        f"worst wait {totals.worst_latency_ns / 1e6:.1f} ms; {len(faults)} faults"
    )
    return 1 if faults or ended_by is not None else 0


def _after_every_call(host: WatchedHost, check: Callable[[], None]) -> None:
    """Have `check` made after each call that the host makes for the scheduler."""
    plain = host.call_at

    def call_at(t_ns: int, call: Callable[[], None]) -> WatchedTimer:
        def checked() -> None:
            call()
            check()

        return plain(t_ns, checked)

    host.call_at = call_at  # type: ignore[method-assign] # a watcher around it


def main() -> int:
    parser = argparse.ArgumentParser(description="the scheduler on this machine's clock")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    return run(args.seconds, args.seed)


if __name__ == "__main__":
    sys.exit(main())
