"""The simulated computer: platform, loop, disk, boards, air, faults, cost of a step, digest."""
