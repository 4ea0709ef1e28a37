"""The known name that somebody meant who wrote an unknown one."""

# A wrong guess is worse than a list of what there is: `delete_file` is not `delete_hk` misspelled. So a guess needs
# more in common than difflib asks for by itself (0.6), which a common first word already gives. Two mistakes are let
# through besides, which count for much in short names: a unit left off, and letters swapped.

from __future__ import annotations

from collections.abc import Iterable

_CLOSE = 0.75  # `delete_file` and `delete_hk` have 0.7 in common, `pong` and `ping` 0.75


def close_name(name: str, known: Iterable[str]) -> str | None:
    """Return the one of the `known` names that is so much like `name` that it must be meant; None without one."""
    import difflib  # here, since only a faulty text needs it: a node that flies does without

    names = sorted(known)
    if close := difflib.get_close_matches(name, names, 1, _CLOSE):
        return close[0]
    with_unit = [other for other in names if name and other.startswith(f"{name}_")]
    swapped = [other for other in names if sorted(other) == sorted(name)]
    meant = with_unit or swapped
    return meant[0] if len(meant) == 1 else None
