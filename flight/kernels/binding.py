"""What every kernel's wrapper shares: how buffers are passed to C, and what the error codes say.

A `bytes` argument is passed as it is; any other buffer goes through `ffi.from_buffer`, also without a copy.
"""

from __future__ import annotations

from flight.kernels._kernels import ffi, lib

ReadBuffer = bytes | bytearray | memoryview
WriteBuffer = bytearray | memoryview

# Looked up once: finding a function or parsing a C type costs as much as the call itself.
OCTETS = ffi.typeof("uint8_t[]")
COUNTS = ffi.typeof("int8_t[]")
from_buffer = ffi.from_buffer

_ERRORS = {
    lib.OB_E_INIT: "start value outside 0..65535",
    lib.OB_E_SPACE: "output buffer too small",
    lib.OB_E_ALIGNMENT: "output buffer not aligned to 8 octets",
    lib.OB_E_LAYOUT: "sizes that do not fit together",
}


class KernelError(ValueError):
    """A kernel refused its arguments; `code` is what the C function returned, `reason` what would have fitted."""

    def __init__(self, name: str, code: int, reason: str = "") -> None:
        super().__init__(f"{name}: {reason or _ERRORS.get(code, code)}")
        self.code = code
