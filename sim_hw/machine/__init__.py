"""The simulated computer: platform, loop, disk, devices, air, faults, cost of a step, digest."""
