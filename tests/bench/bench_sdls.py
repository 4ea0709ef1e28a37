"""Frames of 1,115 octets through link security, beside bare AES-256-GCM of `cryptography` on as many octets.

`sdls-gcm` protects and verifies a frame. `-link` is all that both ends do for it: number, security header and MAC, and
on the other side the checks, the number spent, and what must be stored. The peer encrypts and decrypts 1,115 octets
with a context that it keeps.
"""

from __future__ import annotations

from random import Random

from flight.link.security.associations import End, LinkPlan
from flight.link.security.keyring import simulated_keys
from flight.link.security.link_security import LinkSecurity
from flight.link.security.suites import CMAC_SUITE, GCM_SUITE, Suite
from sim_hw.bench.bench_command import Bench, Race

FRAME_OCTETS, OUTSIDE_OCTETS = 1115, 6  # OCF and FECF
HEADER = bytes(range(6))
FRAMES = 100
WIDENED = 8  # times: a ground whose storage is slow for the frames that come (100,000 a second) stores less often


def frames(suite: Suite) -> Race:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    source = Random(1)
    plans = [LinkPlan("bench", None, suite)]
    node, ground = (LinkSecurity(end, simulated_keys(1, plans), plans, random=source.randbytes) for end in End)
    data = source.randbytes(
        FRAME_OCTETS - len(HEADER) - suite.header_octets - suite.trailer_octets - OUTSIDE_OCTETS
    )  # fmt: skip

    def settle(end: LinkSecurity) -> None:
        while store := end.to_store():
            end.stored(store.generation)

    def ours() -> None:
        for _ in range(FRAMES):
            body = node.protect(0, HEADER, data)
            settle(node)
            assert body is not None
            checked = ground.check(0, HEADER, body)
            if checked.waits:
                settle(ground)
                checked = ground.check(0, HEADER, body)
            ground.commit(0, checked)
            settle(ground)

    bare, iv, whole = AESGCM(source.randbytes(32)), bytes(12), source.randbytes(FRAME_OCTETS)

    def peer() -> None:
        for _ in range(FRAMES):
            bare.decrypt(iv, bare.encrypt(iv, whole, None), None)

    settle(node)
    settle(ground)
    for _ in range(WIDENED):
        ground.widen()
    ours()
    assert ground.counters.accepted == FRAMES
    return Race(ours, peer, FRAMES * FRAME_OCTETS / 1e6)


def suite_alone() -> Race:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    source = Random(1)
    keyed = GCM_SUITE.keyed(source.randbytes(32))
    octets = len(HEADER) + GCM_SUITE.overhead_octets + OUTSIDE_OCTETS
    data, whole = source.randbytes(FRAME_OCTETS - octets), source.randbytes(FRAME_OCTETS)
    bare, iv = AESGCM(source.randbytes(32)), bytes(12)
    assert keyed.verify(HEADER, keyed.protect(HEADER, b"\x00\x03", 7, data)) == data

    def ours() -> None:
        for number in range(FRAMES):
            keyed.verify(HEADER, keyed.protect(HEADER, b"\x00\x03", number, data))

    def peer() -> None:
        for _ in range(FRAMES):
            bare.decrypt(iv, bare.encrypt(iv, whole, None), None)

    return Race(ours, peer, FRAMES * FRAME_OCTETS / 1e6)


BENCHES = (
    Bench("sdls-gcm", "cryptography's AESGCM, bare", "MB/s", 0.4, suite_alone),
    Bench("sdls-gcm-link", "cryptography's AESGCM, bare", "MB/s", 0.25, lambda: frames(GCM_SUITE)),
    Bench("sdls-cmac-link", "cryptography's AESGCM, bare", "MB/s", 0.15, lambda: frames(CMAC_SUITE)),
)
