"""Answers about link security: whose ground this is, and what its own end made of a procedure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flight.core.errors import OrbitnodeError
from flight.link.security.keyring import MASTER_KEY_ID
from ground.station import GroundStation


def on_security(station: GroundStation, request: dict[str, Any], link: str, hears: Sequence[str]) -> dict[str, Any]:
    """Say whose ground this is, or have its own end do what `procedure` or `send_over` asks. Raises OrbitnodeError.

    link: the one that it commands over. hears: further ones that it listens to.
    """
    if request["do"] == "identity":
        return _identity(station) | {"link": link, "hears": list(hears)}
    if station.security is None:
        raise OrbitnodeError("no link of this mission is protected")
    if request["do"] == "send_over":
        answer = station.security.choose(request.get("spi", 0))
    else:
        answer = station.security.execute(_octets(request.get("octets", "")))
    return {"reply": answer.reply.hex(), "refused": answer.refused, "text": answer.text}


def _identity(station: GroundStation) -> dict[str, Any]:
    """Return whose ground this is, by its keys if it has any.

    Whoever changes a key asks it first: beside the ground of another mission the change would be made there.
    """
    security, dictionary = station.security, station.dictionary
    master = None if security is None else security.security.state.keyring.get(MASTER_KEY_ID)
    # Its dictionary may be of another mission, by --dictionary; its keys cannot.
    node, spacecraft_id = dictionary.mission, dictionary.spacecraft_id
    if security is not None and security.node:
        node, spacecraft_id = security.node, security.spacecraft_id
    fingerprint = "" if master is None else master.fingerprint.hex()
    return {"node": node, "spacecraft_id": spacecraft_id, "master": fingerprint}


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise OrbitnodeError("octets should be hexadecimal digits, two for each") from None
