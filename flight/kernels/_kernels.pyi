"""Types of the extension module that build.py makes; orbitnode_kernels.h is the reference."""

from typing import Final, Literal, final

@final
class _Pointer:
    """A cdata: a view of a buffer, or a struct of the caller's."""

    consumed: int
    stop: int
    good: int
    corrected: int
    def __len__(self) -> int: ...

@final
class _CType: ...

class _Ffi:
    def typeof(self, cdecl: str) -> _CType: ...
    def from_buffer(
        self, cdecl: _CType, buffer: bytes | bytearray | memoryview, require_writable: bool = False
    ) -> _Pointer: ...
    def new(self, cdecl: Literal["ob_split *"] | _CType) -> _Pointer: ...

class _Lib:
    OB_E_INIT: Final[int]
    OB_E_SPACE: Final[int]
    OB_E_ALIGNMENT: Final[int]
    OB_E_LAYOUT: Final[int]
    OB_STOP_END: Final[int]
    OB_STOP_TRUNCATED: Final[int]
    OB_STOP_VERSION: Final[int]
    OB_STOP_CODEBLOCK: Final[int]
    OB_COLUMN_OCTETS: Final[int]
    OB_SEQUENCE_TM: Final[int]
    OB_SEQUENCE_TM_LONG: Final[int]
    OB_SEQUENCE_TC: Final[int]
    OB_BCH_SEC: Final[int]
    OB_BCH_TED: Final[int]
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
    def ob_randomize_tm(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_tm_long(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_tc(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_randomize_units(
        self, sequence: int, units: _Pointer, octets: int, count: int, stride: int, unit_octets: int
    ) -> int: ...
    def ob_count_packets(self, data: bytes | _Pointer, octets: int) -> int: ...
    def ob_split_packets(
        self,
        data: bytes | _Pointer,
        octets: int,
        columns: _Pointer,
        columns_octets: int,
        packets_max: int,
        result: _Pointer,
    ) -> int: ...
    def ob_encode_cltu(self, data: bytes | _Pointer, octets: int, out: _Pointer, out_octets: int) -> int: ...
    def ob_find_start(self, data: bytes | _Pointer, octets: int, mode: int) -> int: ...
    def ob_decode_codeblocks(
        self, data: bytes | _Pointer, octets: int, mode: int, out: _Pointer, out_octets: int, result: _Pointer
    ) -> int: ...

ffi: _Ffi
lib: _Lib
