"""Whether octets are transfer frames, and which: by error control, and by headers that persist and count.

    error control fits       in half of the frames: by chance one in 65,536 would
    headers persist          version number and spacecraft are the same in most
    counts                   those of the virtual channels step by one from frame to frame

What frames do not say (AOS: control field, insert zone) is tried: the layout is taken that gives whole packets and the
fewest contradictions.

A recording may be damaged where it is looked at. So frames are taken as ground.recording.streams.frame_stream takes
them: one that does not fit between two that do is damaged where it lies, and behind two in a row the next place is
sought at which they go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from flight.kernels import BatchExtractor, KernelError, Verdict, crc16_units
from ground.recording.detection.finding import Finding
from ground.recording.streams.frame_packets import kernel_link
from ground.recording.streams.link_options import Form, LinkOptions, Service
from ground.recording.streams.packet_headers import PACKET_OCTETS_MIN, words_of

Octets = NDArray[np.uint8]
Frames = NDArray[np.uint8]  # n x frame_octets

FRAME_OCTETS_MIN = 16
SEARCHED_MIN, SEARCHED_MAX = 64, 4096  # lengths of frames of which nothing is known
_FRAMES_MAX = 64  # looked at
_SOUND_FRAC = 0.5
_PERSIST_FRAC = 0.75
_COUNT_FRAC = 0.5
_SOUGHT = 3  # frames in which the next place is sought
_LENGTHS_TRIED = 12
_PLACES_TRIED = 12
_PLACES_OF_A_LENGTH = 4
_SPAN = 6  # frames: four in a row begin there, also if there is damage in one of the first
_UNDECIDED = 0.5
_INSERT_TRIED_MAX = 64  # octets
_STEPS_MIN, _ENCAPSULATED_MIN = 2, 8  # that support an insert zone
_AOS_OCTETS_MIN = 17  # with both control fields, error control and an octet of data
_CONTRADICTING_FRAC = 0.1  # of the frames
_VERSIONS = {Service.TM: 0, Service.AOS: 1}
_PERSISTING = (0xFFF0, 0xFFC0)  # what stays in the first two octets, by version number: all but the channel


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What frames show of themselves: options filled in, a score 0..1, the grounds, and whose most of them are."""

    options: LinkOptions
    score: float
    lines: tuple[str, ...]
    spacecraft_id: int


def judge_frames(frames: Frames, hint: LinkOptions) -> FrameEvidence | None:
    """The kind of these frames, if they are any; the best of those that the hint allows."""
    found = [one for service in Service if hint.service in (None, service) and (one := _judge(frames, hint, service))]
    return max(found, key=lambda one: one.score, default=None)


def _judge(frames: Frames, hint: LinkOptions, service: Service) -> FrameEvidence | None:
    count, size = frames.shape
    if not count or size < FRAME_OCTETS_MIN:
        return None
    words = words_of(frames[:, 0], frames[:, 1])
    spacecraft = np.asarray(words >> 4 & 0x3FF, np.uint16) if service is Service.TM else _aos_spacecraft(frames, words)
    fits = words >> 14 == _VERSIONS[service]
    if not fits.any():
        return None
    names, numbers = np.unique(spacecraft[fits], return_counts=True)
    common = int(names[numbers.argmax()]) if hint.spacecraft_id is None else hint.spacecraft_id
    fits &= spacecraft == common
    checked = np.asarray(crc16_units(np.ascontiguousarray(frames).reshape(-1).data, count, size)) == 0
    checked &= words >> 14 == _VERSIONS[service]
    sound = float(checked.mean())
    has_fecf = sound >= _SOUND_FRAC if hint.has_fecf is None else hint.has_fecf
    steps = _counting(frames[fits], words[fits], service)
    persists = float(fits.mean())
    lines = [f"{int(fits.sum())} of {count} headers are {service.upper()} of spacecraft {common:#x}"]
    if has_fecf:
        lines.append(f"error control fits in {int(checked.sum())} of {count} frames")
        score = 0.99 if sound >= _SOUND_FRAC else 0.0
        if sound >= _SOUND_FRAC and persists < _SOUND_FRAC and hint.spacecraft_id is not None:
            score = 0.3
    elif persists < _PERSIST_FRAC or count < 2 or steps is None:
        score = 0.3 if persists >= _PERSIST_FRAC else 0.0
    else:
        lines.append(f"counts step by one in {steps:.0%} of the frames")
        score = (0.9 if count >= 4 else 0.4) if steps >= _COUNT_FRAC else 0.1
    options = replace(
        hint, service=service, frame_octets=size, has_fecf=has_fecf, insert_octets=hint.insert_octets or 0,
        has_header_control=bool(hint.has_header_control),
    )  # fmt: skip
    if service is Service.AOS:
        options = _with_layout(frames[fits], options, hint, is_frame=score > _UNDECIDED)
        if options.insert_octets and hint.insert_octets is None:
            lines.append(f"an insert zone of {options.insert_octets} octets, or a security header of that length")
    if score and fits.any():
        agreement, line = _agreement(frames[fits], options)
        score = min(score, agreement if not has_fecf or agreement < _UNDECIDED else score)
        lines.append(line)
    return FrameEvidence(options, score, tuple(lines), common) if score else None


def _agreement(frames: Frames, options: LinkOptions) -> tuple[float, str]:
    """How well pointers and packet headers agree: packets of one length with error control look like frames too."""
    extractor = BatchExtractor(kernel_link(replace(options, vcids=None)))
    _, packets = extractor.extract(np.ascontiguousarray(frames).reshape(-1).data)
    verdicts = extractor.verdicts
    wrong = len(frames) - verdicts[Verdict.GOOD] - verdicts[Verdict.CRC]
    wrong += sum(one.inconsistent for one in extractor.channels.values())
    # Zeros are packets of seven octets to a machine, and to nobody else.
    whole = int(np.count_nonzero(np.asarray(packets.length) > PACKET_OCTETS_MIN)) + sum(
        one.idle_packets + sum(one.encapsulated.values()) for one in extractor.channels.values()
    )
    if wrong > _CONTRADICTING_FRAC * len(frames):
        return 0.1, f"{wrong} of {len(frames)} frames contradict themselves"
    line = f"{whole} packets lie in {len(frames)} frames, of which {wrong} contradict themselves"
    return (1.0 if whole else _UNDECIDED), line


def _aos_spacecraft(frames: Frames, words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.asarray(words >> 6 & 0xFF | (frames[:, 5].astype(np.uint16) >> 4 & 3) << 8, np.uint16)


def _counting(frames: Frames, words: NDArray[np.uint16], service: Service) -> float | None:
    """The share of frames whose count is one more than that of the frame before on the channel; None if nothing can be
    compared. The master channel's count says nothing: its frames may have been recorded channel by channel.
    """
    if service is Service.TM:
        counts, channel, modulus = frames[:, 3].astype(np.int64), words.astype(np.int64) >> 1 & 7, 256
    else:
        counts = frames[:, 2].astype(np.int64) << 16 | frames[:, 3].astype(np.int64) << 8 | frames[:, 4]
        channel, modulus = words.astype(np.int64) & 0x3F, 1 << 24
    steps = _steps(channel, counts, modulus)
    return float((steps == 1).mean()) if len(steps) else None


def _steps(counted: NDArray[np.int64], counts: NDArray[np.int64], modulus: int) -> NDArray[np.int64]:
    """From each count to the next one of the same that is counted, a channel or an APID."""
    order = np.argsort(counted, kind="stable")
    same = counted[order][1:] == counted[order][:-1]
    return np.asarray(np.diff(counts[order])[same] % modulus, np.int64)


def _with_layout(frames: Frames, options: LinkOptions, hint: LinkOptions, *, is_frame: bool) -> LinkOptions:
    """The AOS layout that gives the most octets of whole packets. If none without an insert zone agrees with itself,
    and all else says that these are frames, one with a zone may: its length stands nowhere but in where packets lie,
    so that these must count.
    """
    layouts = [
        replace(options, has_ocf=has_ocf, has_header_control=has_control)
        for has_ocf, has_control in product(
            (False, True) if hint.has_ocf is None else (hint.has_ocf,),
            (False, True) if hint.has_header_control is None else (hint.has_header_control,),
        )
    ]
    best = _best_layout(frames, layouts)
    if not is_frame or hint.insert_octets is not None or _agreement(frames, best)[0] >= _UNDECIDED:
        return best
    assert options.frame_octets is not None
    longest = min(_INSERT_TRIED_MAX, options.frame_octets - _AOS_OCTETS_MIN)
    layouts.sort(key=lambda one: bool(one.has_header_control))  # which nothing tells from two octets more of the zone
    zones = [replace(one, insert_octets=size) for one in layouts for size in range(1, longest + 1)]
    if not zones:
        return best
    zoned = _best_layout(frames, zones)
    return zoned if _agreement(frames, zoned)[0] > _UNDECIDED and _packets_count(frames, zoned) else best


def _packets_count(frames: Frames, options: LinkOptions) -> bool:
    """Whether sequence counts step, or most packets are encapsulated: of so many lengths of a zone, one agrees by
    chance with records that are all alike.
    """
    extractor = BatchExtractor(kernel_link(replace(options, vcids=None)))
    _, packets = extractor.extract(np.ascontiguousarray(frames).reshape(-1).data)
    encapsulated = sum(sum(one.encapsulated.values()) for one in extractor.channels.values())
    kinds = np.asarray(packets.vcid).astype(np.int64) << 11 | np.asarray(packets.apid)
    steps = _steps(kinds, np.asarray(packets.seq).astype(np.int64), 1 << 14)
    counting = int(np.count_nonzero(steps == 1))
    return counting >= max(_STEPS_MIN, _COUNT_FRAC * len(steps)) or encapsulated >= max(_ENCAPSULATED_MIN, len(packets))


def _best_layout(frames: Frames, layouts: Sequence[LinkOptions]) -> LinkOptions:
    octets = np.ascontiguousarray(frames).reshape(-1).data
    best, most = layouts[0], -(1 << 62)
    for tried in layouts:
        assert tried.frame_octets is not None
        try:
            extractor = BatchExtractor(kernel_link(tried))
            extractor.extract(octets)
        except (ValueError, KernelError):
            continue
        worth = sum(
            one.packet_octets
            + one.idle_octets
            + one.encapsulated_octets
            - 2 * one.lost_octets
            - tried.frame_octets * one.inconsistent
            for one in extractor.channels.values()
        )
        if worth > most:
            best, most = tried, worth
    return best


def find_frames(octets: Octets, hint: LinkOptions, *, anywhere: bool) -> Iterator[Finding]:
    """Readings of a stretch as bare frames; `anywhere`: the first may begin at any octet, which takes longer."""
    for size in _lengths(octets, hint):
        one = _reading(octets, 0, size, hint)
        if one is not None:
            yield one
            return
    readings = (_reading(octets, start, size, hint) for start, size in (_places(octets, hint) if anywhere else ()))
    found = max((one for one in readings if one is not None), key=lambda one: one.confidence, default=None)
    if found is not None:
        yield found


def _reading(octets: Octets, start: int, size: int, hint: LinkOptions) -> Finding | None:
    whole = (len(octets) - start) // size
    if not whole or size < FRAME_OCTETS_MIN:
        return None
    evidence = judge_frames(_taken(octets[start:], size), hint)
    # Headers that count and nothing in them that agrees: records of any kind look like that.
    if evidence is None or evidence.score < _UNDECIDED or (evidence.score == _UNDECIDED and hint.form is None):
        return None
    options = replace(evidence.options, form=Form.FRAMES, coding="none", randomizer="none", convolutional=False)
    if not options.has_fecf:  # then the spacecraft is what tells a frame from other octets
        options = replace(options, spacecraft_id=evidence.spacecraft_id)
    line = f"transfer frames of {size} octets" + (f", the first at octet {start}" if start else "")
    return Finding(options, (line, *evidence.lines), evidence.score, coverage=whole * size / len(octets))


def _taken(octets: Octets, size: int) -> Frames:
    """The first frames of a stretch that begins with one, whatever octets are missing between them or too many."""
    octets = octets[: (_FRAMES_MAX + _SOUGHT) * size]
    pairs = words_of(octets[:-1], octets[1:])
    version = int(pairs[0]) >> 14
    fits = (
        (pairs ^ pairs[0]) & _PERSISTING[version] == 0 if version < len(_PERSISTING) else np.ones(len(pairs), np.bool_)
    )
    follows = np.append(fits[size:], np.ones(size, np.bool_))  # of the last one nothing can be told
    starts: list[int] = []
    at = 0
    while len(starts) < _FRAMES_MAX and at + size <= len(octets):
        behind = at + size
        if not fits[at] and behind < len(fits) and not fits[behind]:
            # Octets may be missing in the frame before this one, too.
            first = at - size + 1
            goes_on = fits[first : at + _SOUGHT * size] & follows[first : at + _SOUGHT * size]
            if goes_on.any():
                place = first + int(goes_on.argmax())
                starts += range(at, place - size + 1, size)
                at = place
                continue
        starts.append(at)
        at = behind
    return np.asarray(octets[np.array(starts[:_FRAMES_MAX], np.intp)[:, None] + np.arange(size)], np.uint8)


def _lengths(octets: Octets, hint: LinkOptions) -> list[int]:
    """Frame lengths at which headers persist from the first octet on, the likeliest first."""
    if hint.frame_octets is not None:
        return [hint.frame_octets] if len(octets) >= hint.frame_octets else []
    sizes = np.arange(SEARCHED_MIN, min(SEARCHED_MAX, len(octets) // 2) + 1)
    scored = []
    pairs = words_of(octets[:-1], octets[1:])
    version = int(pairs[0]) >> 14 if len(sizes) else 2
    if version <= 1:
        at = sizes[:, None] * np.arange(_FRAMES_MAX)  # a row per length: where its frames begin
        is_there = at < len(pairs)
        same = is_there & ((pairs[np.where(is_there, at, 0)] ^ pairs[0]) & _PERSISTING[version] == 0)
        persists = same.sum(axis=1) / is_there.sum(axis=1)
        for row in np.flatnonzero(persists >= _PERSIST_FRAC).tolist():
            size = int(sizes[row])
            counts = octets[2 if version == 0 else 4 :: size][: int(is_there[row].sum())]
            steps = float((np.diff(counts) == 1).mean()) if len(counts) > 1 else 0.0
            scored.append((-(float(persists[row]) + steps), size))
    if len(octets) <= SEARCHED_MAX:
        scored.append((0.0, len(octets)))  # one frame
    return [size for _, size in sorted(scored)[:_LENGTHS_TRIED]]


def _places(octets: Octets, hint: LinkOptions) -> list[tuple[int, int]]:
    """(first octet, length) of frames whose headers persist and count over four frames, wherever they begin."""
    pairs = words_of(octets[:-1], octets[1:])
    version = pairs >> 14
    is_known = version <= 1
    masks = np.where(version == 0, *_PERSISTING).astype(np.uint16)
    found: list[tuple[int, int]] = []
    sizes = range(SEARCHED_MIN, 2049) if hint.frame_octets is None else (hint.frame_octets,)
    for size in sizes:
        span = min(_SPAN * size, len(octets) - 3 * size - 6)
        if span <= 0:
            continue
        at = np.flatnonzero(is_known[:span] & ((pairs[size : size + span] ^ pairs[:span]) & masks[:span] == 0))
        for k in (2, 3):
            at = at[(pairs[at + k * size] ^ pairs[at]) & masks[at] == 0]
        if not len(at):
            continue
        count_at = at + np.where(version[at] == 0, 2, 4)
        counts = [octets[count_at + k * size] for k in range(4)]
        steps = sum((b - a == 1).astype(np.int8) for a, b in pairwise(counts))
        fits = at[steps >= 2]
        # Other octets of frames persist and count too: each place within a frame is one to be tried, once.
        _, first = np.unique(fits % size, return_index=True)
        for place in fits[np.sort(first)[:_PLACES_OF_A_LENGTH]].tolist():
            found += [(place % size, size), (place, size)] if place >= size else [(place, size)]
        if len(found) >= _PLACES_TRIED:
            break
    return found
