"""The simulator: world, boards, virtual time, whole-system runs."""
