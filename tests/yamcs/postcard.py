"""A payload app that sends a file of known content when it is told to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from flight.contract.app import AppContext
from flight.contract.dictionary import Command, Declarations
from flight.contract.fields import Field


@dataclass(frozen=True, slots=True)
class PostcardConfig:
    """No keys."""


def content(octets: int) -> bytes:
    """Return the content of a postcard of that length: no two stretches of it are alike."""
    blocks = (hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(octets // 32 + 1))
    return b"".join(blocks)[:octets]


class Postcard:
    """The app."""

    CONFIG = PostcardConfig

    @staticmethod
    def declare(apid: int, _config: PostcardConfig) -> Declarations:
        """Declare the one command."""
        octets = Field("octets", "u32", "octet", minimum=1, maximum=1_000_000)
        return Declarations(commands=(Command("send_postcard", apid, 128, 1, "send a file of that length", (octets,)),))

    def __init__(self, context: AppContext) -> None:
        self._outbox = context.outbox
        context.commands.handle("send_postcard", None, self._send)

    def start(self) -> None:
        """Have no task."""

    def close(self) -> None:
        """Have nothing to give back."""

    def _send(self, octets: int) -> None:
        self._outbox.put(f"postcard-{octets}.bin", content(octets))
