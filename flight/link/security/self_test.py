"""The self-test of 355.1-B-1: known answers through the suites that fly."""

# The answers are the published ones: AES-256 of NIST SP 800-38B (CMAC, example 4 of D.3) and test case 16 of the GCM
# specification that NIST SP 800-38D refers to. A library that was built wrong, or a processor that went wrong in the
# one instruction that AES uses, is seen here before it is trusted with a frame.

from __future__ import annotations

from flight.link.security.suites import KeyedCmac, KeyedGcm, MacError

CMAC_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
CMAC_TEXT = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CMAC = bytes.fromhex("e1992190549f6ed5696a2c056c315410")
GCM_KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
GCM_COVERED = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_TEXT = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
GCM_SEALED = bytes.fromhex(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
)


def self_test() -> bool:
    """Return whether both suites give the known answers, and refuse them with one bit wrong."""
    gcm = KeyedGcm(GCM_KEY)
    if KeyedCmac(CMAC_KEY).mac(CMAC_TEXT) != CMAC or gcm.seal(GCM_IV, GCM_TEXT, GCM_COVERED) != GCM_SEALED:
        return False
    if gcm.unseal(GCM_IV, GCM_SEALED, GCM_COVERED) != GCM_TEXT:
        return False
    try:
        gcm.unseal(GCM_IV, GCM_SEALED[:-1] + bytes((GCM_SEALED[-1] ^ 1,)), GCM_COVERED)
    except MacError:
        return True
    return False
