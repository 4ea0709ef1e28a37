"""Both ends of protected links for tests: keys from a seed, and a storage that does what a test says."""

from __future__ import annotations

from random import Random

from flight.link.actions import StoreSecurity
from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import Keyring, delivered_keys
from flight.link.security.keys_text import format_keys, parse_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE

BOTH = (LinkPlan("radio", CMAC_SUITE, GCM_SUITE),)
HEADER = b"\x21\xab\x00\x20\x07"


def keys_of(plans: tuple[LinkPlan, ...] = BOTH, seed: int = 1) -> str:
    """The text of a keys file for these links."""
    random = Random(seed)
    return format_keys(delivered_keys(plans, lambda _: random.randbytes(32), simulated=True, node="node"))


class SecurityEnd:
    """One end over a storage that keeps the last content, unless it is broken."""

    def __init__(self, end: End, text: str = "", plans: tuple[LinkPlan, ...] = BOTH, seed: int = 1) -> None:
        self.end = end
        self.plans = plans
        self.text = text or keys_of(plans)
        self.kept: bytes | None = None
        self.broken = False
        self.random = Random(seed)
        self.boot()

    def boot(self, lost: bool = False, clock_number: int = 0, keyring: Keyring | None = None) -> None:
        self.security = LinkSecurity(
            self.end, keyring or parse_keys(self.text), self.plans, stored=self.kept, lost=lost,
            clock_number=clock_number, random=self.random.randbytes,
        )  # fmt: skip

    def settle(self, store: StoreSecurity | None = None) -> None:
        """Write whatever is to be written."""
        while store := store or self.security.to_store():
            if self.broken:
                self.security.store_failed(store.generation)
            else:
                self.kept = store.content
                self.security.stored(store.generation)
            store = None

    def send(self, data: bytes = b"data", link: int = 0) -> bytes | None:
        body = self.security.protect(link, HEADER, data)
        if body is None:
            self.settle()
            body = self.security.protect(link, HEADER, data)
        return body

    def take(self, body: bytes, link: int = 0) -> bytes:
        """The data of a frame, its number spent; raises SecurityError."""
        checked = self.security.check(link, HEADER, body)
        if checked.waits:
            self.settle()
            checked = self.security.check(link, HEADER, body)
        self.security.commit(link, checked)
        self.settle()
        return checked.data


def pair(plans: tuple[LinkPlan, ...] = BOTH) -> tuple[SecurityEnd, SecurityEnd]:
    """Ground and node with the same keys."""
    ground, node = SecurityEnd(End.GROUND, plans=plans, seed=2), SecurityEnd(End.NODE, plans=plans, seed=3)
    for end in (ground, node):
        end.settle()
    return ground, node
