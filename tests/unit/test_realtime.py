"""What the kernel gives and refuses at boot, asked of a real kernel in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from flight.core.config import Fault, read_table
from flight.core.executive_section import ExecutiveConfig

CODE = """
import json, os, resource, sys
from flight.core.executive_section import ExecutiveConfig
from flight.linux.realtime import apply
options, plain = json.loads(sys.argv[1]), json.loads(sys.argv[2])
if plain:
    for limit in (resource.RLIMIT_MEMLOCK, resource.RLIMIT_RTPRIO):
        resource.setrlimit(limit, (0, 0))
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
refusals = apply(ExecutiveConfig(**options))
locked = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmLck'))
print(json.dumps([refusals, os.sched_getscheduler(0), sorted(os.sched_getaffinity(0)), locked]))
"""


def applied(*, plain: bool, **options: object) -> tuple[list[str], int, list[int], int]:
    """The refusals, and then the scheduling policy, the processors and the locked kB of that process."""
    ended = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(options), json.dumps(plain)],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    refusals, policy, cpus, locked = json.loads(ended.stdout)
    return refusals, policy, cpus, locked


def test_nothing_asked_is_nothing_refused() -> None:
    refusals, policy, cpus, locked = applied(plain=True)
    assert refusals == []
    assert (policy, cpus, locked) == (os.SCHED_OTHER, sorted(os.sched_getaffinity(0)), 0)


def test_what_is_given_is_in_force_and_what_is_not_is_said() -> None:
    cpu = min(os.sched_getaffinity(0))
    refusals, policy, cpus, locked = applied(plain=False, fifo_priority=10, cpus=[cpu], lock_memory=True)
    told = " ".join(refusals)
    assert cpus == [cpu]
    assert (policy == os.SCHED_FIFO) != ("SCHED_FIFO" in told)
    assert (locked > 0) != ("memory not locked" in told)


def test_without_rights_each_refusal_is_a_line_and_the_process_goes_on() -> None:
    refusals, policy, _, locked = applied(plain=True, fifo_priority=10, lock_memory=True)
    assert (policy, locked) == (os.SCHED_OTHER, 0)
    memory, fifo = refusals
    assert memory.startswith("memory not locked: ")
    assert fifo.startswith("SCHED_FIFO priority 10: operation not permitted, CAP_SYS_NICE")


def test_processors_that_are_not_there() -> None:
    for cpus in ([1000], [1023]):
        refusals, _, have, _ = applied(plain=False, cpus=cpus)
        assert refusals == [f"processors {cpus[0]}: invalid argument, this computer has {os.cpu_count()}"]
        assert have == sorted(os.sched_getaffinity(0))


def test_the_section_of_the_mission() -> None:
    faults: list[Fault] = []
    made = read_table(ExecutiveConfig, {"fifo_priority": 20, "cpus": [2, 3], "lock_memory": True}, (), faults)
    assert made == ExecutiveConfig(fifo_priority=20, cpus=(2, 3), lock_memory=True)
    assert read_table(ExecutiveConfig, {"cpus": [1, 1], "fifo_priority": 0}, (), faults) is None
    read_table(ExecutiveConfig, {"fifo_priority": 100, "cpus": [-1], "starve_s": 0.0}, (), faults)
    assert [".".join(map(str, fault.path)) for fault in faults] == ["cpus", "fifo_priority", "cpus.0", "starve_s"]
