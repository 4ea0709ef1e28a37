"""Finds evidence for transfer frames, and of which kind: error control, and headers that persist and count."""

# Evidence, from strong to weak, and the score that it gives:
#
#   error control fits       in half of the frames (0.99): by chance it would in one of 65,536
#   counts step              by one, on the virtual channels (0.9; 0.4 if there are fewer than four frames)
#   headers persist          version number and spacecraft are the same in most frames; alone only a guess (0.3)
#
# Then the packets inside must agree: packets of one length with a CRC look like frames too, and so do records of any
# kind that begin with a counter. If pointers and packet headers contradict each other in more than a tenth of the
# frames, the score drops to 0.1; if there are no packets to agree with, to _UNDECIDED unless error control fits.
#
# What AOS frames do not say of themselves (control fields, insert zone) is tried: the layout wins that gives the most
# octets of whole packets and the fewest contradictions.
#
# Frames with link security (CCSDS 355.0-B-2) have a header before their packets and a MAC behind them. It is looked for
# if no packets agree without it (`security_evidence`). If none agree with it either and it has the IV of AES-GCM, the
# frames are encrypted: they are frames all the same, and it is said why nothing can be read.
#
# Order of trials for the length: lengths at which headers persist from the first octet on; then frames that begin at
# any octet, which costs far more. The recording may be damaged in the window that is examined, so frames are followed
# as `ground.recording.streams.frame_stream` follows them: one misfit between two that fit is damaged in its place, and
# behind two in a row the next place is looked for at which they go on.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from flight.kernels import BatchExtractor, KernelError, Verdict, crc16_units
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE
from flight.text.plural import counted
from ground.recording.detection.finding import Finding
from ground.recording.detection.security_evidence import ENCRYPTED, security_layouts
from ground.recording.streams.frame_packets import kernel_link
from ground.recording.streams.link_options import Form, LinkOptions, Service
from ground.recording.streams.packet_headers import PACKET_OCTETS_MIN, words_of

Octets = NDArray[np.uint8]
Frames = NDArray[np.uint8]  # n x frame_octets

FRAME_OCTETS_MIN = 16
SEARCHED_MIN, SEARCHED_MAX = 64, 4096  # lengths of frames of which nothing is known
_FRAMES_MAX = 64  # examined; more would not change the verdict
_SOUND_FRAC = 0.5  # of the frames must pass error control: a bad pass damages many, chance passes none
_PERSIST_FRAC = 0.75  # of the headers must be of one version and spacecraft
_COUNT_FRAC = 0.5  # of the counts must step by one
_SOUGHT = 3  # frames within which the next place is looked for behind damage
_LENGTHS_TRIED = 12  # of the lengths at which headers persist: multiples of the true length are among them
_PLACES_TRIED = 12
_PLACES_OF_A_LENGTH = 4
_SPAN = 6  # frames in which four in a row begin, even if one of the first is damaged
_UNDECIDED = 0.5  # score of frames whose packets say neither yes nor no
_INSERT_TRIED_MAX = 64  # octets of an insert zone
# Counts that step, or encapsulation packets, that an insert zone needs to be believed.
_STEPS_MIN, _ENCAPSULATED_MIN = 2, 8
_AOS_OCTETS_MIN = 17  # of a frame with both control fields, error control and an octet of data
_CONTRADICTING_FRAC = 0.1  # of the frames may contradict themselves
_VERSIONS = {Service.TM: 0, Service.AOS: 1}  # transfer frame version numbers
_PERSISTING = (0xFFF0, 0xFFC0)  # bits of the first two octets that stay, by version number: all but the virtual channel


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """What frames show of themselves.

    options: the hint with what was found filled in. score: 0..1. lines: the evidence, for people.
    spacecraft_id: of most frames.
    """

    options: LinkOptions
    score: float
    lines: tuple[str, ...]
    spacecraft_id: int


def judge_frames(frames: Frames, hint: LinkOptions) -> FrameEvidence | None:
    """Judge n frames as the kinds that the hint allows. Returns the best evidence, None if they are not frames."""
    kinds = [service for service in Service if hint.service in (None, service)]
    found = [evidence for service in kinds if (evidence := _judge(frames, hint, service))]
    return max(found, key=lambda evidence: evidence.score, default=None)


def _judge(frames: Frames, hint: LinkOptions, service: Service) -> FrameEvidence | None:
    """Judge n frames as frames of one kind; None if nothing speaks for it."""
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
    lines = [f"{int(fits.sum())} of {counted(count, 'header')} are {service.upper()}, spacecraft {common:#x}"]
    if has_fecf:
        lines.append(f"error control (CRC-16) matches in {int(checked.sum())} of {counted(count, 'frame')}")
        score = 0.99 if sound >= _SOUND_FRAC else 0.0
        # Sound frames, but hardly any of the spacecraft that was asked for.
        if sound >= _SOUND_FRAC and persists < _SOUND_FRAC and hint.spacecraft_id is not None:
            score = 0.3
    elif persists < _PERSIST_FRAC or count < 2 or steps is None:
        score = 0.3 if persists >= _PERSIST_FRAC else 0.0
    else:
        lines.append(f"frame counts step by one in {steps:.0%} of the frames")
        score = (0.9 if count >= 4 else 0.4) if steps >= _COUNT_FRAC else 0.1
    options = replace(
        hint, service=service, frame_octets=size, has_fecf=has_fecf, insert_octets=hint.insert_octets or 0,
        has_header_control=bool(hint.has_header_control),
    )  # fmt: skip
    if score and fits.any():
        options, agreement, more = _data_evidence(frames[fits], options, hint, is_frame=score > _UNDECIDED)
        # Error control that fits is not overruled by a lack of packets, only by contradictions.
        score = min(score, agreement if not has_fecf or agreement < _UNDECIDED else score)
        lines += more
    return FrameEvidence(options, score, tuple(lines), common) if score else None


def _data_evidence(
    frames: Frames, options: LinkOptions, hint: LinkOptions, *, is_frame: bool
) -> tuple[LinkOptions, float, list[str]]:
    """Find how the data of frames are laid out; return that, how well their packets agree with it, and the evidence.

    Link security is believed only if no layout without it has packets that agree. is_frame: everything else says that
    these are frames.
    """
    if options.is_encrypted:
        return options, _UNDECIDED, [ENCRYPTED]
    is_aos = options.service is Service.AOS
    plain = _with_layout(frames, options, hint, is_frame=False) if is_aos else options
    agreement, line = _agreement(frames, plain)
    if agreement < 1.0:
        for secured in security_layouts(frames, options):
            laid_out = _with_layout(frames, secured, hint, is_frame=False) if is_aos else secured
            found = _secured_evidence(frames, laid_out)
            if found is not None:
                return found
    if not is_aos or not is_frame or agreement >= _UNDECIDED:
        return plain, agreement, [line]
    zoned = _with_layout(frames, options, hint, is_frame=True)
    agreement, line = _agreement(frames, zoned)
    zone = counted(zoned.insert_octets or 0, "octet")
    is_new = bool(zoned.insert_octets) and hint.insert_octets is None
    lines = [f"an insert zone of {zone}, or a security header of that length"] if is_new else []
    return zoned, agreement, [*lines, line]


def _secured_evidence(frames: Frames, secured: LinkOptions) -> tuple[LinkOptions, float, list[str]] | None:
    """Read frames with a security header that counts; None if their packets contradict it, and are not encrypted."""
    agreement, line = _agreement(frames, secured)
    header = secured.security_header_octets
    counts = f"a security header of {header} octets that counts the frames"
    if agreement == 1.0 or (agreement >= _UNDECIDED and header == CMAC_SUITE.header_octets):
        return secured, agreement, [f"{counts}: authenticated, which is not checked here", line]
    if header == GCM_SUITE.header_octets:
        return replace(secured, is_encrypted=True), _UNDECIDED, [counts, ENCRYPTED]
    return None


def _agreement(frames: Frames, options: LinkOptions) -> tuple[float, str]:
    """Return how well pointers and packet headers agree (0..1), and a line that says so."""
    extractor = BatchExtractor(kernel_link(replace(options, vcids=None)))
    _, packets = extractor.extract(np.ascontiguousarray(frames).reshape(-1).data)
    verdicts = extractor.verdicts
    wrong = len(frames) - verdicts[Verdict.GOOD] - verdicts[Verdict.CRC]
    wrong += sum(channel.inconsistent for channel in extractor.channels.values())
    # Not packets of seven octets: frames full of zeros would hold plenty of those.
    whole = int(np.count_nonzero(np.asarray(packets.length) > PACKET_OCTETS_MIN)) + sum(
        channel.idle_packets + sum(channel.encapsulated.values()) for channel in extractor.channels.values()
    )
    if wrong > _CONTRADICTING_FRAC * len(frames):
        return 0.1, f"{wrong} of {counted(len(frames), 'frame')} inconsistent"
    line = f"{counted(whole, 'packet')} in {counted(len(frames), 'frame')}, {wrong} of them inconsistent"
    return (1.0 if whole else _UNDECIDED), line


def _aos_spacecraft(frames: Frames, words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Read 8 bits of spacecraft id from the first octets, and 2 more from the signalling field (732.0-B-4, 4.1.2)."""
    return np.asarray(words >> 6 & 0xFF | (frames[:, 5].astype(np.uint16) >> 4 & 3) << 8, np.uint16)


def _counting(frames: Frames, words: NDArray[np.uint16], service: Service) -> float | None:
    """Return the share of frames whose count is one more than that of the frame before on its virtual channel.

    None if no channel has two frames. The count of the master channel says nothing: frames may have been recorded
    channel by channel.
    """
    if service is Service.TM:
        counts, channel, modulus = frames[:, 3].astype(np.int64), words.astype(np.int64) >> 1 & 7, 256
    else:
        counts = frames[:, 2].astype(np.int64) << 16 | frames[:, 3].astype(np.int64) << 8 | frames[:, 4]
        channel, modulus = words.astype(np.int64) & 0x3F, 1 << 24
    steps = _steps(channel, counts, modulus)
    return float((steps == 1).mean()) if len(steps) else None


def _steps(counted: NDArray[np.int64], counts: NDArray[np.int64], modulus: int) -> NDArray[np.int64]:
    """Return the steps from each count to the next of the same channel or APID, modulo the counter's range."""
    order = np.argsort(counted, kind="stable")
    same = counted[order][1:] == counted[order][:-1]
    return np.asarray(np.diff(counts[order])[same] % modulus, np.int64)


def _with_layout(frames: Frames, options: LinkOptions, hint: LinkOptions, *, is_frame: bool) -> LinkOptions:
    """Fill in the AOS layout that gives the most octets of whole packets.

    An insert zone is tried only if no layout without one is consistent and everything else says that these are frames
    (is_frame). Its length is stated nowhere and shows only in the places of packets, so their counts must step too.
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
    # Header control last: it is two octets, which nothing tells from two octets more of the zone.
    layouts.sort(key=lambda layout: bool(layout.has_header_control))
    zones = [replace(layout, insert_octets=size) for layout in layouts for size in range(1, longest + 1)]
    if not zones:
        return best
    zoned = _best_layout(frames, zones)
    return zoned if _agreement(frames, zoned)[0] > _UNDECIDED and _packets_count(frames, zoned) else best


def _packets_count(frames: Frames, options: LinkOptions) -> bool:
    """Whether the sequence counts of packets step, or most packets are encapsulation packets.

    Among so many lengths of a zone, one is consistent by chance with records that are all alike.
    """
    extractor = BatchExtractor(kernel_link(replace(options, vcids=None)))
    _, packets = extractor.extract(np.ascontiguousarray(frames).reshape(-1).data)
    encapsulated = sum(sum(channel.encapsulated.values()) for channel in extractor.channels.values())
    kinds = np.asarray(packets.vcid).astype(np.int64) << 11 | np.asarray(packets.apid)
    steps = _steps(kinds, np.asarray(packets.seq).astype(np.int64), 1 << 14)
    counting = int(np.count_nonzero(steps == 1))
    return counting >= max(_STEPS_MIN, _COUNT_FRAC * len(steps)) or encapsulated >= max(_ENCAPSULATED_MIN, len(packets))


def _best_layout(frames: Frames, layouts: Sequence[LinkOptions]) -> LinkOptions:
    """Return the layout that gives the most octets of whole packets and the fewest contradictions."""
    octets = np.ascontiguousarray(frames).reshape(-1).data
    best, most = layouts[0], -(1 << 62)  # less than any worth
    for tried in layouts:
        assert tried.frame_octets is not None
        try:
            extractor = BatchExtractor(kernel_link(tried))
            extractor.extract(octets)
        except (ValueError, KernelError):  # fields that leave no room for data
            continue
        # What is lost counts double: a wrong layout finds packets too, but breaks most of them.
        worth = sum(
            channel.packet_octets
            + channel.idle_octets
            + channel.encapsulated_octets
            - 2 * channel.lost_octets
            - tried.frame_octets * channel.inconsistent
            for channel in extractor.channels.values()
        )
        if worth > most:
            best, most = tried, worth
    return best


def find_frames(octets: Octets, hint: LinkOptions, *, offset: int | None) -> Iterator[Finding]:
    """Yield readings of a stretch as bare frames.

    offset: of the stretch in the recording. None: the evidence says nothing of places, and only frames that
        begin with the stretch are found; looking at every octet takes longer.
    """
    for size in _lengths(octets, hint):
        finding = _reading(octets, 0, size, hint, offset)
        if finding is not None:
            yield finding
            return
    places = () if offset is None else _places(octets, hint)
    readings = (_reading(octets, start, size, hint, offset) for start, size in places)
    found = max(
        (finding for finding in readings if finding is not None), key=lambda finding: finding.confidence, default=None
    )
    if found is not None:
        yield found


def _reading(octets: Octets, start: int, size: int, hint: LinkOptions, offset: int | None) -> Finding | None:
    """Read a stretch as frames of `size` octets from `start` on; None if they are not."""
    whole = (len(octets) - start) // size
    if not whole or size < FRAME_OCTETS_MIN:
        return None
    evidence = judge_frames(_taken(octets[start:], size), hint)
    # Headers that count, and no packets that agree: any records look like that, so only a hint makes them frames.
    if evidence is None or evidence.score < _UNDECIDED or (evidence.score == _UNDECIDED and hint.form is None):
        return None
    options = replace(evidence.options, form=Form.FRAMES, coding="none", randomizer="none", convolutional=False)
    if not options.has_fecf:  # then the spacecraft is what tells a frame from other octets
        options = replace(options, spacecraft_id=evidence.spacecraft_id)
    line = f"transfer frames of {counted(size, 'octet')}"
    if offset is not None and offset + start:  # "found": detection may have missed others in a stretch before
        line += f", the first found at octet {offset + start:,}"
    return Finding(options, (line, *evidence.lines), evidence.score, coverage=whole * size / len(octets))


def _taken(octets: Octets, size: int) -> Frames:
    """Return the first frames of a stretch that begins with one, even if octets are missing between them."""
    octets = octets[: (_FRAMES_MAX + _SOUGHT) * size]
    pairs = words_of(octets[:-1], octets[1:])
    version = int(pairs[0]) >> 14
    fits = (
        (pairs ^ pairs[0]) & _PERSISTING[version] == 0 if version < len(_PERSISTING) else np.ones(len(pairs), np.bool_)
    )
    follows = np.append(fits[size:], np.ones(size, np.bool_))  # nothing can be told of the last one
    starts: list[int] = []
    at = 0
    while len(starts) < _FRAMES_MAX and at + size <= len(octets):
        behind = at + size
        if not fits[at] and behind < len(fits) and not fits[behind]:
            # Octets may be missing in the frame before this one, so the search begins inside it.
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
    """Return frame lengths at which headers persist from the first octet on, the likeliest first."""
    if hint.frame_octets is not None:
        return [hint.frame_octets] if len(octets) >= hint.frame_octets else []
    sizes = np.arange(SEARCHED_MIN, min(SEARCHED_MAX, len(octets) // 2) + 1)
    scored = []
    pairs = words_of(octets[:-1], octets[1:])
    version = int(pairs[0]) >> 14 if len(sizes) else 2
    if version <= 1:
        at = sizes[:, None] * np.arange(_FRAMES_MAX)  # a row per length: the starts of its frames
        is_there = at < len(pairs)
        same = is_there & ((pairs[np.where(is_there, at, 0)] ^ pairs[0]) & _PERSISTING[version] == 0)
        persists = same.sum(axis=1) / is_there.sum(axis=1)
        for row in np.flatnonzero(persists >= _PERSIST_FRAC).tolist():
            size = int(sizes[row])
            # The master channel count of TM, or the last octet of the AOS count: one look is enough for an order.
            counts = octets[2 if version == 0 else 4 :: size][: int(is_there[row].sum())]
            steps = float((np.diff(counts) == 1).mean()) if len(counts) > 1 else 0.0
            scored.append((-(float(persists[row]) + steps), size))
    if len(octets) <= SEARCHED_MAX:
        scored.append((0.0, len(octets)))  # a recording of one frame
    return [size for _, size in sorted(scored)[:_LENGTHS_TRIED]]


def _places(octets: Octets, hint: LinkOptions) -> list[tuple[int, int]]:
    """Return (first octet, length) of frames whose headers persist and count over four frames, wherever they begin."""
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
        # Other octets of frames persist and count too, such as packet headers: each place within a frame is tried once.
        _, first = np.unique(fits % size, return_index=True)
        for place in fits[np.sort(first)[:_PLACES_OF_A_LENGTH]].tolist():
            found += [(place % size, size), (place, size)] if place >= size else [(place, size)]
        if len(found) >= _PLACES_TRIED:
            break
    return found
