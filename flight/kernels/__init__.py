"""C kernels behind cffi and their thin Python wrappers: one call per frame or a whole stream, never an octet."""

# What stands here is the whole interface: other rooms import from this package, never from the modules below it or from
# the extension module. Every kernel has a plain model in tests/, which it must equal on any input; its vector paths
# must equal its portable path; and it runs under sanitizers and a fuzzer (tests/sanitize, tests/fuzz).

from flight.kernels.binding import KernelError, ReadBuffer, WriteBuffer
from flight.kernels.cltu import Codeblocks, ErrorMode, decode_codeblocks, find_start, make_cltu
from flight.kernels.columns import FieldColumns, FieldSpec, PacketLayout, extract_fields
from flight.kernels.convolutional import ConvolutionalEncoder, ViterbiDecoder, soften
from flight.kernels.crc import crc16, crc16_units, crc32c, modular_checksum
from flight.kernels.frames import (
    ENCAPSULATION_OCTETS_MAX,
    AosLink,
    BatchExtractor,
    ChannelCounters,
    ExtractedPackets,
    FrameColumns,
    TmLink,
    Verdict,
)
from flight.kernels.gather import gather_octets
from flight.kernels.marker import MarkerSync, UnitFlag, UnitRoom, Units
from flight.kernels.packets import PacketColumns, Stop, encode_packets, split_packets
from flight.kernels.randomizer import Randomizer, randomize_tc, randomize_tm, randomize_tm_long, randomize_units
from flight.kernels.reed_solomon import INTERLEAVES, decode_reed_solomon, encode_reed_solomon
from flight.kernels.uplink import (
    TC_LOOK,
    TC_VERDICTS,
    CltuMachine,
    CltuUnits,
    FrameSecurityRules,
    FrameSieve,
    SiftedFrames,
)

__all__ = [
    "ENCAPSULATION_OCTETS_MAX",
    "INTERLEAVES",
    "TC_LOOK",
    "TC_VERDICTS",
    "AosLink",
    "BatchExtractor",
    "ChannelCounters",
    "CltuMachine",
    "CltuUnits",
    "Codeblocks",
    "ConvolutionalEncoder",
    "ErrorMode",
    "ExtractedPackets",
    "FieldColumns",
    "FieldSpec",
    "FrameColumns",
    "FrameSecurityRules",
    "FrameSieve",
    "KernelError",
    "MarkerSync",
    "PacketColumns",
    "PacketLayout",
    "Randomizer",
    "ReadBuffer",
    "SiftedFrames",
    "Stop",
    "TmLink",
    "UnitFlag",
    "UnitRoom",
    "Units",
    "Verdict",
    "ViterbiDecoder",
    "WriteBuffer",
    "crc16",
    "crc16_units",
    "crc32c",
    "decode_codeblocks",
    "decode_reed_solomon",
    "encode_packets",
    "encode_reed_solomon",
    "extract_fields",
    "find_start",
    "gather_octets",
    "make_cltu",
    "modular_checksum",
    "randomize_tc",
    "randomize_tm",
    "randomize_tm_long",
    "randomize_units",
    "soften",
    "split_packets",
]
