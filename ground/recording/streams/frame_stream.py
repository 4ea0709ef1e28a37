"""Turns a recording of bare frames into packets. Nothing marks the start of a frame: it is found by what fits.

ALIGNED --a frame does not fit, nor does the next--> SEARCHING --a place is found at which one fits--> ALIGNED
"""

# What fits: version and spacecraft as before, and error control if frames have it. Without error control, the header of
# the frame behind must fit too.
#
# What happens to what does not fit:
#   - One frame between two that fit is damaged in its place. It goes on as a frame, so that the kernel refuses it with
#     its reason.
#   - Two in a row raise the suspicion that octets are missing or too many. The next place is searched for, octet by
#     octet. If it is a whole number of frames away, nothing is missing: the frames between are damaged. If not, what
#     lies between is refused ("alignment"), or skipped if it is longer than frames damaged side by side would be.
#
# Chance: CRC-16 fits at one of 65,536 places, so a search over megabytes finds false frames. Once two frames side by
# side have told which spacecraft there are, only their headers are searched for. Until then a frame must be followed by
# another, or lie a whole number of frames before two that are (`lone` in _search).
#
# Without error control nothing guards a frame's data. Octets missing there show only at the header behind it, and in
# the last frame at the end of the recording. So the search begins inside the frame before the doubt, and that frame is
# refused together with the gap.
#
# Blocks: a block is done with up to `_done`; the caller begins the next block there. A doubt at a block's end waits for
# the next block, so the same frames result however the recording is cut.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flight.kernels import crc16, crc16_units
from ground.recording.packet_batch import PacketBatch
from ground.recording.streams.account import Account
from ground.recording.streams.fill import FILL_OCTETS_MIN, fill_octets
from ground.recording.streams.frame_packets import FramePackets
from ground.recording.streams.link_options import LinkOptions, Service
from ground.recording.streams.packet_headers import words_of

Octets = NDArray[np.uint8]

_SEARCH_OCTETS = 1 << 16  # the first look; each further one is twice as long
_SEARCH_OCTETS_MAX = 1 << 22
_SIDE_BY_SIDE = 4  # frames; a longer gap is skipped, not refused: it hardly was frames
_LEARNED_FRAMES = 64  # the first so many tell which spacecraft there are if frames have no error control
_HABIT_FRAC = 0.25  # the share of them that a spacecraft must have


class FrameStream:
    """Finds the frames of a recording and hands them on.

    Call `take` with one block after the other; the octets that a block leaves must begin the next one.
    """

    def __init__(self, options: LinkOptions, account: Account) -> None:
        assert options.frame_octets is not None
        self._size = options.frame_octets
        self._options = options
        self._account = account
        self._packets = FramePackets(options, account, self._size)
        self._refused = Counter[str]()
        self._gap = 0  # octets passed over since the last frame, without fill
        self._done = 0
        # Both are indexed by the first two octets of a frame. `_heads`: which ones a frame may begin with; None until
        # learned. `_seen`: those of spacecraft that two frames side by side have shown.
        self._seen: NDArray[np.bool_] = np.zeros(1 << 16, np.bool_)
        self._heads: NDArray[np.bool_] | None = None if options.spacecraft_id is None else self._heads_of(
            (options.spacecraft_id,)
        )  # fmt: skip

    def take(self, block: bytes, *, last: bool) -> tuple[PacketBatch, int]:
        """Return the packets that this block completed, and how many of its octets are done with."""
        octets = np.frombuffer(block, np.uint8)
        if self._heads is None:
            self._heads = self._learned(octets)
        runs: list[tuple[int, int]] = []
        done = 0
        for start, stop in self._aligned(octets, last=last):
            runs.append((start, stop))
            done = stop
        done = max(done, self._done)
        frames = octets[runs[0][0] : runs[0][1]] if len(runs) == 1 else _joined(octets, runs)
        batch = self._packets.extract(frames.data if len(frames) else b"")
        if last:
            self._account.left_octets += len(octets) - done
            self._close_gap()
        self._packets.settle(self._refused, last=last)
        return batch, done

    def _aligned(self, octets: Octets, *, last: bool) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of runs of frames side by side; sets `_done` to how far the block is done with."""
        size, at = self._size, 0
        guarded = bool(self._options.has_fecf)
        self._done = 0
        while len(octets) - at >= size:
            whole = (len(octets) - at) // size
            bad = self._first_doubt(octets, at, whole, last=last)
            if bad > 0:
                self._close_gap()
            if bad >= whole:
                end = at + whole * size
                self._note_heads(octets, at, end)
                final = self._final(octets, end) if last and not guarded else None
                if final is None:
                    yield at, end
                    self._done = end
                    return
                # Octets are missing in the last frame that looked whole, or there are too many.
                yield at, end - size
                self._account.resyncs += final < len(octets)
                self._note_gap(octets[end - size : final])
                self._close_gap()
                at = self._done = final
                continue
            doubt = at + bad * size
            if bad + 1 == whole and not last:  # one misfit at the end of the block: the frame behind it decides
                if bad:
                    yield at, doubt
                self._done = doubt
                return
            # Without error control the frame before may be the one in which octets are missing.
            back = size if bad and not guarded else 0
            self._note_heads(octets, at, doubt)
            place = self._search(octets, doubt - back + 1, last=last)
            if place is None:
                yield from self._lost(octets, at, doubt, last=last)
                return
            if (place - doubt) % size == 0:  # still in step: the frames between are damaged, not displaced
                self._close_gap()
                yield at, place
            else:
                end = doubt - back if back and place - doubt < size // 2 else doubt
                if end > at:
                    yield at, end
                self._account.resyncs += 1
                self._note_gap(octets[end:place])
                self._close_gap()
            at = self._done = place

    def _final(self, octets: Octets, end: int) -> int | None:
        """Return the octet at which the last frame begins; frames end at `end`, and less than one more follows.

        A last frame that ends with the recording begins a frame's length before it. If so few octets remain that the
        last frame itself may be longer by them, nobody can tell where it begins: the end of the octets is returned.
        None if nothing remains, or the beginning of one more frame, or something that has nothing to do with frames.
        """
        assert self._heads is not None
        remaining = len(octets) - end
        if not remaining or self._begins_frame(octets[end : end + 2]):
            return None
        final = len(octets) - self._size
        if self._begins_frame(octets[final : final + 2]):
            return final
        return len(octets) if remaining < FILL_OCTETS_MIN else None

    def _begins_frame(self, octets: Octets) -> bool:
        """Whether a frame may begin with these one or two octets."""
        assert self._heads is not None
        if len(octets) == 1:
            return bool(self._heads.reshape(256, 256)[octets[0]].any())
        return bool(self._heads[int(octets[0]) << 8 | int(octets[1])])

    def _lost(self, octets: Octets, at: int, doubt: int, *, last: bool) -> Iterator[tuple[int, int]]:
        """Yield what is still a run of frames if none fits from `doubt` on; keep what may be the beginning of one."""
        size = self._size
        if last:
            # A few frames in step up to the end are damaged frames: each is refused with its reason by the kernel. What
            # is less than a frame stays as left.
            is_short = self._gap == 0 and len(octets) - doubt < _SIDE_BY_SIDE * size
            is_fill = 2 * fill_octets(octets[doubt:]) > len(octets) - doubt
            end = at + (len(octets) - at) // size * size if is_short and not is_fill else doubt
            if end > at:
                yield at, end
            rest = octets[end:]
            kept = min(len(rest), len(rest) % size if end > doubt else 0)
            self._note_gap(rest[: len(rest) - kept])
            self._done = len(octets) - kept
            return
        if doubt > at:
            yield at, doubt
        # Three frames are kept: with the next block the search needs a place and two frames behind it.
        self._done = max(doubt, len(octets) - 3 * size)
        self._note_gap(octets[doubt : self._done])

    def _note_gap(self, octets: Octets) -> None:
        """Count octets between frames: fill at once, the others when it is known how long the gap is."""
        fill = fill_octets(octets)
        self._account.fill_octets += fill
        self._gap += len(octets) - fill

    def _close_gap(self) -> None:
        """Class the gap that ends here: skipped if it is too long for damaged frames, else refused."""
        if self._gap >= _SIDE_BY_SIDE * self._size:
            self._account.skipped_octets += self._gap
        elif self._gap:
            self._refused["alignment"] += self._gap
        self._gap = 0

    def _first_doubt(self, octets: Octets, at: int, whole: int, *, last: bool) -> int:
        """Return the index of the first of `whole` frames that does not fit and is not followed by one that does.

        Returns `whole` if there is no such frame.
        """
        fits = self._fit(octets, at, whole)
        doubt = ~fits
        doubt[:-1] &= ~fits[1:]
        if last and whole and doubt[-1] and (whole == 1 or fits[-2]) and at + whole * self._size == len(octets):
            doubt[-1] = False  # nothing follows, and it ends with the recording: damaged in its place
        found = int(doubt.argmax()) if whole else 0
        return found if whole and doubt[found] else whole

    def _fit(self, octets: Octets, at: int, count: int) -> NDArray[np.bool_]:
        """Whether each of `count` frames from octet `at` on fits by header and, if there is one, by error control."""
        assert self._heads is not None
        size = self._size
        frames = octets[at : at + count * size].reshape(count, size)
        fits: NDArray[np.bool_] = self._heads[words_of(frames[:, 0], frames[:, 1])]
        if self._options.has_fecf and count:
            fits &= np.asarray(crc16_units(octets[at : at + count * size].data, count, size)) == 0
        return fits

    def _search(self, octets: Octets, start: int, *, last: bool) -> int | None:
        """Return the next place from `start` on at which a whole frame fits, or None."""
        assert self._heads is not None
        is_known = bool(self._seen.any())
        heads = self._seen if is_known else self._heads
        size, look = self._size, _SEARCH_OCTETS
        view = octets.data
        end = len(octets) - size + 1
        lone: int | None = None  # the first frame that fits with none behind it: chance, or damage around it
        while start < end:
            piece = octets[start : min(start + look, end) + 1]
            places = np.flatnonzero(heads[words_of(piece[:-1], piece[1:])]) + start
            for place in map(int, self._varied(octets, places, start, start + look).tolist()):
                if not self._options.has_fecf:
                    if self._leads_on(octets, place, last=last):
                        return place
                elif crc16(view[place : place + size]) == 0:
                    behind = place + size
                    if is_known or behind == len(octets) or (behind < end and self._fit(octets, behind, 1)[0]):
                        # A lone frame that is in step with this one was real; one out of step was chance.
                        return place if lone is None or (place - lone) % size else lone
                    lone = place if lone is None else lone
            start += look
            look = min(2 * look, _SEARCH_OCTETS_MAX)
        return lone

    def _varied(self, octets: Octets, places: NDArray[np.intp], start: int, stop: int) -> NDArray[np.intp]:
        """Drop places at which the whole frame would be one octet repeated.

        None of these fits, and fill that looks like a header would bring one for each of its octets.
        """
        window = octets[start : stop + self._size]
        edges = np.append(np.flatnonzero(window[1:] != window[:-1]), len(window) + self._size)
        run = edges[np.searchsorted(edges, places - start)] - (places - start) + 1
        return places[run < self._size]

    def _leads_on(self, octets: Octets, place: int, *, last: bool) -> bool:
        """Whether headers stand one and two frames behind, or the recording ends there. Used without error control."""
        assert self._heads is not None
        for behind in (place + self._size, place + 2 * self._size):
            if behind + 2 > len(octets):
                return last and behind == len(octets)
            if not self._begins_frame(octets[behind : behind + 2]):
                return False
        return True

    def _learned(self, octets: Octets) -> NDArray[np.bool_]:
        """Return which first two octets a frame may have if any spacecraft is wanted.

        With error control all of them, since that decides. Without it, those that many of the first frames have.
        """
        if self._options.has_fecf:
            return self._heads_of(range(0x400))
        whole = min(len(octets) // self._size, _LEARNED_FRAMES)
        frames = octets[: whole * self._size].reshape(whole, self._size)
        words = words_of(frames[:, 0], frames[:, 1])
        is_aos = self._options.service is Service.AOS
        words = words[words >> 14 == (1 if is_aos else 0)]
        names, counts = np.unique(words >> 6 & 0xFF if is_aos else words >> 4 & 0x3FF, return_counts=True)
        return self._heads_of(names[counts > _HABIT_FRAC * whole].tolist())

    def _note_heads(self, octets: Octets, start: int, stop: int) -> None:
        """Learn from some 16 frames of a run which spacecraft they are of."""
        assert self._heads is not None
        if stop - start < 2 * self._size and not self._seen.any():
            return  # a single frame may fit by chance
        is_aos = self._options.service is Service.AOS
        for place in range(start, stop, max((stop - start) // 16 // self._size, 1) * self._size):
            word = int(octets[place]) << 8 | int(octets[place + 1])
            if not self._seen[word] and self._fit(octets, place, 1)[0]:
                self._seen |= self._heads_of((word >> 6 & 0xFF if is_aos else word >> 4 & 0x3FF,))

    def _heads_of(self, spacecraft: range | tuple[int, ...] | list[int]) -> NDArray[np.bool_]:
        """Mark the first two octets that frames of these spacecraft have, on any virtual channel.

        TM (132.0-B-3, 4.1.2): version 0, 10 bits of spacecraft, 4 bits of channel and flag. AOS (732.0-B-4, 4.1.2):
        version 1, 8 bits of spacecraft, 6 bits of channel.
        """
        heads = np.zeros(1 << 16, np.bool_)
        for number in spacecraft:
            if self._options.service is Service.AOS:
                heads[0x4000 | (number & 0xFF) << 6 : (0x4000 | (number & 0xFF) << 6) + 64] = True
            else:
                heads[number << 4 : (number << 4) + 16] = True
        return heads


def _joined(octets: Octets, runs: list[tuple[int, int]]) -> Octets:
    return np.concatenate([octets[start:stop] for start, stop in runs]) if runs else octets[:0]
