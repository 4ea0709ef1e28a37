"""What the coder of a frame asks of whatever protects it: two functions, so that no frame format knows of keys.

`Seal` takes the octets of a frame's header and its data, and returns what stands in the place of the data. `Unseal`
takes the header and what stands there, and returns the data. It raises DecodeError if that is not what the sender made.
"""

# The length of a frame stands in its header, which is protected too (ADR 0039). So a coder must know beforehand how
# many octets sealing adds, and they are the same for every frame of a link.

from __future__ import annotations

from collections.abc import Callable

Seal = Callable[[bytes, bytes], bytes]
Unseal = Callable[[bytes, bytes], bytes]
