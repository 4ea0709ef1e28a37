"""Whether a link is heard: contact begins with a good frame, and ends when none came for a while."""

# Only a good frame begins a contact: noise that happens to look like a marker must not start the AD service. Silence
# ends it rather than the end of the pass that was predicted, because only silence is seen.

from __future__ import annotations

from dataclasses import dataclass

from ground.link.ground_link import GroundLink


@dataclass(slots=True)
class Reception:
    """One link and its contact. `name` is empty for the station's own link, over which it commands."""

    link: GroundLink
    silence_ns: int
    name: str = ""
    in_contact: bool = False
    contacts: int = 0
    _last_heard_ns: int = 0

    def heard(self, now_ns: int) -> bool:
        """Note a good frame; return True if a contact begins with it."""
        self._last_heard_ns = now_ns
        if self.in_contact:
            return False
        self.in_contact = True
        self.contacts += 1
        return True

    def is_silent(self, now_ns: int) -> bool:
        """Return whether the contact is over, because no frame came for `silence_ns`."""
        return self.in_contact and now_ns - self._last_heard_ns >= self.silence_ns

    @property
    def next_time_ns(self) -> int | None:
        """When `is_silent` may become true, None out of contact."""
        return self._last_heard_ns + self.silence_ns if self.in_contact else None
