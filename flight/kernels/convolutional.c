/* The convolutional encoder, and hard symbols made soft (CCSDS 131.0-B-5, 3.3).
 *
 * A step takes thirty-two bits. With the six bits before them above, a word shifted by k has in every place the bit of
 * k periods ago, so each generator is a few XORs of shifted words. The two outputs are then shuffled into pairs.
 */
#include <string.h>

#include "orbitnode_kernels.h"

#define MEMORY_MASK 0x3Fu /* of six bits */

/* Bit i of the 32 to bit 2i. */
static inline uint64_t spread(uint64_t bits)
{
    bits = (bits | bits << 16) & 0x0000FFFF0000FFFFu;
    bits = (bits | bits << 8) & 0x00FF00FF00FF00FFu;
    bits = (bits | bits << 4) & 0x0F0F0F0F0F0F0F0Fu;
    bits = (bits | bits << 2) & 0x3333333333333333u;
    return (bits | bits << 1) & 0x5555555555555555u;
}

/* The 64 symbols of the lowest 32 bits of `bits`; the six before them stand above. */
static inline uint64_t encode(uint64_t bits)
{
    uint64_t common = bits ^ bits >> 2 ^ bits >> 3 ^ bits >> 6;
    uint64_t c1 = common ^ bits >> 1;     /* 1111001 */
    uint64_t c2 = ~(common ^ bits >> 5);  /* 1011011, inverted */
    return spread(c1 & 0xFFFFFFFFu) << 1 | spread(c2 & 0xFFFFFFFFu);
}

static inline void store(uint8_t *out, uint64_t symbols)
{
    for (size_t i = 0; i < 8; i++)
        out[i] = (uint8_t)(symbols >> (56 - 8 * i));
}

int64_t ob_convolve(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets, uint8_t *memory)
{
    if (out_octets / 2 < octets)
        return OB_E_SPACE;
    uint64_t bits = *memory;
    size_t left = octets;
    for (; left >= 4; left -= 4) {
        uint32_t word = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
        bits = bits << 32 | word;
        store(out, encode(bits));
        data += 4;
        out += 8;
    }
    for (; left > 0; left--) {
        bits = bits << 8 | *data++;
        uint64_t symbols = encode(bits);
        *out++ = (uint8_t)(symbols >> 8);
        *out++ = (uint8_t)symbols;
    }
    *memory = (uint8_t)(bits & MEMORY_MASK);
    return (int64_t)(2 * octets);
}

int64_t ob_soften(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    if (out_octets / 8 < octets)
        return OB_E_SPACE;
    for (size_t i = 0; i < octets; i++)
        for (size_t bit = 0; bit < 8; bit++)
            out[8 * i + bit] = data[i] & 0x80 >> bit ? 0xFF : 0;
    return (int64_t)(8 * octets);
}
