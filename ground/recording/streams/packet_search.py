"""Finds the next place in damaged data at which packets go on."""

# A place is accepted if a known header stands there and
#   - leads to two known headers in a row, and one of the three has a count near what was due; or
#   - leads over known headers to one of a word that was in the chain already, with the count after that one; or
#   - begins a chain of _FAR_LINKS known headers: after a long gap no count is near what was due.
# Near the end of the recording less will do: a chain that ends exactly with it needs no third header. If it is a single
# packet, its count must be closer.
#
# Cost: all headers of a look are tested at once, and only those that lead to a known header are followed one by one.
# Looks grow from 1 KiB to 1 MiB: most gaps are short, and long ones should not cost many small looks.

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ground.recording.streams.packet_habits import PacketHabits
from ground.recording.streams.packet_headers import HEADER_OCTETS, Octets, header_at, headers_at_all, words_of

_LOOK, _LOOK_MAX = 1 << 10, 1 << 20
_FAR_LINKS = 6  # known headers in a row, if no count is near what was due
_LAST_AHEAD = 16  # counts ahead of what is due that pass for the last packet of a recording


def next_chain(octets: Octets, start: int, end: int, habits: PacketHabits, lead: int, *, last: bool) -> int | None:
    """Return the first place in start..end at which a chain of known headers begins, or None.

    A place is where the `lead` octets in front of a packet begin. None also if the data end too soon to tell; `last`
    says that nothing follows them. The cost is proportional to what is passed over.
    """
    look = _LOOK
    while start < end:
        stop = min(start + look, end)
        headers = headers_at_all(octets[start + lead : stop + lead + HEADER_OCTETS - 1])
        places = np.flatnonzero(habits.known[headers.word])
        behind = places + start + lead + headers.length[places]
        fits = _may_follow(octets, behind, habits, lead, last=last)
        for place in map(int, (places[fits] + start).tolist()):
            if _goes_on(octets, place, habits, lead, last=last):
                return place
        start = stop
        look = min(2 * look, _LOOK_MAX)
    return None


def _may_follow(
    octets: Octets, behind: NDArray[np.int64], habits: PacketHabits, lead: int, *, last: bool
) -> NDArray[np.bool_]:
    """Return whether a known header stands at each of these places, or may, since the data end before it."""
    seen = behind + lead + 2 <= len(octets)
    at = np.where(seen, behind + lead, 0)
    words = words_of(octets[at], octets[np.minimum(at + 1, len(octets) - 1)])
    return np.asarray(np.where(seen, habits.known[words], last), np.bool_)


def _goes_on(octets: Octets, place: int, habits: PacketHabits, lead: int, *, last: bool) -> bool:
    """Whether the known header at `place` leads on: to two more, one of them near its line, or to the end of all."""
    near = False
    stepped: dict[int, int] = {}  # by word: the count that would follow the one seen in this chain
    for link in range(_FAR_LINKS):
        at = place + lead
        if place == len(octets) and last:
            return near
        if at + HEADER_OCTETS > len(octets):
            return last and near and link > 0
        word, count, length = header_at(octets, at)
        if not habits.known[word]:
            return False
        is_last = last and at + length >= len(octets)
        if not link and at + length > len(octets) and not habits.counting[word]:
            return False  # it claims more octets than there are, and no count speaks for it
        near |= habits.is_near(word, count, _LAST_AHEAD if is_last and not link else 1024)
        has_stepped = stepped.get(word) == count
        near |= has_stepped
        if near and (link >= 2 or is_last or has_stepped):
            return True
        stepped[word] = (count + 1) & 0x3FFF
        place = at + length
    return True
