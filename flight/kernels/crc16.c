/* CRC-16 of frames and packets: tables on any machine, carry-less multiplication if the processor has it.
 *
 * Tables, sixteen octets per step. The remainder is linear, so octet b at distance k octets from the end of a step adds
 * b * x^(8k + 16) mod P, a table of 256 words for each k; only the first two octets of a step meet the value so far,
 * and the sixteen look-ups do not wait for each other. See M. E. Kounavis and F. L. Berry, "Novel table lookup-based
 * algorithms for high-performance CRC generation", IEEE Trans. Computers 57 (11), 2008 (slicing).
 *
 * Folding. Sixteen octets are a polynomial of 128 bits that can be moved up by any distance, modulo P, with two
 * carry-less multiplications: V. Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ", Intel,
 * 2009. Zeros before a message do not change its remainder, so octets that do not fill a block are taken first, as a
 * block that begins with zeros, and nothing is left over at the end. The last 128 bits are reduced by Barrett's method.
 * The same source serves PCLMULQDQ and PMULL; VPCLMULQDQ folds two blocks with one instruction.
 */
#include <string.h>

#include "cpu.h"
#include "orbitnode_kernels.h"
#include "span.h"
#include "units.h"

static const uint16_t TABLE[16][256] = {
    ROW(uint16_t, 0x1021, 0x2042, 0x4084, 0x8108, 0x1231, 0x2462, 0x48c4, 0x9188), /* x^16 */
    ROW(uint16_t, 0x3331, 0x6662, 0xccc4, 0x89a9, 0x0373, 0x06e6, 0x0dcc, 0x1b98), /* x^24 */
    ROW(uint16_t, 0x3730, 0x6e60, 0xdcc0, 0xa9a1, 0x4363, 0x86c6, 0x1dad, 0x3b5a), /* x^32 */
    ROW(uint16_t, 0x76b4, 0xed68, 0xcaf1, 0x85c3, 0x1ba7, 0x374e, 0x6e9c, 0xdd38), /* x^40 */
    ROW(uint16_t, 0xaa51, 0x4483, 0x8906, 0x022d, 0x045a, 0x08b4, 0x1168, 0x22d0), /* x^48 */
    ROW(uint16_t, 0x45a0, 0x8b40, 0x06a1, 0x0d42, 0x1a84, 0x3508, 0x6a10, 0xd420), /* x^56 */
    ROW(uint16_t, 0xb861, 0x60e3, 0xc1c6, 0x93ad, 0x377b, 0x6ef6, 0xddec, 0xabf9), /* x^64 */
    ROW(uint16_t, 0x47d3, 0x8fa6, 0x0f6d, 0x1eda, 0x3db4, 0x7b68, 0xf6d0, 0xfd81), /* x^72 */
    ROW(uint16_t, 0xeb23, 0xc667, 0x9cef, 0x29ff, 0x53fe, 0xa7fc, 0x5fd9, 0xbfb2), /* x^80 */
    ROW(uint16_t, 0x6f45, 0xde8a, 0xad35, 0x4a4b, 0x9496, 0x390d, 0x721a, 0xe434), /* x^88 */
    ROW(uint16_t, 0xd849, 0xa0b3, 0x5147, 0xa28e, 0x553d, 0xaa7a, 0x44d5, 0x89aa), /* x^96 */
    ROW(uint16_t, 0x0375, 0x06ea, 0x0dd4, 0x1ba8, 0x3750, 0x6ea0, 0xdd40, 0xaaa1), /* x^104 */
    ROW(uint16_t, 0x4563, 0x8ac6, 0x05ad, 0x0b5a, 0x16b4, 0x2d68, 0x5ad0, 0xb5a0), /* x^112 */
    ROW(uint16_t, 0x7b61, 0xf6c2, 0xfda5, 0xeb6b, 0xc6f7, 0x9dcf, 0x2bbf, 0x577e), /* x^120 */
    ROW(uint16_t, 0xaefc, 0x4dd9, 0x9bb2, 0x2745, 0x4e8a, 0x9d14, 0x2a09, 0x5412), /* x^128 */
    ROW(uint16_t, 0xa824, 0x4069, 0x80d2, 0x1185, 0x230a, 0x4614, 0x8c28, 0x0871), /* x^136 */
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

#if defined(OB_X86)
#define FOLDING __attribute__((target("pclmul,ssse3")))
#define HAS_FOLDING has_pclmul()

/* The few operations that folding takes, on polynomials of 128 bits; octets are counted from the lowest. */
typedef __m128i poly;

FOLDING static inline poly raw(const uint8_t *octets) { return _mm_loadu_si128((const __m128i *)(const void *)octets); }
FOLDING static inline poly pick(poly octets, poly places) { return _mm_shuffle_epi8(octets, places); }
FOLDING static inline poly add(poly a, poly b) { return _mm_xor_si128(a, b); }
FOLDING static inline poly words(uint64_t high, uint64_t low) { return _mm_set_epi64x((int64_t)high, (int64_t)low); }
FOLDING static inline poly low_by_low(poly a, poly b) { return _mm_clmulepi64_si128(a, b, 0x00); }
FOLDING static inline poly high_by_high(poly a, poly b) { return _mm_clmulepi64_si128(a, b, 0x11); }
FOLDING static inline poly down_16(poly a) { return _mm_srli_si128(a, 2); }
FOLDING static inline poly up_64(poly a) { return _mm_slli_si128(a, 8); }
FOLDING static inline uint32_t low_16(poly a) { return (uint32_t)_mm_cvtsi128_si32(a) & 0xFFFF; }

#elif defined(OB_ARM) && defined(OB_PMULL)
#define FOLDING OB_PMULL
#define HAS_FOLDING has_pmull()

typedef uint8x16_t poly;

FOLDING static inline poly raw(const uint8_t *octets) { return vld1q_u8(octets); }
FOLDING static inline poly pick(poly octets, poly places) { return vqtbl1q_u8(octets, places); }
FOLDING static inline poly add(poly a, poly b) { return veorq_u8(a, b); }
FOLDING static inline poly words(uint64_t high, uint64_t low)
{
    return vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)));
}
FOLDING static inline poly low_by_low(poly a, poly b)
{
    poly64_t by = vgetq_lane_p64(vreinterpretq_p64_u8(b), 0);
    return vreinterpretq_u8_p128(vmull_p64(vgetq_lane_p64(vreinterpretq_p64_u8(a), 0), by));
}
FOLDING static inline poly high_by_high(poly a, poly b)
{
    return vreinterpretq_u8_p128(vmull_high_p64(vreinterpretq_p64_u8(a), vreinterpretq_p64_u8(b)));
}
FOLDING static inline poly down_16(poly a) { return vextq_u8(a, vdupq_n_u8(0), 2); }
FOLDING static inline poly up_64(poly a) { return vextq_u8(vdupq_n_u8(0), a, 8); }
FOLDING static inline uint32_t low_16(poly a) { return vgetq_lane_u16(vreinterpretq_u16_u8(a), 0); }
#endif

#ifdef FOLDING
#define BLOCK_OCTETS 16
#define STEP_OCTETS 64

/* Places for `pick`: sixteen from entry 16 on turn the octets of a block around, so that the first one is highest;
 * from an entry before it, the block also moves down in memory, from one after it up, zeros coming in. */
#define NONE 0x80
static const uint8_t PLACES[48] = {
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
    15,   14,   13,   12,   11,   10,   9,    8,    7,    6,    5,    4,    3,    2,    1,    0,
    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
};

FOLDING static inline poly load(const uint8_t *block) { return pick(raw(block), raw(PLACES + BLOCK_OCTETS)); }

/* `value` moved up by the distance of `powers`, modulo P, plus what stands there: high * x^(n + 64) + low * x^n. */
FOLDING static inline poly fold(poly value, poly powers, poly there)
{
    return add(add(high_by_high(value, powers), low_by_low(value, powers)), there);
}

FOLDING static inline poly by_16(void) { return words(0x650b, 0xaefc); } /* x^192, x^128 mod P */

/* What a message of at least 16 octets starts with, as one block: the octets that do not fill a block, and the first
 * block that they leave. The value so far meets the first two octets, wherever these lie. */
FOLDING static inline poly first_block(const uint8_t *data, size_t odd, uint32_t crc)
{
    const uint8_t *turned = PLACES + BLOCK_OCTETS;
    poly start = words(0, crc >> 8 | (crc & 0xFF) << 8);
    poly head = pick(add(raw(data), start), raw(turned + BLOCK_OCTETS - odd));
    return fold(head, by_16(), add(load(data + odd), pick(start, raw(turned - odd))));
}

/* The remainder of `sum` and the whole blocks that follow. With sum = H x^64 + L it is (H x^80 + L x^16) mod P; mu is
 * x^80 / P, its highest bit left out, which gives the exact quotient of 64 bits. */
FOLDING static inline uint32_t last_blocks(poly sum, const uint8_t *data, size_t octets)
{
    for (; octets > 0; octets -= BLOCK_OCTETS) {
        sum = fold(sum, by_16(), load(data));
        data += BLOCK_OCTETS;
    }
    const poly power_and_mu = words(0xeb23, 0x11303471a041b343); /* x^80 mod P, mu */
    poly product = high_by_high(sum, power_and_mu);
    poly above = add(sum, down_16(product)); /* in its low half, what stands above the remainder */
    poly quotient = add(up_64(above), low_by_low(above, power_and_mu)); /* in its high half */
    return low_16(add(product, high_by_high(quotient, words(0x11021, 0))));
}

FOLDING static uint32_t by_folding(const uint8_t *data, size_t octets, uint32_t crc)
{
    size_t odd = octets % BLOCK_OCTETS;
    poly sum = first_block(data, odd, crc);
    data += odd + BLOCK_OCTETS;
    octets -= odd + BLOCK_OCTETS;
    if (octets >= 2 * STEP_OCTETS) {
        const poly by_64 = words(0x8832, 0x13fc); /* x^576, x^512 mod P */
        poly lane[4] = {sum, load(data), load(data + 16), load(data + 32)};
        data += STEP_OCTETS - BLOCK_OCTETS;
        octets -= STEP_OCTETS - BLOCK_OCTETS;
        for (; octets >= STEP_OCTETS; octets -= STEP_OCTETS) {
            for (size_t i = 0; i < 4; i++)
                lane[i] = fold(lane[i], by_64, load(data + BLOCK_OCTETS * i));
            data += STEP_OCTETS;
        }
        sum = lane[0];
        for (size_t i = 1; i < 4; i++)
            sum = fold(sum, by_16(), lane[i]);
    }
    return last_blocks(sum, data, octets);
}
#endif

#ifdef OB_X86
#define WIDE __attribute__((target("pclmul,avx2,vpclmulqdq")))
#define WIDE_OCTETS 128
#define WIDE_FROM 512 /* octets; below that the start and the end outweigh the middle */

WIDE static inline __m256i load_pair(const uint8_t *blocks)
{
    const __m256i places = _mm256_broadcastsi128_si256(raw(PLACES + BLOCK_OCTETS));
    return _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)blocks), places);
}

WIDE static inline __m256i fold_pair(__m256i value, __m256i powers, __m256i there)
{
    __m256i high = _mm256_clmulepi64_epi128(value, powers, 0x11);
    __m256i low = _mm256_clmulepi64_epi128(value, powers, 0x00);
    return _mm256_xor_si256(_mm256_xor_si256(high, low), there);
}

WIDE static uint32_t by_wide_folding(const uint8_t *data, size_t octets, uint32_t crc)
{
    const __m256i by_128 = _mm256_set_epi64x(0x71c4, 0x36c4, 0x71c4, 0x36c4); /* x^1088, x^1024 mod P */
    const __m256i by_32 = _mm256_set_epi64x(0x26aa, 0x8e29, 0x26aa, 0x8e29);  /* x^320, x^256 mod P */
    size_t odd = octets % BLOCK_OCTETS;
    poly first = first_block(data, odd, crc);
    data += odd;
    octets -= odd;
    __m256i lane[4];
    for (size_t i = 0; i < 4; i++)
        lane[i] = load_pair(data + 32 * i);
    lane[0] = _mm256_inserti128_si256(lane[0], first, 0);
    data += WIDE_OCTETS;
    octets -= WIDE_OCTETS;
    for (; octets >= WIDE_OCTETS; octets -= WIDE_OCTETS) {
        for (size_t i = 0; i < 4; i++)
            lane[i] = fold_pair(lane[i], by_128, load_pair(data + 32 * i));
        data += WIDE_OCTETS;
    }
    __m256i pair = lane[0];
    for (size_t i = 1; i < 4; i++)
        pair = fold_pair(pair, by_32, lane[i]);
    for (; octets >= 32; octets -= 32) {
        pair = fold_pair(pair, by_32, load_pair(data));
        data += 32;
    }
    poly sum = fold(_mm256_castsi256_si128(pair), by_16(), _mm256_extracti128_si256(pair, 1));
    return last_blocks(sum, data, octets);
}
#endif

typedef uint32_t crc_path(const uint8_t *data, size_t octets, uint32_t crc);

/* The fastest path on this processor for messages of `octets`. */
static crc_path *path_for(size_t octets)
{
#ifdef OB_X86
    if (octets >= WIDE_FROM && has_vpclmul())
        return by_wide_folding;
#endif
#ifdef FOLDING
    if (octets >= BLOCK_OCTETS && HAS_FOLDING)
        return by_folding;
#endif
    (void)octets;
    return by_tables;
}

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
    return (int32_t)path_for(octets)(data, octets, (uint32_t)init);
}

int64_t ob_crc16_units(const uint8_t *units, size_t octets, size_t count, size_t stride, size_t unit_octets,
                       uint8_t *out, size_t out_octets)
{
    if (!units_fit(octets, count, stride, unit_octets))
        return OB_E_LAYOUT;
    if (count > out_octets / sizeof(uint16_t))
        return OB_E_SPACE;
    crc_path *path = path_for(unit_octets);
    for (size_t i = 0; i < count; i++) {
        uint16_t crc = (uint16_t)path(units + i * stride, unit_octets, 0xFFFF);
        memcpy(out + i * sizeof crc, &crc, sizeof crc);
    }
    return (int64_t)count;
}
