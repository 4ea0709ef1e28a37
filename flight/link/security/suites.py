"""The two cryptographic suites of CCSDS 352.0-B-2 that a link may fly: AES-256-CMAC and AES-256-GCM.

A suite says how many octets it adds to a frame. `keyed` gives it a key, and what it returns protects and verifies. The
arithmetic is that of `cryptography`; the layout of security header and trailer is here (CCSDS 355.0-B-2, 4.1):

    authenticated   SPI 2 | sequence number 8 | data in clear | MAC 16       26 octets in all
    encrypted       SPI 2 | IV 12             | ciphertext    | MAC 16       30 octets in all
"""

# The MAC covers everything that stands before it, the frame's whole primary header included: the authentication mask
# is all ones (ADR 0039 says why N(S) is not left out). The IV is the sequence number, so one field serves both, and a
# number that is never used twice is an IV that is never used twice.
#
# Time: a MAC is compared by `cryptography`, which does it in constant time. What is done before the comparison depends
# on lengths alone, and of a frame whose MAC is wrong no octet is given out.
#
# Cost: to set up a key costs more than to protect a frame. So a keyed suite is made once per key and kept; for CMAC the
# context with the key in it is copied per frame (1.6 us; 3.5 us if the key is set up again).
#
# Wiping: the octets of a key are a bytearray that `Key.wipe` overwrites (keyring.py). What cannot be wiped: the
# contexts inside OpenSSL, which clear themselves when Python lets go of them, and copies that Python or `cryptography`
# made on the way. So a process that held a key must be trusted until it ends, and a core dump of it is a secret.

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.constant_time import bytes_eq

from flight.core.errors import DecodeError

KEY_OCTETS = 32
SPI_OCTETS = 2
MAC_OCTETS = 16
IV_OCTETS = 12


class MacError(DecodeError):
    """Raised for octets whose message authentication code is not the one that the key gives."""


class KeyedSuite(ABC):
    """A suite with a key in it."""

    @abstractmethod
    def protect(self, header: bytes, spi: bytes, number: int, data: bytes) -> bytes:
        """Return security header, data as it goes over the link, and MAC. `header` stands before them, covered too."""

    @abstractmethod
    def opened(self, header: bytes, body: bytes) -> bytes | None:
        """Return the data of `body`, which is what `protect` made; None if an octet of it is another."""

    def verify(self, header: bytes, body: bytes) -> bytes:
        """Return what `opened` does; raises MacError instead of None."""
        data = self.opened(header, body)
        if data is None:
            raise MacError("MAC mismatch")
        return data


class KeyedCmac(KeyedSuite):
    """AES-256-CMAC: data in clear, 64-bit numbers."""

    def __init__(self, key: bytes | bytearray) -> None:
        self._context = CMAC(AES256(key))

    def protect(self, header: bytes, spi: bytes, number: int, data: bytes) -> bytes:
        """See KeyedSuite."""
        covered = spi + number.to_bytes(8, "big") + data
        return covered + self.mac(header + covered)

    def opened(self, header: bytes, body: bytes) -> bytes | None:
        """See KeyedSuite."""
        # Not the context's own `verify`: its exception costs more than the MAC, and whoever forges chooses how often.
        context = self._context.copy()
        context.update(header + body[:-MAC_OCTETS])
        return body[10:-MAC_OCTETS] if bytes_eq(context.finalize(), body[-MAC_OCTETS:]) else None

    def mac(self, octets: bytes) -> bytes:
        """Return the 16 octets of CMAC over `octets` (NIST SP 800-38B)."""
        context = self._context.copy()
        context.update(octets)
        return context.finalize()


class KeyedGcm(KeyedSuite):
    """AES-256-GCM: ciphertext, 96-bit numbers that are the IV."""

    def __init__(self, key: bytes | bytearray) -> None:
        self._cipher = AESGCM(key)

    def protect(self, header: bytes, spi: bytes, number: int, data: bytes) -> bytes:
        """See KeyedSuite."""
        iv = number.to_bytes(IV_OCTETS, "big")
        security_header = spi + iv
        return security_header + self._cipher.encrypt(iv, data, header + security_header)

    def opened(self, header: bytes, body: bytes) -> bytes | None:
        """See KeyedSuite."""
        try:
            return self._cipher.decrypt(body[2:14], body[14:], header + body[:14])
        except InvalidTag:
            return None

    def seal(self, iv: bytes, octets: bytes, covered: bytes = b"") -> bytes:
        """Return ciphertext and MAC of `octets`; the MAC covers `covered` too (NIST SP 800-38D)."""
        return self._cipher.encrypt(iv, octets, covered)

    def unseal(self, iv: bytes, sealed: bytes, covered: bytes = b"") -> bytes:
        """Return what `seal` was given; raises MacError if an octet is another."""
        if len(sealed) < MAC_OCTETS:
            raise MacError(f"{len(sealed)} octets, the MAC alone has {MAC_OCTETS}")
        try:
            return self._cipher.decrypt(iv, sealed, covered)
        except InvalidTag:
            raise MacError("MAC mismatch") from None


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite: the name that a mission gives it, and the octets that it adds before and behind the data.

    Numbers below `numbers_end` count frames. GCM leaves out the upper half of its IVs, which are the random ones.
    """

    name: str
    number_octets: int
    numbers_end: int

    @property
    def header_octets(self) -> int:
        """Length of the security header."""
        return SPI_OCTETS + self.number_octets

    @property
    def trailer_octets(self) -> int:
        """Length of the security trailer: the MAC."""
        return MAC_OCTETS

    @property
    def overhead_octets(self) -> int:
        """What protection adds to a frame: header and trailer."""
        return self.header_octets + self.trailer_octets

    def keyed(self, key: bytes | bytearray) -> KeyedSuite:
        """Return this suite with a key of 32 octets."""
        if len(key) != KEY_OCTETS:
            raise DecodeError(f"key of {len(key)} octets, AES-256 takes {KEY_OCTETS}")
        return KeyedGcm(key) if self.name == "encrypted" else KeyedCmac(key)

    def random_number(self, octets: bytes) -> int:
        """Return a number of the upper half, which no count reaches, from `number_octets` random octets."""
        return int.from_bytes(octets, "big") | 1 << 8 * self.number_octets - 1


CMAC_SUITE = Suite("authenticated", 8, 1 << 63)
GCM_SUITE = Suite("encrypted", IV_OCTETS, 1 << 95)
SUITES: dict[str, Suite | None] = {"clear": None, CMAC_SUITE.name: CMAC_SUITE, GCM_SUITE.name: GCM_SUITE}
"""What the keys `uplink_security` and `downlink_security` of a mission may say."""
