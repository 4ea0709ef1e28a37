"""The keys of a file as they were delivered, for a node that no longer knows of any change of key. Without I/O."""

# A node that lost its record goes by the keys file on its board, which is as it was delivered. The ground's file still
# has the octets of those keys: a change of key leaves them there as deactivated.
#
#   master            stays
#   of A, volatile    active, and newer than whatever was active before
#   of B              deactivated, even if it was still waiting: the node may have used it, and begins its numbers at 1
#                     again, so that frames of then would be taken. The next change of key makes a fresh one
#   all others        came over the air; the node has lost them

from __future__ import annotations

from flight.link.security.keyring import MASTER_KEY_ID, PLACES_OF_B, SPIS_PER_LINK, Key, Keyring, KeyState


def reverted(ring: Keyring, created: str) -> Keyring:
    """Return a ring with the keys of delivery alone, in the states at the head of this file.

    created: UTC as in a keys file, for the keys that are active.
    """
    delivered = Keyring((), ring.simulated, node=ring.node, spacecraft_id=ring.spacecraft_id)
    for key in ring:
        if key.key_id == MASTER_KEY_ID:
            delivered.put(key)
        elif key.key_id == key.spi:  # at delivery a key has the number of its association
            if key.spi % SPIS_PER_LINK in PLACES_OF_B:
                delivered.put(key.changed(state=KeyState.DEACTIVATED))
            else:
                delivered.put(Key(key.key_id, KeyState.ACTIVE, key.octets, spi=key.spi, created=created))
    return delivered


def changed_over_the_air(ring: Keyring) -> bool:
    """Return whether other keys carry than those of delivery, or are about to."""
    return any(
        key.key_id != key.spi or (key.state is KeyState.ACTIVE) == (key.spi % SPIS_PER_LINK in PLACES_OF_B)
        for key in ring
        if key.key_id != MASTER_KEY_ID
    )
