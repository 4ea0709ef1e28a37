"""Types of the extension module that build.py makes; orbitnode_kernels.h is the reference."""

from array import array
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Final, Literal, final, overload

class _Pointer:
    """A cdata: a view of a buffer, or a struct of the caller's."""

    consumed: int
    stop: int
    good: int
    corrected: int
    def __len__(self) -> int: ...
    def __add__(self, items: int) -> _Pointer: ...

@final
class _Sync(_Pointer):
    """An ob_sync: the options, and what may be read of the rest."""

    unit_octets: int
    search_errors_max: int
    lock_errors_max: int
    slip_bits_max: int
    flywheel_units: int
    bit_search: int
    inverted_allowed: int
    locks: int
    units: int
    flywheels: int
    inversions: int
    slips: int
    wrong_bits: int
    skipped_bits: int

@final
class _Viterbi:
    """An ob_viterbi of the caller's."""

    symbols_compared: int
    symbol_errors: int
    held: int
    walked: int

@final
class _Link:
    """An `ob_link`."""

    service: int
    frame_octets: int
    spacecraft_id: int
    flags: int
    insert_octets: int
    security_header_octets: int
    security_trailer_octets: int
    vcids: int
    master_missed: int
    hand_octets: int
    verdicts: Sequence[int]

@final
class _Channel:
    """One `ob_channel`."""

    packets: int
    idle_packets: int
    encapsulated: Sequence[int]
    broken: int
    inconsistent: int
    frames: int
    missed: int
    packet_octets: int
    idle_octets: int
    encapsulated_octets: int
    lost_octets: int
    overhead_octets: int
    hand_octets: int

@final
class _Channels:
    """An array of `ob_channel`."""

    def __getitem__(self, index: int) -> _Channel: ...
    def __len__(self) -> int: ...

@final
class _Extraction:
    """An `ob_extraction`."""

    packets: int
    octets: int

@final
class _Fields:
    """An array of `ob_field`."""

@final
class _CltuReceiver:
    """An `ob_cltu_receiver`."""

    units: int
    broken: int
    aborted: int
    codeblocks: int
    corrected: int
    skipped: int
    mode: int
    randomized: int
    open: int

@final
class _Cltus:
    """An `ob_cltus`."""

    consumed: int
    octets: int

@final
class _TcRules:
    """An `ob_tc_rules`."""

    spacecraft_id: int
    vcid: int
    secured: int
    segment_octets: int
    number_octets: int
    overhead_octets: int
    associations: int
    spi: MutableSequence[int]
    ordered: MutableSequence[int]
    spent: _Pointer

@final
class _CType: ...

class _Ffi:
    def typeof(self, cdecl: str) -> _CType: ...
    def from_buffer(
        self, cdecl: _CType, buffer: bytes | bytearray | memoryview | array[int], require_writable: bool = False
    ) -> _Pointer: ...
    @overload
    def new(self, cdecl: Literal["ob_split *"] | _CType) -> _Pointer: ...
    @overload
    def new(self, cdecl: Literal["ob_sync *"]) -> _Sync: ...
    @overload
    def new(self, cdecl: Literal["ob_cltu_receiver *"]) -> _CltuReceiver: ...
    @overload
    def new(self, cdecl: Literal["ob_cltus *"]) -> _Cltus: ...
    @overload
    def new(self, cdecl: Literal["ob_tc_rules *"]) -> _TcRules: ...
    @overload
    def new(self, cdecl: Literal["ob_viterbi *"]) -> _Viterbi: ...
    @overload
    def new(self, cdecl: Literal["ob_link *"], init: Mapping[str, int]) -> _Link: ...
    @overload
    def new(self, cdecl: Literal["ob_channel[]"], init: int) -> _Channels: ...
    @overload
    def new(self, cdecl: Literal["ob_extraction *"]) -> _Extraction: ...
    @overload
    def new(self, cdecl: Literal["ob_field[]"], init: Sequence[Sequence[int | Sequence[int]]]) -> _Fields: ...
    def new_allocator(self, *, should_clear_after_alloc: bool) -> Callable[[_CType, int], _Pointer]: ...
    def cast(self, cdecl: _CType, value: _Pointer) -> _Pointer: ...
    def unpack(self, cdata: _Pointer, length: int) -> list[int]: ...
    def memmove(self, dest: _Pointer, src: bytes | bytearray | memoryview, n: int) -> None: ...
    def buffer(self, cdata: _Pointer, size: int = -1) -> memoryview:
        """Return an object of cffi's own with the buffer protocol; `memoryview` takes it."""
    NULL: _Pointer

class _Lib:
    OB_E_INIT: Final[int]
    OB_E_SPACE: Final[int]
    OB_E_ALIGNMENT: Final[int]
    OB_E_LAYOUT: Final[int]
    OB_STOP_END: Final[int]
    OB_STOP_TRUNCATED: Final[int]
    OB_STOP_VERSION: Final[int]
    OB_STOP_CODEBLOCK: Final[int]
    OB_PACKET_COLUMN_OCTETS: Final[int]
    OB_SEQUENCE_TM: Final[int]
    OB_SEQUENCE_TM_LONG: Final[int]
    OB_SEQUENCE_TC: Final[int]
    OB_BCH_SEC: Final[int]
    OB_BCH_TED: Final[int]
    OB_CLTU_INFORMATION_MAX: Final[int]
    OB_TC_LOOK: Final[int]
    OB_TC_FRAME: Final[int]
    OB_TC_SPACECRAFT: Final[int]
    OB_TC_VCID: Final[int]
    OB_TC_LENGTH: Final[int]
    OB_TC_SPI: Final[int]
    OB_TC_REPLAY: Final[int]
    OB_TC_COLUMN_OCTETS: Final[int]
    OB_TC_ASSOCIATIONS_MAX: Final[int]
    OB_TC_NUMBER_OCTETS_MAX: Final[int]
    OB_UNIT_INVERTED: Final[int]
    OB_UNIT_FLYWHEEL: Final[int]
    OB_UNIT_SLIPPED: Final[int]
    OB_UNIT_OCTETS_MAX: Final[int]
    OB_UNIT_COLUMN_OCTETS: Final[int]
    OB_LINK_TM: Final[int]
    OB_LINK_AOS: Final[int]
    OB_LINK_FECF: Final[int]
    OB_LINK_OCF: Final[int]
    OB_LINK_HEADER_CONTROL: Final[int]
    OB_LINK_ENCAPSULATION: Final[int]
    OB_SPACECRAFT_ANY: Final[int]
    OB_TM_CHANNELS: Final[int]
    OB_AOS_CHANNELS: Final[int]
    OB_FRAME_OCTETS_MAX: Final[int]
    OB_PACKET_OCTETS_MAX: Final[int]
    OB_ENCAPSULATION_OCTETS_MAX: Final[int]
    OB_FRAME_GOOD: Final[int]
    OB_FRAME_MARKED: Final[int]
    OB_FRAME_CRC: Final[int]
    OB_FRAME_VERSION: Final[int]
    OB_FRAME_SPACECRAFT: Final[int]
    OB_FRAME_VCID: Final[int]
    OB_FRAME_STATUS: Final[int]
    OB_FRAME_LENGTH: Final[int]
    OB_FRAME_POINTER: Final[int]
    OB_FRAME_COLUMN_OCTETS: Final[int]
    OB_EXTRACTED_COLUMN_OCTETS: Final[int]
    OB_FIELD_UNSIGNED: Final[int]
    OB_FIELD_SIGNED: Final[int]
    OB_FIELDS_MAX: Final[int]
    def ob_crc16(self, data: bytes | _Pointer, octets: int, init: int) -> int: ...
    def ob_crc16_portable(self, data: bytes | _Pointer, octets: int, init: int) -> int: ...
    def ob_crc16_units(
        self,
        units: bytes | _Pointer,
        octets: int,
        count: int,
        stride: int,
        unit_octets: int,
        out: _Pointer,
        out_octets: int,
    ) -> int: ...
    def ob_crc32c(self, data: bytes | _Pointer, octets: int, before: int) -> int: ...
    def ob_modular_checksum(self, data: bytes | _Pointer, octets: int, before: int, offset: int) -> int: ...
    def ob_randomize_tm(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_tm_long(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_tc(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_units(
        self, sequence: int, units: _Pointer, octets: int, count: int, stride: int, unit_octets: int
    ) -> int: ...
    def ob_count_packets(self, data: bytes | _Pointer, octets: int) -> int: ...
    def ob_split_led_packets(
        self, data: bytes | _Pointer, octets: int, lead_octets: int, any_version: int, columns: _Pointer,
        columns_octets: int, packets_max: int, result: _Pointer,
    ) -> int: ...  # fmt: skip
    def ob_split_packets(
        self,
        data: bytes | _Pointer,
        octets: int,
        columns: _Pointer,
        columns_octets: int,
        packets_max: int,
        result: _Pointer,
    ) -> int: ...
    def ob_gather_octets(
        self,
        data: bytes | _Pointer,
        octets: int,
        bits: _Pointer,
        lengths: _Pointer,
        rows: int,
        out: _Pointer,
        out_octets: int,
    ) -> int: ...
    def ob_encode_cltu(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_find_start(self, data: bytes | _Pointer, octets: int, mode: int) -> int: ...
    def ob_decode_codeblocks(
        self, data: bytes | _Pointer, octets: int, mode: int, out: _Pointer, out_octets: int, result: _Pointer
    ) -> int: ...
    def ob_receive_cltus(
        self,
        receiver: _CltuReceiver,
        data: bytes | _Pointer,
        octets: int,
        out: _Pointer,
        out_octets: int,
        ends: _Pointer,
        ends_octets: int,
        result: _Cltus,
    ) -> int: ...
    def ob_sift_frames(
        self,
        rules: _TcRules,
        data: bytes | _Pointer,
        octets: int,
        ends: bytes,
        units: int,
        columns: _Pointer,
        columns_octets: int,
        frames_max: int,
    ) -> int: ...
    def ob_sync_init(self, sync: _Sync) -> int: ...
    def ob_sync_reset(self, sync: _Sync, octets: int) -> int: ...
    def ob_find_units(
        self,
        sync: _Sync,
        stream: bytes | _Pointer,
        octets: int,
        last: int,
        units: _Pointer,
        units_octets: int,
        columns: _Pointer,
        columns_octets: int,
        units_max: int,
        units_there: int,
    ) -> int: ...
    def ob_rs_encode(
        self, units: _Pointer, octets: int, count: int, stride: int, data_octets: int, parity: int, interleave: int
    ) -> int: ...
    def ob_rs_decode(
        self,
        units: _Pointer,
        octets: int,
        count: int,
        stride: int,
        data_octets: int,
        parity: int,
        interleave: int,
        corrected: _Pointer,
        corrected_count: int,
    ) -> int: ...
    def ob_rs_encode_portable(
        self, units: _Pointer, octets: int, count: int, stride: int, data_octets: int, parity: int, interleave: int
    ) -> int: ...
    def ob_rs_decode_portable(
        self,
        units: _Pointer,
        octets: int,
        count: int,
        stride: int,
        data_octets: int,
        parity: int,
        interleave: int,
        corrected: _Pointer,
        corrected_count: int,
    ) -> int: ...

    OB_VITERBI_DELAY_BITS: Final[int]
    OB_VITERBI_BLOCK_BITS: Final[int]
    OB_VITERBI_FLUSH_OCTETS: Final[int]
    def ob_convolve(
        self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int, memory: _Pointer
    ) -> int: ...
    def ob_soften(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_viterbi_start(self, decoder: _Viterbi, from_zero: int) -> None: ...
    def ob_viterbi_start_portable(self, decoder: _Viterbi, from_zero: int) -> None: ...
    def ob_viterbi_octets(self, decoder: _Viterbi, symbols: int) -> int: ...
    def ob_viterbi_decode(
        self, decoder: _Viterbi, symbols: bytes | _Pointer, count: int, out: _Pointer, out_octets: int
    ) -> int: ...
    def ob_viterbi_flush(self, decoder: _Viterbi, to_zero: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_encode_packets(
        self,
        data: bytes | _Pointer,
        octets: int,
        lengths: _Pointer,
        length: int,
        apid: _Pointer,
        seq: _Pointer,
        flags: _Pointer,
        packets: int,
        out: _Pointer,
        out_octets: int,
    ) -> int: ...
    def ob_extract_packets(
        self,
        link: _Link,
        channels: _Channels,
        channels_count: int,
        frames: bytes | _Pointer,
        octets: int,
        count: int,
        stride: int,
        marks: bytes | _Pointer,
        frame_columns: _Pointer,
        frame_columns_octets: int,
        out: _Pointer,
        out_octets: int,
        packet_columns: _Pointer,
        packet_columns_octets: int,
        packets_max: int,
        result: _Extraction,
    ) -> int: ...
    def ob_restart_link(self, link: _Link, channels: _Channels, channels_count: int) -> None: ...
    def ob_extract_fields(
        self,
        data: bytes | _Pointer,
        octets: int,
        offsets: _Pointer,
        lengths: _Pointer,
        stride: int,
        packets: int,
        fields: _Fields,
        fields_count: int,
        columns: _Pointer,
        columns_octets: int,
        complete: _Pointer,
    ) -> int: ...
    def ob_extract_fields_portable(
        self,
        data: bytes | _Pointer,
        octets: int,
        offsets: _Pointer,
        lengths: _Pointer,
        stride: int,
        packets: int,
        fields: _Fields,
        fields_count: int,
        columns: _Pointer,
        columns_octets: int,
        complete: _Pointer,
    ) -> int: ...
    def ob_prefer_large_pages(self, block: _Pointer, octets: int) -> None: ...

ffi: _Ffi
lib: _Lib
