"""Procedures of link security through a running ground: to the node as commands, to the ground itself by its API."""

# The reply of the node is a report that came before the command's completion, so it is there when the command has
# ended; a procedure that has none is not waited for. A command that ends as lost, or was never sent, says nothing of
# what the node did: no answer came. What the node refuses ends as failed, with the reason in the detail of its report:
# a word of management.REFUSALS, and a text.

from __future__ import annotations

import re
from dataclasses import dataclass

from flight.core.errors import OrbitnodeError
from flight.link.security.management import REFUSALS
from flight.link.security.procedures import ANSWERED, Pdu
from ground.cli.api.client import GroundClient
from ground.link.cop1.link_status import MANUAL
from ground.link.security.key_rotation import SILENT, Answer
from ground.operator import COMPLETED, FAILED, REJECTED

COMMAND, REPLY = "security_procedure", "security_reply"
REPLY_S = 2.0  # a report is decoded before the one behind it, so this is long
_REFUSED = re.compile(rf"\b({'|'.join(REFUSALS)}): (.*?)\)?$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GroundIdentity:
    """Whose ground it is, and what it commands over and listens to.

    master: the fingerprint of its master key in hexadecimal digits, "" without keys. idle_by_hand: whether the command
    link is manual and down, so that nothing goes up.
    """

    node: str
    spacecraft_id: int
    master: str
    link: str
    hears: tuple[str, ...]
    idle_by_hand: bool


class ApiTransport:
    """ground.link.security.key_rotation.RotationTransport over the API. Raises OrbitnodeError if no ground answers."""

    def __init__(self, port: int) -> None:
        self._client = GroundClient(port, faithful=True)
        self._client.ask(do="operate")

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def identity(self) -> GroundIdentity:
        """Return whose ground this is. Raises OrbitnodeError."""
        told = self._client.ask(do="identity")
        link = self._client.ask(do="link")["link"]
        by_hand = link.get("mode") == MANUAL and link["service"] == "idle"
        return GroundIdentity(
            told["node"], told["spacecraft_id"], told["master"], told["link"], tuple(told["hears"]), by_hand
        )

    def exchange(self, pdu: bytes) -> Answer:
        """Send a procedure to the node, and return its answer."""
        record = self._client.ask(do="send", name=COMMAND, arguments={"pdu": [[octet] for octet in pdu]})["record"]
        if record["outcome"] == COMPLETED:
            if Pdu.decode(pdu).procedure not in ANSWERED:
                return Answer()
            values = self._client.ask(do="wait_for", name=REPLY, timeout_s=REPLY_S)["values"]
            # The octets are rows of one field, and come as pdu[0].octet and so on, in their order.
            return Answer(bytes(values.values()) if values is not None else b"")
        found = _REFUSED.search(record["reason"])
        if record["outcome"] == FAILED and found is not None:
            return Answer(refused=found[1], text=found[2])
        if record["outcome"] in (FAILED, REJECTED) and record["code"] is not None:
            return Answer(refused="node", text=record["reason"])
        return SILENT

    def own(self, pdu: bytes) -> Answer:
        """Have the ground execute a procedure on its own keys and associations, and store what changed."""
        return _answer(self._client.ask(do="procedure", octets=pdu.hex()))

    def choose(self, spi: int) -> Answer:
        """Have the ground send over this association from now on."""
        return _answer(self._client.ask(do="send_over", spi=spi))


def _answer(answer: dict[str, object]) -> Answer:
    try:
        return Answer(bytes.fromhex(str(answer["reply"])), str(answer["refused"]), str(answer["text"]))
    except (KeyError, ValueError):
        raise OrbitnodeError("the ground's answer is not understood; is it of another version?") from None
