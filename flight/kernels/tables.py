"""The constant tables of the C kernels, from the field up: prints tables.h, which build.py and the Makefile write."""

# Reed-Solomon (CCSDS 131.0-B-5, section 4). An octet on the wire is an element of GF(256) in Berlekamp's dual basis. In
# any basis, adding is XOR, and multiplying goes through logarithms. So all tables are about octets as they stand on the
# wire, and no kernel ever converts. Logarithms are to the base BETA, the step between the roots of the generator
# polynomial: the symbol of degree d has the locator BETA^d.
#
# The whole code follows from three numbers of the standard: FIELD, the 11 of BETA = ALPHA^11, and the 117 of the dual
# basis. Everything below is computed from them, in the plainest way, because this runs once per build: the tests hold
# the result to the standard's own matrix and to other people's codecs.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd

FIELD = 0x187  # x^8 + x^7 + x^2 + x + 1, of which ALPHA is a root
ALPHA = 2
ORDER = 255  # of the multiplicative group: ALPHA^255 = 1
SLICES = 4  # octets of data that the division takes in one step
ERRORS_MAX = 16  # E of the longer code: the highest power that is evaluated
LOG_ZERO = 2 * ORDER  # stands for the logarithm of 0: above the sum of any two others


def times(a: int, b: int) -> int:
    """Return the product in GF(256), the elements as polynomials in ALPHA."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (FIELD if a & 0x80 else 0)
        b >>= 1
    return product


def power(a: int, exponent: int) -> int:
    """Return `a` to the power of `exponent`, which counts modulo 255."""
    product = 1
    for _ in range(exponent % ORDER):
        product = times(product, a)
    return product


def trace(a: int) -> int:
    """Return the sum of a, a^2, a^4, ... a^128, which is 0 or 1."""
    total = 0
    for _ in range(8):
        total ^= a
        a = times(a, a)
    return total


BETA = power(ALPHA, 11)
_DUAL = [power(ALPHA, 117 * i) for i in range(8)]  # bit i of the dual basis, the highest first, is trace(a * it)


def wire(a: int) -> int:
    """Return the octet that stands for the element `a` on the wire: its coordinates in the dual basis."""
    return sum(trace(times(a, base)) << 7 - i for i, base in enumerate(_DUAL))


WIRE = [wire(a) for a in range(256)]
ELEMENT = [WIRE.index(octet) for octet in range(256)]
POWER = [power(BETA, exponent) for exponent in range(ORDER)]


def generator(parity: int) -> list[int]:
    """Return the `parity` + 1 coefficients of the generator polynomial, the highest first, which is 1."""
    coefficients = [1]
    for root in range(128 - parity // 2, 128 + parity // 2):
        shifted, scaled = [*coefficients, 0], [0, *(times(c, POWER[root]) for c in coefficients)]
        coefficients = [a ^ b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def remainders(parity: int) -> list[list[list[int]]]:
    """Return [k][octet]: the remainder, `parity` octets, of octet * x^(parity + k) by the generator polynomial."""
    divisor = generator(parity)[1:]
    tables: list[list[list[int]]] = []
    # Only octets of a single bit are divided: the remainder is linear, so `_spanned` adds up the others.
    rows = {bit: [0] * (parity - 1) + [ELEMENT[bit]] for bit in (1 << i for i in range(8))}
    for exponent in range(1, parity + SLICES):
        for bit, row in rows.items():
            rows[bit] = [a ^ times(row[0], g) for a, g in zip([*row[1:], 0], divisor, strict=True)]
        if exponent >= parity:
            tables.append(_spanned({bit: [WIRE[a] for a in row] for bit, row in rows.items()}, parity))
    return tables


def _spanned(rows: dict[int, list[int]], octets: int) -> list[list[int]]:
    """Return all 256 rows, sums of those of the eight octets with a single bit."""
    table = [[0] * octets]
    for octet in range(1, 256):
        low = octet & -octet  # its lowest bit alone; the row of the other bits is in the table already
        table.append([a ^ b for a, b in zip(table[octet - low], rows[low], strict=True)])
    return table


def powers() -> tuple[list[int], list[list[int]]]:
    """List the terms c * x^k at x = BETA^0, BETA^1, ... BETA^255, one after the other, without a multiplication.

    With c = BETA^l the term is BETA^(l + k * i) at point i: another l only begins elsewhere in the same round of
    powers. A round has 255 / g members for g = gcd(k, 255), and there are g rounds. Returns the rounds, each long
    enough to be read for 256 points from any of its members, and [k - 1][l]: the place in them at which to begin.
    """
    octets: list[int] = []
    starts: list[list[int]] = []
    for k in range(1, ERRORS_MAX + 1):
        rounds = gcd(k, ORDER)
        period = ORDER // rounds
        begin: dict[int, int] = {}
        for first in range(rounds):
            members = [(first + k * i) % ORDER for i in range(period + 255)]
            for i, exponent in enumerate(members[:period]):
                begin[exponent] = len(octets) + i
            octets += (WIRE[POWER[exponent]] for exponent in members)
        starts.append([begin[exponent] for exponent in range(ORDER)])
    return octets, starts


def _braced(values: Iterable[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _words(octets: Sequence[int]) -> Iterable[str]:
    """Return words of 64 bits, the first octet lowest."""
    return (hex(int.from_bytes(octets[i : i + 8], "little")) for i in range(0, len(octets), 8))


def _remainder_table(parity: int) -> str:
    tables = _braced(_braced(_braced(_words(row)) for row in table) for table in remainders(parity))
    return f"static const uint64_t REMAINDER_{parity}[{SLICES}][256][{parity // 8}] = {tables};"


def header() -> str:
    """Return the text of tables.h."""
    # Twice around and then zeros: EXP[LOG[a] + LOG[b]] is the product of any two, 0 included, without a branch.
    exps = [WIRE[POWER[exponent % ORDER]] for exponent in range(LOG_ZERO)] + [0] * (LOG_ZERO + 1)
    logs = [LOG_ZERO] * 256
    for exponent, element in enumerate(POWER):
        logs[WIRE[element]] = exponent
    rounds, starts = powers()
    return "\n".join(
        (
            "/* Made by tables.py, which says what these are. */",
            f"#define LOG_ZERO {LOG_ZERO}",
            f"static const uint8_t EXP[{len(exps)}] = {_braced(exps)};",
            f"static const uint16_t LOG[256] = {_braced(logs)};",
            f"static const uint8_t POWERS[{len(rounds)}] = {_braced(rounds)};",
            f"static const uint16_t START[{len(starts)}][{ORDER}] = {_braced(map(_braced, starts))};",
            _remainder_table(16),
            _remainder_table(32),
            "",
        )
    )


if __name__ == "__main__":
    print(header(), end="")
