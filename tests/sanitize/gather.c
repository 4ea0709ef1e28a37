#include <stdlib.h>

#include "check.h"
#include "orbitnode_kernels.h"

#define ROWS 9

/* Octet `k` of the row that begins at `bit`, bit by bit. */
static unsigned octet_at(const uint8_t *data, uint64_t bit, size_t k)
{
    unsigned value = 0;
    for (uint64_t at = bit + 8 * k; at < bit + 8 * k + 8; at++)
        value = value << 1 | (data[at / 8] >> (7 - at % 8) & 1);
    return value;
}

void try_gather(const uint8_t *data, size_t octets)
{
    uint64_t bits[ROWS], lengths[ROWS];
    size_t total = 0;
    for (size_t i = 0; i < ROWS; i++) {
        bits[i] = next_random() % (8 * octets + 1);
        size_t left = octets - (size_t)((bits[i] + 7) / 8);
        lengths[i] = i % 4 == 0 ? left : next_random() % (left + 1);
        total += lengths[i];
    }
    uint8_t *out = exact(NULL, total);
    check(ob_gather_octets(data, octets, bits, lengths, ROWS, out, total) == (int64_t)total, "octets gathered");
    size_t at = 0;
    for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < lengths[i]; k++)
            check(out[at++] == octet_at(data, bits[i], k), "gathered octet");
    if (total > 0)
        check(ob_gather_octets(data, octets, bits, lengths, ROWS, out, total - 1) == OB_E_SPACE, "no room to gather");
    /* One octet too many, and what goes round. */
    uint64_t row = next_random() % ROWS, length = lengths[row];
    lengths[row] = octets - bits[row] / 8 + (bits[row] % 8 == 0);
    check(ob_gather_octets(data, octets, bits, lengths, ROWS, out, total) < 0, "gathered beyond the end");
    lengths[row] = ~(uint64_t)0;
    check(ob_gather_octets(data, octets, bits, lengths, ROWS, out, total) < 0, "gathered round");
    lengths[row] = length > 0 ? length : 1;
    bits[row] = ~(uint64_t)0 - next_random() % 9;
    check(ob_gather_octets(data, octets, bits, lengths, ROWS, out, total) < 0, "gathered from nowhere");
    check(ob_gather_octets(data, octets, (const uint64_t *)(const void *)((const uint8_t *)bits + 1), lengths, 1, out,
                           total) == OB_E_ALIGNMENT,
          "odd address of bits");
    free(out);
}
