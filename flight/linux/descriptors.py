"""How many files this process may have open: the limit is raised to what a node needs. Edge code."""

from __future__ import annotations

import resource

from flight.core.errors import SetupError


def need_descriptors(least: int) -> None:
    """Raise the limit of open files to `least` if it is lower. Raises SetupError if this process may not."""
    # At the start, since finding out later costs more: a stored record that cannot be opened because descriptors have
    # run out looks like one that the medium does not give back, and would be given up.
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < least <= _at_most(most):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
            return
        except (OSError, ValueError):  # a container may refuse although the hard limit allows it
            pass
    if allowed != resource.RLIM_INFINITY and allowed < least:
        raise SetupError(f"only {allowed} open files are allowed, {least} are needed; raise it with ulimit -n {least}")


def _at_most(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit
