"""What every kernel's wrapper shares: how buffers are passed to C, and what the error codes say.

A `bytes` argument is passed as it is; any other buffer goes through `ffi.from_buffer`, also without a copy.
"""

# A call through cffi costs nearly as much as coding a frame (ADR 0014), and what a wrapper does in Python comes on top.
# So the wrappers look nothing up twice, take `bytes` by their own fast path, and do all checks in C, which must do them
# anyway: no kernel trusts a size. Only what C cannot see is checked here, such as a count that would make Python
# allocate before C refuses it.
#
# C writes results into memory that the wrapper owns, and Python gets memoryviews of it. A view keeps its memory alive,
# indexing it makes Python numbers, and `numpy.asarray` of it copies nothing, without NumPy being needed here.

from __future__ import annotations

from array import array
from collections.abc import Iterable

from flight.kernels._kernels import ffi, lib

ReadBuffer = bytes | bytearray | memoryview
WriteBuffer = bytearray | memoryview
Column = Iterable[int]  # one number per unit; an array or memoryview of the kernel's own type is taken without a copy

# Looked up once: finding a function or parsing a C type costs as much as the call itself.
OCTETS = ffi.typeof("uint8_t[]")
COUNTS = ffi.typeof("int8_t[]")
HALVES = ffi.typeof("uint16_t[]")
WORDS = ffi.typeof("uint32_t[]")
OFFSETS = ffi.typeof("uint64_t[]")
NULL = ffi.NULL
from_buffer = ffi.from_buffer
# Octets that are not set to 0 first: a page that nothing is written to takes no memory.
new_octets = ffi.new_allocator(should_clear_after_alloc=False)

_ERRORS = {
    lib.OB_E_INIT: "start value is outside 0..65535",
    lib.OB_E_SPACE: "output buffer is too small",
    lib.OB_E_ALIGNMENT: "a column is not aligned to its numbers",
    lib.OB_E_LAYOUT: "sizes do not fit together",
}


class KernelError(ValueError):
    """A kernel refused its arguments. `code` is what the C function returned; `reason` replaces its usual text."""

    def __init__(self, name: str, code: int, reason: str = "") -> None:
        super().__init__(f"{name}: {reason or _ERRORS.get(code, code)}")
        self.code = code


def column_of(name: str, values: Column, code: str) -> memoryview[int]:
    """Return `values` as numbers of the `array` type `code`; raises ValueError if one of them does not fit it."""
    try:
        view = memoryview(values)  # type: ignore[arg-type]
    except TypeError:
        pass  # not a buffer: any iterable of numbers will do, with a copy
    else:
        # Two codes may mean one type: NumPy calls 64 bit L, the struct module Q.
        if view.format in _SAME.get(code, code) and view.ndim == 1 and view.c_contiguous:
            return view
    try:
        return memoryview(array(code, iter(values)))
    except OverflowError as error:
        raise ValueError(f"{name}: {error}") from None


# Formats of a buffer that hold the same numbers as the code that is asked for.
_SAME = {"Q": "QL"} if array("L").itemsize == array("Q").itemsize else {}
