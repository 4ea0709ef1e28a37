"""Whose telecommands are whose: ST[01] reports name a request by APID and sequence count alone.

A ground counts its telecommands 0 .. GROUND_SEQ_COUNTS - 1 and begins anew. The counts above belong to commands that
the mission file itself brings on board, the steps of its sequences: each has one of its own, in the order of the file.
"""

from __future__ import annotations

ON_BOARD_SOURCE = 0xFFFF
ON_BOARD_STEPS_MAX = 256
GROUND_SEQ_COUNTS = (1 << 14) - ON_BOARD_STEPS_MAX
