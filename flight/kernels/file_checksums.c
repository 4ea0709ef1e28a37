/* Checksums of files (CCSDS 727.0-B-5, 4.2.2, and its SANA registry): the modular sum, and CRC-32C.
 *
 * Modular. Words of 32 bits begin at multiples of 4 of the file, wherever the octets lie in memory. So what comes before
 * the first whole word, and behind the last, is added by the places of its octets in their words; the sum of words is
 * modulo 2^32, and in which order they are added does not count.
 *
 * CRC-32C. Eight octets per step by eight tables, as in crc16.c, but reflected: the lowest bit is the highest power. The
 * table for an octet at distance k octets from the end of a step is what the octet leaves after k + 1 octets of division.
 */
#include "orbitnode_kernels.h"
#include "span.h"

#define WORD_MAX 0xFFFFFFFF

static const uint32_t TABLE[8][256] = {
    ROW(uint32_t, 0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    ROW(uint32_t, 0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
    ROW(uint32_t, 0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
    ROW(uint32_t, 0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
    ROW(uint32_t, 0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
    ROW(uint32_t, 0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
    ROW(uint32_t, 0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
    ROW(uint32_t, 0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
};

static uint32_t little_endian(const uint8_t *octets)
{
    return octets[0] | (uint32_t)octets[1] << 8 | (uint32_t)octets[2] << 16 | (uint32_t)octets[3] << 24;
}

int64_t ob_crc32c(const uint8_t *data, size_t octets, int64_t before)
{
    if (before < 0 || before > WORD_MAX)
        return OB_E_INIT;
    uint32_t crc = ~(uint32_t)before;
    for (; octets >= 8; data += 8, octets -= 8) {
        uint32_t low = crc ^ little_endian(data), high = little_endian(data + 4);
        crc = TABLE[7][low & 0xFF] ^ TABLE[6][low >> 8 & 0xFF] ^ TABLE[5][low >> 16 & 0xFF] ^ TABLE[4][low >> 24] ^
              TABLE[3][high & 0xFF] ^ TABLE[2][high >> 8 & 0xFF] ^ TABLE[1][high >> 16 & 0xFF] ^ TABLE[0][high >> 24];
    }
    for (; octets > 0; octets--)
        crc = crc >> 8 ^ TABLE[0][(crc ^ *data++) & 0xFF];
    return (int64_t)(uint32_t)~crc;
}

int64_t ob_modular_checksum(const uint8_t *data, size_t octets, int64_t before, uint64_t offset)
{
    if (before < 0 || before > WORD_MAX)
        return OB_E_INIT;
    uint32_t sum = (uint32_t)before;
    for (; octets > 0 && offset % 4 != 0; offset++, octets--)
        sum += (uint32_t)*data++ << (24 - 8 * (offset % 4));
    size_t words = octets / 4;
    for (size_t i = 0; i < words; i++)
        sum += (uint32_t)data[4 * i] << 24 | (uint32_t)data[4 * i + 1] << 16 | (uint32_t)data[4 * i + 2] << 8 |
               data[4 * i + 3];
    for (size_t i = 4 * words; i < octets; i++)
        sum += (uint32_t)data[i] << (24 - 8 * (i % 4));
    return (int64_t)sum;
}
