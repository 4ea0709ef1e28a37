/* Telecommand coding: start sequence, BCH(63,56) codeblocks, tail sequence (CCSDS 231.0-B-4, 3 and 5).
 *
 * The code is that of x^7 + x^6 + x^2 + 1 = (x + 1)(x^6 + x + 1): a Hamming code without its words of odd weight, so
 * any two of its words differ in 4 bits or more. The parity of 56 bits is linear, hence one look-up for each octet,
 * none of which waits for another. All 63 single errors have syndromes of their own, of odd weight; two errors have an
 * even one. So two wrong bits are never taken for one.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "span.h"

#define INFORMATION_OCTETS 7
#define CODEBLOCK_OCTETS 8
#define START 0xEB90u
#define START_OCTETS 2
#define FILL 0x55
#define COMPLEMENT 0xFE /* the 7 parity bits, all but the filler bit */
#define FILLER 0x01

static const uint8_t TAIL[CODEBLOCK_OCTETS] = {0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0x79};

/* What each information octet adds to the parity, which stands in the 7 high bits. */
static const uint8_t PARITY[INFORMATION_OCTETS][256] = {
    ROW(uint8_t, 0xda, 0x3e, 0x7c, 0xf8, 0x7a, 0xf4, 0x62, 0xc4), /* x^55 */
    ROW(uint8_t, 0xc8, 0x1a, 0x34, 0x68, 0xd0, 0x2a, 0x54, 0xa8), /* x^47 */
    ROW(uint8_t, 0xea, 0x5e, 0xbc, 0xf2, 0x6e, 0xdc, 0x32, 0x64), /* x^39 */
    ROW(uint8_t, 0x4a, 0x94, 0xa2, 0xce, 0x16, 0x2c, 0x58, 0xb0), /* x^31 */
    ROW(uint8_t, 0x52, 0xa4, 0xc2, 0x0e, 0x1c, 0x38, 0x70, 0xe0), /* x^23 */
    ROW(uint8_t, 0xd6, 0x26, 0x4c, 0x98, 0xba, 0xfe, 0x76, 0xec), /* x^15 */
    ROW(uint8_t, 0x8a, 0x9e, 0xb6, 0xe6, 0x46, 0x8c, 0x92, 0xae), /* x^7 */
};

/* Syndrome -> the wrong bit of the 63, the first one is 0; NO if two or more are wrong. */
#define NO 0xFF
static const uint8_t WRONG_BIT[128] = {
    NO, 62, 61, NO, 60, NO, NO, 36, 59, NO, NO, 27, NO, 14, 35, NO,
    58, NO, NO, 46, NO, 10, 26, NO, NO, 17, 13, NO, 34, NO, NO,  6,
    57, NO, NO, 51, NO, 31, 45, NO, NO, 39,  9, NO, 25, NO, NO, 22,
    NO,  1, 16, NO, 12, NO, NO, 19, 33, NO, NO, 41, NO,  3,  5, NO,
    56, NO, NO, NO, NO, 55, 50, NO, NO, 49, 30, NO, 44, NO, NO, 54,
    NO, 29, 38, NO,  8, NO, NO, 48, 24, NO, NO, 53, NO, 43, 21, NO,
    NO, 37,  0, NO, 15, NO, NO, 28, 11, NO, NO, 47, NO,  7, 18, NO,
    32, NO, NO, 52, NO, 23, 40, NO, NO, 20,  2, NO,  4, NO, NO, 42,
};

static inline uint8_t parity(const uint8_t *information)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < INFORMATION_OCTETS; i++)
        sum ^= PARITY[i][information[i]];
    return (uint8_t)sum;
}

static inline void write_codeblock(const uint8_t *information, uint8_t *out)
{
    memcpy(out, information, INFORMATION_OCTETS);
    out[INFORMATION_OCTETS] = parity(information) ^ COMPLEMENT;
}

int64_t ob_encode_cltu(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    if (octets == 0)
        return OB_E_LAYOUT;
    size_t whole = octets / INFORMATION_OCTETS;
    size_t left = octets % INFORMATION_OCTETS;
    size_t codeblocks = whole + (left > 0);
    if (out_octets < START_OCTETS + sizeof TAIL ||
        codeblocks > (out_octets - START_OCTETS - sizeof TAIL) / CODEBLOCK_OCTETS)
        return OB_E_SPACE;
    uint8_t *at = out;
    *at++ = START >> 8;
    *at++ = START & 0xFF;
    for (size_t i = 0; i < whole; i++, at += CODEBLOCK_OCTETS)
        write_codeblock(data + i * INFORMATION_OCTETS, at);
    if (left > 0) {
        uint8_t last[INFORMATION_OCTETS];
        memset(last, FILL, sizeof last);
        memcpy(last, data + whole * INFORMATION_OCTETS, left);
        write_codeblock(last, at);
        at += CODEBLOCK_OCTETS;
    }
    memcpy(at, TAIL, sizeof TAIL);
    return at + sizeof TAIL - out;
}

/* Whether `wrong` has no more bits set than the mode lets pass in a start sequence. */
static inline int within(uint32_t wrong, int32_t mode)
{
    return mode == OB_BCH_SEC ? (wrong & (wrong - 1)) == 0 : wrong == 0;
}

int64_t ob_find_start(const uint8_t *data, size_t octets, int32_t mode)
{
    if (mode != OB_BCH_SEC && mode != OB_BCH_TED)
        return OB_E_LAYOUT;
    for (size_t at = 0; at < octets; at++) {
        /* The second octet is looked at only if the first will do, and if there is one. */
        uint32_t wrong = (uint32_t)data[at] << 8 ^ (START & 0xFF00);
        if (within(wrong, mode) && (at + 1 == octets || within(wrong | (data[at + 1] ^ (START & 0xFF)), mode)))
            return (int64_t)at;
    }
    return (int64_t)octets;
}

int64_t ob_decode_codeblocks(const uint8_t *data, size_t octets, int32_t mode, uint8_t *out, size_t out_octets,
                             ob_codeblocks *result)
{
    if (mode != OB_BCH_SEC && mode != OB_BCH_TED)
        return OB_E_LAYOUT;
    size_t codeblocks = octets / CODEBLOCK_OCTETS;
    if (codeblocks > out_octets / INFORMATION_OCTETS)
        return OB_E_SPACE;
    size_t taken = 0;
    size_t corrected = 0;
    for (; taken < codeblocks; taken++) {
        /* Seven bits of syndrome, and the filler bit. */
        uint8_t wrong = parity(data) ^ data[INFORMATION_OCTETS] ^ COMPLEMENT;
        uint8_t bit = NO;
        if (wrong & COMPLEMENT) {
            bit = WRONG_BIT[wrong >> 1];
            if (mode == OB_BCH_TED || wrong & FILLER || bit == NO)
                break;
            corrected++;
        }
        memcpy(out, data, INFORMATION_OCTETS);
        if (bit < 8 * INFORMATION_OCTETS)
            out[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
        data += CODEBLOCK_OCTETS;
        out += INFORMATION_OCTETS;
    }
    result->good = taken - corrected;
    result->corrected = corrected;
    result->stop = taken < codeblocks ? OB_STOP_CODEBLOCK : OB_STOP_END;
    return (int64_t)taken;
}
