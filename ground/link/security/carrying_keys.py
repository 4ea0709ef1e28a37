"""Which keys of a file carry the frames of each link. Without I/O."""

# By the file alone: of several active keys of one direction the newest carries, since a change of key makes the new one
# active before it stops the former. That is what the ground goes by if its record of numbers is gone, and what the next
# `orbitnode keys rotate` goes on from.

from __future__ import annotations

from collections.abc import Sequence

from flight.link.security.keyring import (
    SPIS_PER_LINK,
    Key,
    Keyring,
    KeyState,
    KeyUse,
    ProtectedLink,
    age,
    delivered_spis,
    use_of,
)


def active_keys(ring: Keyring, links: Sequence[ProtectedLink]) -> dict[tuple[int, KeyUse], list[Key]]:
    """Return the active keys of each protected direction, the one that carries last; empty if nothing can.

    links: all links of the mission, in its order. By the place of the link and the use of its keys: up, down, volatile.
    """
    active: dict[tuple[int, KeyUse], list[Key]] = {}
    for spi in delivered_spis(links):
        use = use_of(spi)
        assert use is not None, spi
        active.setdefault((spi // SPIS_PER_LINK, use), [])
    for key in ring:
        use = use_of(key.spi)
        if use is not None and key.state is KeyState.ACTIVE:
            # A link that the mission no longer has is nobody's concern.
            active.get((key.spi // SPIS_PER_LINK, use), []).append(key)
    for keys in active.values():
        keys.sort(key=age)
    return active
