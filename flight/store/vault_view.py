"""One owner's rows of a vault that it shares with others.

An owner that comes from outside, a payload app, is given this in place of the vault: whatever key it uses, no row of
another owner can be meant by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flight.core.errors import MisuseError
from flight.core.future import Future
from flight.store.vault import KEY_OCTETS_MAX, Changes, Vault


class VaultView:
    """The rows of `vault` whose keys are `owner`, a dot and more; here they go by what stands behind the dot.

    An owner's name has no dot, so that no owner's rows are among those of another. The methods are the vault's own.
    """

    def __init__(self, vault: Vault, owner: str) -> None:
        self._vault = vault
        self._owner = owner
        self._prefix = f"{owner}."

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._vault

    def get(self, key: str) -> bytes | None:
        """The value of the row, None if there is no such row."""
        return self._vault.get(self._prefix + key)

    def is_stale(self, key: str) -> bool:
        """Whether a transaction that is gone may have changed or deleted the row, and nothing has written it since."""
        return self._vault.is_stale(self._prefix + key)

    def rows(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """The owner's rows whose keys start with `prefix`, the prefix taken off, in order of keys."""
        return self._vault.rows(self._prefix + prefix)

    def stage(self, changes: Changes) -> None:
        """Make `changes`, durable together with whatever is synced next. Raises StorageError, with nothing changed."""
        self._vault.stage(self.in_vault(changes))

    def commit(self, changes: Changes) -> Future[None]:
        """Make `changes`; the future is done when they are durable, all of them. Raises as `stage` does."""
        return self._vault.commit(self.in_vault(changes))

    def in_vault(self, changes: Changes) -> Changes:
        """`changes` by the keys that the vault has for them. Raises MisuseError for what is no row of a vault."""
        given: Mapping[Any, Any] = changes
        for key, value in given.items():
            if not isinstance(key, str) or not isinstance(value, bytes | None):
                what = f"{key!a}: {type(value).__name__}"
                raise MisuseError(f"app {self._owner}: stores {what}, should be a text, and octets or None")
            try:
                octets = len((self._prefix + key).encode())
            except UnicodeEncodeError:
                raise MisuseError(f"app {self._owner}: stores a row whose key {key!a} is not Unicode text") from None
            if octets > KEY_OCTETS_MAX:
                most = f"{octets} octets, {KEY_OCTETS_MAX} at most"
                raise MisuseError(f"app {self._owner}: stores a row whose key has {most}")
        return {self._prefix + key: value for key, value in changes.items()}
