"""What a recording is made of: as the user states it, a mission file describes it, or detection found it.

One type serves all three. A field that is None is not known; detection fills in what is None and keeps what is not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

from flight.kernels import INTERLEAVES
from flight.link.aos_stack import AosConfig
from flight.link.coding.tm_coding import RANDOMIZERS, TmCoding
from flight.link.downlink_config import DownlinkConfig
from flight.link.security.suites import GCM_SUITE
from flight.link.tm.aos_frame import VC_IDLE

SKIP_OCTETS_MAX = 64  # in front of a packet: station headers are shorter
FRAME_OCTETS_MAX = 65_536
FIELD_OCTETS_MAX = 256  # of an insert zone, a security header or a security trailer; more than any mission uses

CODINGS = ("none", "rs(255,223)", "rs(255,239)")
# Check symbols per codeword.
PARITY = {"none": 0, "rs(255,223)": 32, "rs(255,239)": 16}


class Form(StrEnum):
    """What the file consists of, one after the other."""

    UNITS = "units"  # attached sync marker and codeblock or frame, CCSDS 131.0-B-5
    FRAMES = "frames"  # transfer frames alone, TM or AOS
    PACKETS = "packets"  # space packets, CCSDS 133.0-B-2
    ENCAPSULATION = "encapsulation"  # encapsulation packets, CCSDS 133.1-B-3


class Service(StrEnum):
    """The kind of transfer frames: CCSDS 132.0-B-3 or 732.0-B-4."""

    TM = "tm"
    AOS = "aos"


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How to read a recording. What is None is detected from the data; `spacecraft_id` and `vcids` None take any.

    form: what the file consists of.
    service, frame_octets, has_fecf: kind and length of transfer frames, and whether they end with error control.
    has_ocf: AOS: each frame has an operational control field. TM frames say so themselves.
    insert_octets, has_header_control: AOS: length of the insert zone, and whether there is header error control.
    spacecraft_id, vcids: frames of others are counted and left out.
    coding, interleave: one of CODINGS and, for a Reed-Solomon code, the number of codewords per unit.
    randomizer: "none", "short" (255 bits) or "long" (131,071 bits).
    convolutional: whether the inner code of rate 1/2 lies over the units.
    skip_octets: octets in front of every packet of a file of packets, passed over.
    any_version: give packets of any version number, read like those of version 0.
    joins_segments: join segments to the packets that they are parts of.
    security_header_octets, security_trailer_octets: lengths in every frame (CCSDS 355.0-B-2); passed over, not checked.
    is_encrypted: what stands between them cannot be read; frames are counted and refused.
    """

    form: Form | None = None
    service: Service | None = None
    frame_octets: int | None = None
    has_fecf: bool | None = None
    has_ocf: bool | None = None
    insert_octets: int | None = None
    has_header_control: bool | None = None
    spacecraft_id: int | None = None
    vcids: tuple[int, ...] | None = None
    coding: str | None = None
    interleave: int | None = None
    randomizer: str | None = None
    convolutional: bool | None = None
    skip_octets: int | None = None
    any_version: bool = False
    joins_segments: bool | None = None
    security_header_octets: int = 0
    security_trailer_octets: int = 0
    is_encrypted: bool = False

    @classmethod
    def from_config(cls, config: DownlinkConfig, form: Form | None = None) -> Self:
        """Return what a mission says of a link; `form` is left to detection if it is not given."""
        is_aos = isinstance(config, AosConfig)
        coding = config.tm_coding
        suite = config.down_suite
        return cls(
            form=form,
            service=Service.AOS if is_aos else Service.TM,
            frame_octets=config.frame_octets,
            has_fecf=True,
            has_ocf=not is_aos,
            insert_octets=0,
            has_header_control=False,
            spacecraft_id=config.spacecraft_id,
            coding="none" if coding is None or config.coding == "cadu" else config.coding,
            interleave=None if coding is None else coding.interleave,
            randomizer="none" if coding is None else coding.randomizer,
            convolutional=False if coding is None else coding.convolutional,
            security_header_octets=0 if suite is None else suite.header_octets,
            security_trailer_octets=0 if suite is None else suite.trailer_octets,
            is_encrypted=suite is GCM_SUITE,
        )

    @property
    def is_framed(self) -> bool:
        """Whether packets come in frames."""
        return self.form in (Form.UNITS, Form.FRAMES)

    @property
    def tm_coding(self) -> TmCoding:
        """How the frames of units are coded. The options that `missing` asks for must be known."""
        assert self.frame_octets is not None
        return TmCoding(
            self.frame_octets,
            parity=PARITY[self.coding or "none"],
            interleave=self.interleave or 1,
            randomizer=self.randomizer or "none",
            convolutional=bool(self.convolutional),
        )

    def missing(self) -> list[str]:
        """Return the names of options that must be known before a recording can be read, and are None."""
        needed = {
            None: ("form",),
            Form.PACKETS: (),
            Form.ENCAPSULATION: (),
            Form.FRAMES: ("service", "frame_octets"),
            Form.UNITS: ("service", "frame_octets", "coding", "randomizer"),
        }[self.form]
        return [name for name in needed if getattr(self, name) is None]

    def faults(self) -> list[str]:
        """List what is wrong with the options, alone or in combination; each line says what would be right."""
        out = [
            f"{name} is {value}, should be {least} .. {most}"
            for name, least, most in (
                ("frame_octets", 8, FRAME_OCTETS_MAX),
                ("spacecraft_id", 0, 0x3FF),
                ("insert_octets", 0, FIELD_OCTETS_MAX),
                ("skip_octets", 0, SKIP_OCTETS_MAX),
                ("security_header_octets", 0, FIELD_OCTETS_MAX),
                ("security_trailer_octets", 0, FIELD_OCTETS_MAX),
            )
            if (value := getattr(self, name)) is not None and not least <= value <= most
        ]
        vcid_max = 7 if self.service is Service.TM else VC_IDLE
        if self.vcids is not None and not all(0 <= vcid <= vcid_max for vcid in self.vcids):
            out.append(f"virtual channels are {list(self.vcids)}, should be 0 .. {vcid_max}")
        if self.coding not in (None, *CODINGS):
            out.append(f"coding is {self.coding!r}, should be one of {', '.join(CODINGS)}")
        if self.randomizer not in (None, *RANDOMIZERS):
            out.append(f"randomizer is {self.randomizer!r}, should be one of {', '.join(RANDOMIZERS)}")
        if self.interleave is not None and self.interleave not in INTERLEAVES:
            out.append(f"interleave is {self.interleave}, should be one of {', '.join(map(str, INTERLEAVES))}")
        # Combinations are checked only if every value is in range by itself: one mistake, one message.
        if not out and self.is_framed and self.frame_octets is not None and self.frame_octets < self._frame_octets_min:
            out.append(
                f"frame_octets is {self.frame_octets}, should be {self._frame_octets_min} or more with these fields"
            )
        if not out and self.form is Form.UNITS and not self.missing():
            out += [f"{name} {what}" for name, what in self.tm_coding.faults()]
        return out

    @property
    def _frame_octets_min(self) -> int:
        """Length of the shortest frame: all its fields and one octet of data."""
        security = self.security_header_octets + self.security_trailer_octets
        if self.service is not Service.AOS:
            return 13 + security  # header, control field, error control
        fields = 2 * bool(self.has_header_control) + (self.insert_octets or 0) + 4 * bool(self.has_ocf)
        return 6 + fields + security + 2 + 1 + 2 * bool(self.has_fecf)

    def stated(self) -> dict[str, object]:
        """Return the options that differ from their defaults, by name: what is known of the recording."""
        default = LinkOptions()
        return {
            option.name: value
            for option in fields(self)
            if (value := getattr(self, option.name)) != getattr(default, option.name)
        }
