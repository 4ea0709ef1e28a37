"""Forged telecommand frames as the CLTUs that somebody sends who knows all of a link but its keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from flight.contract.sections import link_plans
from flight.link.coding.cltu import encode_cltu
from flight.link.security.associations import End
from flight.link.security.keyring import Keyring
from flight.link.security.link_security import LinkSecurity
from flight.link.tc.tc_frame import TcFrame
from flight.link.tm_tc_stack import LinkConfig
from flight.mission import Mission

# Of every forged number: beyond any that a ground uses, also one that counts on from its clock.
_FRESH = 1 << 62
_DATA_OCTETS = 20
_UP_A = 1
_UNKNOWN_SPI = 77


class Forger:
    """Makes frames for the first link of a mission. It needs the keys only to have a frame that can be replayed."""

    def __init__(self, mission: Mission, keys: Keyring) -> None:
        config = mission.links[0].config
        assert isinstance(config, LinkConfig)
        assert config.up_suite is not None
        self._config, self._suite = config, config.up_suite
        self._random = Random(3)
        recorded = LinkSecurity(End.GROUND, keys, link_plans(mission.links), random=self._random.randbytes)
        while store := recorded.to_store():
            recorded.stored(store.generation)
        # Its number is 1, which the first command of a ground spends.
        self._recorded = encode_cltu(
            TcFrame(config.spacecraft_id, config.tc_vcid, 0, bytes(_DATA_OCTETS), bypass=True).encode(
                lambda header, data: recorded.protect(0, header, data) or b"",
                self._suite.overhead_octets,
            )
        )
        self._count = 0
        self.kinds: dict[str, Callable[[], bytes]] = {
            "crc": lambda: self._cltu(wrong_bit=True),
            "spacecraft": lambda: self._cltu(spacecraft_id=config.spacecraft_id ^ 1),
            "spi": lambda: self._cltu(spi=_UNKNOWN_SPI),
            "replay": lambda: self._recorded,
            "mac": self._cltu,
        }

    def _cltu(self, spacecraft_id: int | None = None, spi: int = _UP_A, wrong_bit: bool = False) -> bytes:
        """Return a frame in sequence of which everything is right but its MAC, and what is named."""
        config, octets = self._config, self._random.randbytes(_DATA_OCTETS + self._suite.trailer_octets)
        self._count += 1
        data = spi.to_bytes(2, "big") + (_FRESH + self._count).to_bytes(self._suite.number_octets, "big") + octets
        id_or_ours = config.spacecraft_id if spacecraft_id is None else spacecraft_id
        raw = bytearray(TcFrame(id_or_ours, config.tc_vcid, self._count % 256, data).encode())
        raw[10] ^= wrong_bit
        return encode_cltu(bytes(raw))

    def write(self, path: Path, kinds: tuple[str, ...], count: int) -> None:
        """Write `count` datagrams of these kinds in turn, as flood.c reads them."""
        with path.open("wb") as file:
            for number in range(count):
                cltu = self.kinds[kinds[number % len(kinds)]]()
                file.write(len(cltu).to_bytes(2, "big") + cltu)
