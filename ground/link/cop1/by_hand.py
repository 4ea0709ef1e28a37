"""What an operator asks of a commanding link, in the words of the API and the command line."""

from __future__ import annotations

from ground.link.actions import Action
from ground.link.cop1.directive_values import AUTO, directive_of
from ground.link.ground_link import GroundLink


def lead(session: GroundLink, action: str, value: float | None, now_ns: int) -> list[Action]:
    """Return what an operator's action asks of the link; raises OrbitnodeError for what cannot be, or is refused."""
    return session.auto(now_ns) if action == AUTO else session.direct(directive_of(action, value), now_ns)
