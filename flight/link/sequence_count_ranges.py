"""Whose telecommands are whose: ST[01] reports name a request by APID and sequence count alone.

A ground counts its telecommands 0 .. GROUND_SEQ_COUNTS - 1 and begins again at 0. The counts above belong to commands
that the mission file itself brings on board, the steps of its sequences. Each step has one of its own, in the order of
the file.
"""

# The 14 bits of the sequence count are split, because a request id has no field for the source of a telecommand
# (ECSS-E-ST-70-41C, 8.1.2.1): the reports on a step would be taken for those on a ground's command of the same count.

from __future__ import annotations

ON_BOARD_SOURCE = 0xFFFF
ON_BOARD_STEPS_MAX = 256
GROUND_SEQ_COUNTS = (1 << 14) - ON_BOARD_STEPS_MAX
