"""Octets that others published for link security: NIST for the two suites, CryptoLib for protected frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flight.kernels import crc16
from flight.link.security.self_test import self_test
from flight.link.security.suites import KeyedCmac, KeyedGcm, MacError

CRYPTOLIB = Path(__file__).parents[3] / "shared" / "vectors" / "cryptolib" / "cryptolib_ut_hex.json"
NIST_GCM = [line.split() for line in (Path(__file__).parent / "nist_aes256_gcm.txt").read_text().splitlines()[2:]]
CMAC_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
CMAC_TEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
# Octets of the text, and the MAC: NIST SP 800-38B, D.3.
CMAC_EXAMPLES = [
    (0, "028962f61b7bf89efc6b551f4667d983"),
    (16, "28a7023f452e8f82bd4bf28d8c37c35c"),
    (40, "aaf3d8f1de5640c232f5b169b9c911e6"),
    (64, "e1992190549f6ed5696a2c056c315410"),
]


@pytest.mark.parametrize(("octets", "mac"), CMAC_EXAMPLES)
def test_cmac_of_nist(octets: int, mac: str) -> None:
    assert KeyedCmac(CMAC_KEY).mac(CMAC_TEXT[:octets]).hex() == mac


def test_gcm_of_nist_both_ways_and_refused() -> None:
    refused = 0
    for row in NIST_GCM:
        key, iv, covered, text, cipher, tag = ("" if field == "-" else field for field in row)
        gcm = KeyedGcm(bytes.fromhex(key))
        sealed = bytes.fromhex(cipher + tag)
        if text == "FAIL":
            refused += 1
            with pytest.raises(MacError):
                gcm.unseal(bytes.fromhex(iv), sealed, bytes.fromhex(covered))
        else:
            assert gcm.unseal(bytes.fromhex(iv), sealed, bytes.fromhex(covered)).hex() == text
            assert gcm.seal(bytes.fromhex(iv), bytes.fromhex(text), bytes.fromhex(covered)) == sealed
    assert (len(NIST_GCM), refused) == (75, 25)


def test_the_self_test_passes() -> None:
    assert self_test()


# CryptoLib's cases. Most of its frames have a segment header, its masks leave everything out of the MAC (all covered
# octets count as zero), and its IVs, sequence numbers and pad lengths vary per case. Ours never look like that, so that
# these frames are read here, by a reader of their layout, and only the suites are ours.
CMAC_CASE = "TC_PROCESS.HAPPY_PATH_PROCESS_NONTRANSMITTED_INCREMENTING_ARSN_ROLLOVER"
GCM_CASE = "TC_PROCESS.GCM_IV_AND_ARSN"
NO_OUTPUT = "states no output of a suite: the input alone, or which error code comes back"
CBC = "AES-256-CBC, which is not one of our suites (it authenticates nothing); its layout is read"
USED = {
    CMAC_CASE: "AES-256-CMAC, 16-bit numbers: MAC and layout are checked",
    GCM_CASE: "AES-256-GCM, 96-bit IV and 16-bit number: MAC, numbers and layout are checked",
    "TC_APPLY_SECURITY.PLAINTEXT_W_ARSN": "clear mode with a security header: its layout is read",
    "TC_APPLY_SECURITY.ENC_CBC_1BP": CBC,
    "TC_APPLY_SECURITY.ENC_CBC_16BP": CBC,
    "TC_APPLY_SECURITY.ENC_CBC_1BP_1": CBC,
    "TC_APPLY_SECURITY.ENC_CBC_NULL_IV": CBC,
    "TC_APPLY_SECURITY.CBC_NULL_IV_W_IVH": CBC,
    "TC_PROCESS.HAPPY_PATH_DECRYPT_CBC": CBC,
    "TC_PROCESS.DECRYPT_CBC_1B": CBC,
    "TC_PROCESS.DECRYPT_CBC_16B": CBC,
}
NOT_USED = {
    **dict.fromkeys(
        [
            *(f"TC_APPLY_SECURITY.{name}" for name in (
                "NO_CRYPTO_INIT", "NO_CONFIG", "HAPPY_PATH_CLEAR", "HAPPY_PATH_ENC", "HAPPY_PATH_ENC_BAD_SPI",
                "HAPPY_PATH_ENC_CBC", "HAPPY_PATH_AUTH_ENC",
                "HAPPY_PATH_APPLY_NONTRANSMITTED_INCREMENTING_ARSN_ROLLOVER", "BAD_SPACE_CRAFT_ID",
                "BAD_VIRTUAL_CHANNEL_ID", "INVALID_FRAME_SIZE", "ERROR_TC_INPUT_FRAME_TOO_SHORT_FOR_SPEC",
                "ERROR_TC_INPUT_FRAME_TOO_SHORT_FOR_SPECIFIED_FRAME_LENGTH_HEADER", "TC_KEY_STATE_TEST",
                "TC_HEAP_BUFFER_OVERFLOW_TEST", "TC_HEAP_BUFFER_OVERFLOW_TEST_2", "TC_HEAP_BUFFER_OVERFLOW_TEST_IV",
            )),
            *(f"TC_PROCESS.{name}" for name in (
                "EXERCISE_IV", "EXERCISE_ARSN", "ERROR_TC_INPUT_FRAME_TOO_SHORT_FOR_SPEC",
                "ERROR_TC_INPUT_FRAME_TOO_SHORT_FOR_SPECIFIED_FRAME_LENGTH_HEADER", "TC_SA_SEGFAULT_TEST",
                "TC_SA_NOT_OPERATIONAL", "TC_KEY_STATE_TEST", "TC_HEAP_BUFFER_OVERFLOW_TEST",
                "TC_PROCESS_PREP_AAD_UNDERFLOW_TEST", "TC_HEAP_BUFFER_OVERFLOW_TEST_2", "TC_PROCESS_IGNORE_SA_STATE",
            )),
        ],
        NO_OUTPUT,
    ),
    "TC_APPLY_SECURITY.HAPPY_PATH_APPLY_NONTRANSMITTED_INCREMENTING_IV_ROLLOVER": "an IV that is sent in part; ours "
    "goes whole",
    "TC_APPLY_SECURITY.HAPPY_PATH_APPLY_STATIC_IV_ROLLOVER": "an IV whose upper half stands still when the lower rolls "
    "over: it comes again, and ours must not",
}  # fmt: skip


@pytest.fixture
def cryptolib() -> dict[str, dict[str, str]]:
    if not CRYPTOLIB.exists():
        pytest.skip(f"{CRYPTOLIB} is absent")
    cases: dict[str, dict[str, str]] = json.loads(CRYPTOLIB.read_text())
    return cases


def fields_of(frame: bytes, *octets: int, segment_header: int = 1) -> list[bytes]:
    """The fields of these lengths behind primary header and segment header, and what is left."""
    fields = []
    at = 5 + segment_header
    for length in octets:
        fields.append(frame[at : at + length])
        at += length
    return [*fields, frame[at:]]


def test_each_case_of_cryptolib_is_used_or_says_why_not(cryptolib: dict[str, dict[str, str]]) -> None:
    assert not USED.keys() & NOT_USED.keys()
    assert USED.keys() | NOT_USED.keys() == cryptolib.keys()


def test_cmac_frames_of_cryptolib(cryptolib: dict[str, dict[str, str]]) -> None:
    numbers = []
    for name, text in cryptolib[CMAC_CASE].items():
        frame = bytes.fromhex(text)
        assert (crc16(frame) == 0) == (name == "dec_test_00_h")  # of the other two it was never right
        spi, number, rest = fields_of(frame, 2, 2)
        data, mac = rest[:-18], rest[-18:-2]
        assert spi == b"\x00\x04" and data.hex() == "80d2c70008197f0b00310000b1fe"
        covered = bytes(len(frame) - 18)
        assert KeyedCmac(bytes.fromhex("fedcba9876543210" * 4)).mac(covered) == mac
        numbers.append(number.hex())
    assert numbers == ["fffe", "ffff", "0000"]  # the number rolls over: with the mask it could be replaced at will


def test_gcm_frames_of_cryptolib(cryptolib: dict[str, dict[str, str]]) -> None:
    case = cryptolib[GCM_CASE]
    gcm = KeyedGcm(bytes.fromhex(case["buffer_nist_key_h"]))
    authentic, refused = {}, set()
    for name, text in case.items():
        if "nist" in name:
            continue
        frame = bytes.fromhex(text)
        spi, iv, number, sealed = fields_of(frame, 2, 12, 2)
        assert spi == b"\x00\x09" and len(frame) == 54
        try:
            assert len(gcm.unseal(iv, sealed, bytes(len(frame) - len(sealed)))) == 16
            authentic[name] = (iv[-1], number.hex())
        except MacError:
            refused.add(name)
    # Without the number field these three are a different layout, and two of them have a MAC of zeros.
    assert refused == {"buffer_replay_h", "buffer_outside_window_h", "buffer_good_iv_with_gap_h"}
    assert authentic["buffer_good_iv_good_arsn_h"] == (0x4C, "0124")
    assert len(authentic) == 7


@pytest.mark.parametrize(
    ("case", "key", "octets", "spi"),
    [
        ("TC_APPLY_SECURITY.PLAINTEXT_W_ARSN", "truth_data_h", (2, 12, 2), 1),
        ("TC_APPLY_SECURITY.ENC_CBC_1BP", "truth_data_h", (2, 12), 4),
        ("TC_APPLY_SECURITY.ENC_CBC_16BP", "truth_data_h", (2, 12), 4),
        ("TC_APPLY_SECURITY.ENC_CBC_1BP_1", "truth_data_h", (2, 12), 4),
        ("TC_APPLY_SECURITY.ENC_CBC_NULL_IV", "truth_data_h", (2, 12), 11),
        ("TC_APPLY_SECURITY.CBC_NULL_IV_W_IVH", "truth_data_h", (2, 12), 11),
        ("TC_PROCESS.HAPPY_PATH_DECRYPT_CBC", "test_frame_pt_h", (2, 16, 1), 11),
        ("TC_PROCESS.DECRYPT_CBC_1B", "test_frame_pt_h", (2, 16, 1), 11),
        ("TC_PROCESS.DECRYPT_CBC_16B", "test_frame_pt_h", (2, 16, 1), 11),
    ],
)
def test_layouts_of_cryptolib(
    cryptolib: dict[str, dict[str, str]], case: str, key: str, octets: tuple[int, ...], spi: int
) -> None:
    """The security header stands behind the segment header, if there is one; length and error control cover it."""
    frame = bytes.fromhex(cryptolib[case][key])
    assert crc16(frame) == 0
    assert (int.from_bytes(frame[2:4], "big") & 0x3FF) + 1 == len(frame)
    without = case in ("TC_APPLY_SECURITY.PLAINTEXT_W_ARSN", "TC_APPLY_SECURITY.ENC_CBC_1BP")
    fields = fields_of(frame, *octets, segment_header=not without)
    assert int.from_bytes(fields[0], "big") == spi
    if octets[-1] == 1:
        data = bytes.fromhex(cryptolib[case]["truth_data_h"])
        padded = len(fields[-1]) - 2
        assert padded % 16 == 0
        assert padded - fields[2][0] == len(data)
