"""Finds evidence for link security: a security header in every frame, whose numbers count all frames of the link."""

# What is looked for are the two suites that our own links fly (flight/link/security/suites.py). Their security headers
# are an SPI and a number of 8 or 12 octets, which goes up by one with every frame of the association, whatever virtual
# channel the frame is on. Frames that are missing, or that were recorded channel by channel, make steps of more than
# one; nothing makes a number go back. So in most frames the SPI is that of the frame before, and the number is a
# little larger. Octets of packets hardly ever look like that: all but the lowest octet of the number would have to be
# alike.
#
# The lengths do not tell whether the data are encrypted: another mission may authenticate with the IV of AES-GCM and
# leave the data in clear. So the data are read as if they were in clear, and are taken for encrypted if no packets
# agree (`frame_evidence`).

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flight.link.security.suites import CMAC_SUITE, GCM_SUITE, SPI_OCTETS, Suite
from ground.recording.streams.link_options import LinkOptions, Service

Frames = NDArray[np.uint8]  # n x frame_octets

ENCRYPTED = "encrypted: packets can be read only by who has the link's key"
_SUITES = (CMAC_SUITE, GCM_SUITE)
_HEADER_OCTETS = 6  # primary header of TM and AOS alike
_STEP_MAX = 32  # frames in a row that may be missing, or on other channels
_STEP_FRAC = 0.5  # of the numbers must step
_STEPS_MIN = 2


def security_layouts(frames: Frames, options: LinkOptions) -> Iterator[LinkOptions]:
    """Yield the options with the lengths of each security header and trailer for which the frames speak.

    Nothing is yielded if the options say lengths already.
    """
    if options.security_header_octets or options.security_trailer_octets:
        return
    for suite in _SUITES:
        if any(_counts(frames, start, suite) for start in _starts(options)):
            yield replace(
                options, security_header_octets=suite.header_octets, security_trailer_octets=suite.trailer_octets
            )


def _starts(options: LinkOptions) -> set[int]:
    """Return the octets at which the security header may begin: behind header control and insert zone, if any."""
    if options.service is not Service.AOS:
        return {_HEADER_OCTETS}
    start = _HEADER_OCTETS + (options.insert_octets or 0)
    return {start + 2} if options.has_header_control else {start, start + 2}


def _counts(frames: Frames, start: int, suite: Suite) -> bool:
    """Whether an SPI that stays and a number that steps stand at octet `start` of most frames."""
    fields = frames[:, start : start + suite.header_octets].astype(np.int64)
    if len(fields) <= _STEPS_MIN or fields.shape[1] < suite.header_octets:
        return False
    same = (np.diff(fields[:, :SPI_OCTETS], axis=0) == 0).all(axis=1)
    # The number as two halves, since 12 octets fit no integer: the high one stays or, rarely, goes up with a carry.
    low = fields[:, -4:] @ (1 << np.arange(24, -1, -8))
    same &= (np.diff(fields[:, SPI_OCTETS:-4], axis=0) == 0).all(axis=1)
    steps = np.diff(low)
    counting = int(np.count_nonzero(same & (steps > 0) & (steps <= _STEP_MAX)))
    return counting >= max(_STEPS_MIN, _STEP_FRAC * len(steps))
