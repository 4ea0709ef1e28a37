"""What both ends of a link agree on about the way down, whatever kind of link it is."""

# A config is one section of a mission file, and its keys are the fields here: a key is declared once, with its bounds
# and its meaning, and the node, the ground and the mission's documentation read it from this place (ADR 0028).
#
# Bounds of a single key stand in `key(...)`. What keys may not say together stands in `faults`, which returns every
# contradiction of a section at once, so that a mission file is mended in one go.

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flight.core.config import key
from flight.link.coding.tm_coding import CODINGS, PARITY, RANDOMIZERS, TmCoding
from flight.link.link import Role
from flight.link.security.suites import SUITES, Suite

ROLE_NAMES = {role.name.lower(): role for role in Role}  # as a mission file has them, in order of priority
# The largest sum of the minimum shares of playback and products: a tenth is for live telemetry at all times.
MIN_FRACS_MAX = 0.9
# Of the key `carries`, whose default is each kind's own.
CARRIES_TEXT = (
    "live telemetry, the recorder, payload products; by default all of them with `tm-tc`, and products alone with `aos`"
)


@dataclass(frozen=True, slots=True)
class DownlinkConfig:
    """The keys of every `[[link]]`; each kind of link adds its own and may narrow these.

    `carries` names the roles that have a channel. Nothing else goes down, and the ground refuses frames of any other
    channel.
    """

    kind: ClassVar[str]
    simplex: ClassVar[bool] = False  # True if nothing can be sent up

    spacecraft_id: int = key(0x1AB, minimum=0, maximum=0x3FF, text="spacecraft id in every frame")
    frame_octets: int = key(1115, minimum=64, maximum=2048, text="length of a telemetry frame")
    coding: str = key(
        "cadu",
        choices=CODINGS,
        text="`frame`: bare frames; `cadu`: sync marker and randomizer around each; `rs(...)`: with Reed-Solomon check "
        "symbols as well",
    )
    interleave: int = key(
        5,
        minimum=1,
        maximum=8,
        text="with `rs(...)`, codewords in a unit: 1, 2, 3, 4, 5 or 8; `frame_octets` must be a multiple",
    )
    randomizer: str = key(
        "short",
        choices=RANDOMIZERS,
        text="sequence that randomizes units: 255 bit as most ground systems have it, 131,071 bit of 131.0-B-5, or "
        "none",
    )
    convolutional: bool = key(
        False, text="inner convolutional code, K = 7, rate 1/2, around all units: twice the channel symbols"
    )
    downlink_security: str = key(
        "clear",
        choices=tuple(SUITES),
        text="telemetry frames: `clear`, `authenticated` (AES-256-CMAC) or `encrypted` (AES-256-GCM, authenticated as "
        "well)",
    )
    carries: tuple[str, ...] = key(tuple(ROLE_NAMES), choices=tuple(ROLE_NAMES), text=CARRIES_TEXT)
    playback_min_frac: float = key(
        0.0, minimum=0.0, maximum=1.0, text="least share of the frames that the recorder gets while it waits"
    )
    products_min_frac: float = key(0.0, minimum=0.0, maximum=1.0, text="the same for products")
    vc_realtime: int = key(0, minimum=0, maximum=7, text="channel of housekeeping, reports and events")
    vc_playback: int = key(1, minimum=0, maximum=7, text="channel of the recorder")
    vc_products: int = key(2, minimum=0, maximum=7, text="channel of payload products")
    queue_packets: int = key(512, minimum=1, maximum=65536, text="packets held for each channel at most")
    queue_octets: int = key(262144, minimum=65542, maximum=1 << 28, text="octets held for each channel at most")

    @property
    def tm_coding(self) -> TmCoding | None:
        """How frames are coded on the way down; None if they go bare."""
        if self.coding == "frame":
            return None
        return TmCoding(
            self.frame_octets,
            parity=PARITY[self.coding],
            interleave=self.interleave,
            randomizer=self.randomizer,
            convolutional=self.convolutional,
        )

    @property
    def unit_octets(self) -> int:
        """Octets that one frame takes on the downlink, coding included."""
        coding = self.tm_coding
        return self.frame_octets if coding is None else coding.unit_octets

    @property
    def down_suite(self) -> Suite | None:
        """What protects the way down; None if nothing does."""
        return SUITES[self.downlink_security]

    @property
    def up_suite(self) -> Suite | None:
        """What protects the way up; None if nothing does, or there is none."""
        return None

    @property
    def is_protected(self) -> bool:
        """Whether either way needs keys."""
        return self.up_suite is not None or self.down_suite is not None

    @property
    def down_overhead_octets(self) -> int:
        """Octets of a frame that its protection takes."""
        suite = self.down_suite
        return 0 if suite is None else suite.overhead_octets

    @property
    @abstractmethod
    def data_octets(self) -> int:
        """Room for packets in a frame of the way down, octets."""

    @property
    def channels(self) -> dict[Role, int]:
        """The virtual channel of each role that the link carries, in order of priority."""
        vcids = {
            Role.REALTIME: self.vc_realtime,
            Role.PLAYBACK: self.vc_playback,
            Role.PRODUCTS: self.vc_products,
        }
        return {role: vcids[role] for name, role in ROLE_NAMES.items() if name in self.carries}

    @property
    def shares(self) -> dict[int, float]:
        """The minimum share of the frames that each virtual channel gets while it waits."""
        least = {Role.PLAYBACK: self.playback_min_frac, Role.PRODUCTS: self.products_min_frac}
        return {vcid: least[role] for role, vcid in self.channels.items() if role in least}

    def faults(self) -> list[tuple[str, str]]:
        """Return (key, what is wrong and what would be right) for values that contradict each other."""
        out = self.tm_coding.faults() if self.tm_coding is not None else []
        if self.convolutional and self.tm_coding is None:
            out.append(("convolutional", 'is true, should go with coding = "cadu" or a Reed-Solomon code'))
        if not self.carries or len(set(self.carries)) < len(self.carries):
            out.append(("carries", f"is {list(self.carries)}, should name each role once, and at least one"))
        least = {"playback": self.playback_min_frac, "products": self.products_min_frac}
        for name, frac in least.items():
            if frac and name not in self.carries:
                out.append((f"{name}_min_frac", f"is {frac:g}, should be 0 on a link that does not carry {name}"))
        if sum(least.values()) > MIN_FRACS_MAX:
            right = f"should be at most {MIN_FRACS_MAX:g} together, so that live telemetry has room"
            out.append(("products_min_frac", f"is {sum(least.values()):g} with playback_min_frac, {right}"))
        return out + self.channel_faults(("vc_realtime", "vc_playback", "vc_products"))

    def channel_faults(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return a fault for each of these keys whose virtual channel belongs to a key before it."""
        out: list[tuple[str, str]] = []
        seen: dict[int, str] = {}
        for name in names:
            vcid: int = getattr(self, name)
            if vcid in seen:
                out.append((name, f"is {vcid} like {seen[vcid]}, each channel should have its own"))
            seen.setdefault(vcid, name)
        return out
