/* CRC-16 of frames and packets: tables on any machine, carry-less multiplication where the processor has it.
 *
 * Tables, sixteen octets a step. The remainder is linear, so octet b at distance k octets from the end of a step adds b * x^(8k + 16) mod P,
 * a table of 256 words for each k; only the first two octets of a step meet the value so far, and the sixteen
 * look-ups do not wait for each other. See M. E. Kounavis and F. L. Berry, "Novel table lookup-based algorithms
 * for high-performance CRC generation", IEEE Trans. Computers 57 (11), 2008 (slicing).
 */
#include "cpu.h"
#include "orbitnode_kernels.h"

#ifdef OB_X86
#define CARRYLESS __attribute__((target("pclmul,ssse3")))
#endif

/* Each table is spanned by the words of its eight single-bit octets: 256 words of constant expressions. */
#define WORD(i, a, b, c, d, e, f, g, h)                                                              \
    (uint16_t)(((i)&1 ? a : 0) ^ ((i)&2 ? b : 0) ^ ((i)&4 ? c : 0) ^ ((i)&8 ? d : 0) ^               \
               ((i)&16 ? e : 0) ^ ((i)&32 ? f : 0) ^ ((i)&64 ? g : 0) ^ ((i)&128 ? h : 0))
#define W4(i, ...) \
    WORD(i, __VA_ARGS__), WORD((i) + 1, __VA_ARGS__), WORD((i) + 2, __VA_ARGS__), WORD((i) + 3, __VA_ARGS__)
#define W16(i, ...) W4(i, __VA_ARGS__), W4((i) + 4, __VA_ARGS__), W4((i) + 8, __VA_ARGS__), W4((i) + 12, __VA_ARGS__)
#define W64(i, ...) \
    W16(i, __VA_ARGS__), W16((i) + 16, __VA_ARGS__), W16((i) + 32, __VA_ARGS__), W16((i) + 48, __VA_ARGS__)
#define ROW(...) \
    { W64(0, __VA_ARGS__), W64(64, __VA_ARGS__), W64(128, __VA_ARGS__), W64(192, __VA_ARGS__) }

static const uint16_t TABLE[16][256] = {
    ROW(0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188), /* x^16 */
    ROW(0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98), /* x^24 */
    ROW(0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a), /* x^32 */
    ROW(0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38), /* x^40 */
    ROW(0xaa51, 0x4483, 0x8906, 0x022d, 0x045a, 0x08b4, 0x1168, 0x22d0), /* x^48 */
    ROW(0x45a0, 0x8b40, 0x06a1, 0x0d42, 0x1a84, 0x3508, 0x6a10, 0xd420), /* x^56 */
    ROW(0xb861, 0x60e3, 0xc1c6, 0x93ad, 0x377b, 0x6ef6, 0xddec, 0xabf9), /* x^64 */
    ROW(0x47d3, 0x8fa6, 0x0f6d, 0x1eda, 0x3db4, 0x7b68, 0xf6d0, 0xfd81), /* x^72 */
    ROW(0xeb23, 0xc667, 0x9cef, 0x29ff, 0x53fe, 0xa7fc, 0x5fd9, 0xbfb2), /* x^80 */
    ROW(0x6f45, 0xde8a, 0xad35, 0x4a4b, 0x9496, 0x390d, 0x721a, 0xe434), /* x^88 */
    ROW(0xd849, 0xa0b3, 0x5147, 0xa28e, 0x553d, 0xaa7a, 0x44d5, 0x89aa), /* x^96 */
    ROW(0x0375, 0x06ea, 0x0dd4, 0x1ba8, 0x3750, 0x6ea0, 0xdd40, 0xaaa1), /* x^104 */
    ROW(0x4563, 0x8ac6, 0x05ad, 0x0b5a, 0x16b4, 0x2d68, 0x5ad0, 0xb5a0), /* x^112 */
    ROW(0x7b61, 0xf6c2, 0xfda5, 0xeb6b, 0xc6f7, 0x9dcf, 0x2bbf, 0x577e), /* x^120 */
    ROW(0xaefc, 0x4dd9, 0x9bb2, 0x2745, 0x4e8a, 0x9d14, 0x2a09, 0x5412), /* x^128 */
    ROW(0xa824, 0x4069, 0x80d2, 0x1185, 0x230a, 0x4614, 0x8c28, 0x0871), /* x^136 */
};

static uint32_t by_tables(const uint8_t *data, size_t octets, uint32_t crc)
{
    while (octets >= 16) {
        uint32_t first = TABLE[15][data[0] ^ crc >> 8] ^ TABLE[14][data[1] ^ (crc & 0xFF)];
        uint32_t rest = 0;
        for (size_t k = 2; k < 16; k++)
            rest ^= TABLE[15 - k][data[k]];
        crc = first ^ rest;
        data += 16;
        octets -= 16;
    }
    for (; octets > 0; octets--)
        crc = (crc << 8 & 0xFFFF) ^ TABLE[0][crc >> 8 ^ *data++];
    return crc;
}

#ifdef CARRYLESS
#define FOLD_OCTETS 64

/* Octets as they lie in memory to one polynomial, the first octet highest, and back. */
CARRYLESS static inline __m128i reversed(__m128i octets)
{
    return _mm_shuffle_epi8(octets, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

CARRYLESS static inline __m128i load(const uint8_t *data)
{
    return reversed(_mm_loadu_si128((const __m128i *)(const void *)data));
}

/* `value` moved up by the distance of `powers`, modulo P, plus what stands there: high * x^(n + 64) + low * x^n. */
CARRYLESS static inline __m128i fold(__m128i value, __m128i powers, __m128i there)
{
    __m128i high = _mm_clmulepi64_si128(value, powers, 0x11);
    __m128i low = _mm_clmulepi64_si128(value, powers, 0x00);
    return _mm_xor_si128(_mm_xor_si128(high, low), there);
}

/* Folding by carry-less multiplication, four lanes at a time, down to sixteen octets of the same remainder.
 * V. Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ", Intel, 2009. */
CARRYLESS static uint32_t by_folding(const uint8_t *data, size_t octets, uint32_t crc)
{
    const __m128i by_64 = _mm_set_epi64x(0x8832, 0x13fc); /* x^576, x^512 mod P */
    const __m128i by_16 = _mm_set_epi64x(0x650b, 0xaefc); /* x^192, x^128 mod P */
    __m128i lane[4];
    for (size_t i = 0; i < 4; i++)
        lane[i] = load(data + 16 * i);
    lane[0] = _mm_xor_si128(lane[0], _mm_slli_si128(_mm_cvtsi32_si128((int)crc), 14));
    data += FOLD_OCTETS;
    octets -= FOLD_OCTETS;
    for (; octets >= FOLD_OCTETS; octets -= FOLD_OCTETS) {
        for (size_t i = 0; i < 4; i++)
            lane[i] = fold(lane[i], by_64, load(data + 16 * i));
        data += FOLD_OCTETS;
    }
    __m128i sum = lane[0];
    for (size_t i = 1; i < 4; i++)
        sum = fold(sum, by_16, lane[i]);
    for (; octets >= 16; octets -= 16) {
        sum = fold(sum, by_16, load(data));
        data += 16;
    }
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)(void *)rest, reversed(sum));
    return by_tables(data, octets, by_tables(rest, sizeof rest, 0));
}
#endif

int32_t ob_crc16_portable(const uint8_t *data, size_t octets, int64_t init)
{
    if (init < 0 || init > 0xFFFF)
        return OB_E_INIT;
    return (int32_t)by_tables(data, octets, (uint32_t)init);
}

int32_t ob_crc16(const uint8_t *data, size_t octets, int64_t init)
{
    if (init < 0 || init > 0xFFFF)
        return OB_E_INIT;
#ifdef CARRYLESS
    if (octets >= FOLD_OCTETS && has_pclmul())
        return (int32_t)by_folding(data, octets, (uint32_t)init);
#endif
    return (int32_t)by_tables(data, octets, (uint32_t)init);
}
