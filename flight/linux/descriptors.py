"""How many files this process may have open: as many as the system lets it, and enough. Edge code."""

from __future__ import annotations

import resource

from flight.core.errors import SetupError


def need_descriptors(least: int) -> None:
    """Raise the limit of open files to what this process may have. Raises SetupError if that is less than `least`.

    To find out later would cost more than a start: a stored record that cannot be opened for want of a descriptor looks
    like one that the medium does not give back.
    """
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and allowed < least <= _at_most(most):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
            return
        except (OSError, ValueError):  # a container may refuse it all the same
            pass
    if allowed != resource.RLIM_INFINITY and allowed < least:
        raise SetupError(f"only {allowed} open files are allowed, {least} are needed; raise it with ulimit -n {least}")


def _at_most(limit: int) -> float:
    return float("inf") if limit == resource.RLIM_INFINITY else limit
