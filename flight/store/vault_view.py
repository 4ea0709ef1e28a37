"""One owner's rows of a vault that it shares with others.

An owner that comes from outside, such as a payload app, is given this in place of the vault. Whatever key it uses, it
cannot reach another owner's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flight.core.errors import MisuseError
from flight.core.future import Future
from flight.store.vault import KEY_OCTETS_MAX, Changes, Vault


class VaultView:
    """The rows of `vault` whose keys are `owner`, a dot and more. Here they go by what stands behind the dot.

    The methods are the vault's own.
    """

    # An owner's name has no dot, so no owner's prefix begins with another's.

    def __init__(self, vault: Vault, owner: str) -> None:
        self._vault = vault
        self._owner = owner
        self._prefix = f"{owner}."

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._vault

    def get(self, key: str) -> bytes | None:
        """Return the value of the row, None if there is no such row."""
        return self._vault.get(self._prefix + key)

    def is_stale(self, key: str) -> bool:
        """Return whether a lost transaction may have changed or deleted the row, and nothing has written it since."""
        return self._vault.is_stale(self._prefix + key)

    def rows(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """Return the owner's rows whose keys start with `prefix`, without the prefix, in order of keys."""
        return self._vault.rows(self._prefix + prefix)

    def stage(self, changes: Changes) -> None:
        """Make `changes`, durable together with whatever is synced next.

        Raises StorageError and MisuseError, with nothing changed.
        """
        self._vault.stage(self.in_vault(changes))

    def commit(self, changes: Changes) -> Future[None]:
        """Make `changes`; return a future that is done when all of them are durable. Raises as `stage` does."""
        return self._vault.commit(self.in_vault(changes))

    def in_vault(self, changes: Changes) -> Changes:
        """Return `changes` by the vault's own keys. Raises MisuseError for what cannot be a row of a vault."""
        given: Mapping[Any, Any] = changes  # an app's: what its annotations say is not to be relied on
        for key, value in given.items():
            if not isinstance(key, str) or not isinstance(value, bytes | None):
                what = f"{key!a} as {type(value).__name__}"
                raise MisuseError(f"app {self._owner}: stores {what}, should be a text key, and octets or None")
            try:
                octets = len((self._prefix + key).encode())
            except UnicodeEncodeError:
                raise MisuseError(f"app {self._owner}: stores a row whose key {key!a} is not Unicode text") from None
            if octets > KEY_OCTETS_MAX:
                most = f"{octets} octets, {KEY_OCTETS_MAX} at most"
                raise MisuseError(f"app {self._owner}: stores a row whose key has {most}")
        return {self._prefix + key: value for key, value in changes.items()}
