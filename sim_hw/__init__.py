"""The simulator: world, devices, virtual time, whole-system runs."""
