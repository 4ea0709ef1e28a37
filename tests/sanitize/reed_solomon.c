#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

static const uint32_t INTERLEAVES[] = {1, 2, 3, 4, 5, 8};

typedef struct {
    size_t stride;
    size_t count;
    size_t data_octets;
    size_t octets;
    uint32_t parity;
    uint32_t interleave;
} layout;

/* As many codeblocks as the octets give, shortened if they do not give one; `count` 0 if not even that fits. */
static layout choose(size_t octets)
{
    layout made = {0};
    made.parity = next_random() % 2 ? 32 : 16;
    made.interleave = INTERLEAVES[next_random() % 6];
    size_t symbols = octets / made.interleave;
    if (symbols <= made.parity)
        return made;
    symbols = 1 + next_random() % (symbols - made.parity);
    if (symbols > 255 - made.parity)
        symbols = 255 - made.parity;
    made.data_octets = symbols * made.interleave;
    size_t unit = made.data_octets + made.parity * made.interleave;
    made.stride = unit + next_random() % 5;
    made.count = 1 + (octets - unit) / made.stride;
    made.octets = (made.count - 1) * made.stride + unit;
    return made;
}

static int64_t encode(uint8_t *units, layout l)
{
    return ob_rs_encode(units, l.octets, l.count, l.stride, l.data_octets, l.parity, l.interleave);
}

/* Both paths on blocks of their own, which must come out the same. */
static int64_t decode(uint8_t *units, layout l, int8_t *corrected)
{
    size_t codewords = l.count * l.interleave;
    uint8_t *copy = exact(units, l.octets);
    int8_t *same = (int8_t *)exact(NULL, codewords);
    int64_t bad = ob_rs_decode(units, l.octets, l.count, l.stride, l.data_octets, l.parity, l.interleave, corrected,
                               codewords);
    int64_t portable = ob_rs_decode_portable(copy, l.octets, l.count, l.stride, l.data_octets, l.parity, l.interleave,
                                             same, codewords);
    check(bad == portable && memcmp(corrected, same, codewords) == 0, "RS decoding: counts of the paths differ");
    check(memcmp(units, copy, l.octets) == 0, "RS decoding: octets of the paths differ");
    free(copy);
    free(same);
    return bad;
}

static void try_refusals(uint8_t *units, layout l, int8_t *corrected)
{
    size_t n = l.count * l.interleave;
    check(ob_rs_encode(units, l.octets - 1, l.count, l.stride, l.data_octets, l.parity, l.interleave) == OB_E_LAYOUT,
          "RS encoding took a short buffer");
    check(ob_rs_decode(units, l.octets - 1, l.count, l.stride, l.data_octets, l.parity, l.interleave, corrected, n) ==
              OB_E_LAYOUT, "RS decoding took a short buffer");
    check(ob_rs_decode(units, l.octets, l.count, l.stride, l.data_octets, l.parity, l.interleave, corrected, n - 1) ==
              OB_E_SPACE, "RS decoding took too few counts");
    check(ob_rs_encode(units, SIZE_MAX, 4, SIZE_MAX / 2, l.data_octets, l.parity, l.interleave) == OB_E_LAYOUT,
          "RS encoding took a count that overflows");
    check(ob_rs_encode(units, l.octets, l.count, l.stride, l.data_octets, l.parity + 1, l.interleave) == OB_E_LAYOUT,
          "RS encoding took another number of check symbols");
    check(ob_rs_encode(units, l.octets, l.count, l.stride, l.data_octets, l.parity, 1u << 31) == OB_E_LAYOUT,
          "RS encoding took a great interleave");
    check(ob_rs_encode(NULL, 0, 0, 0, l.data_octets, l.parity, l.interleave) == 0, "RS encoding of no unit");
}

void try_reed_solomon(const uint8_t *data, size_t octets)
{
    layout l = choose(octets);
    if (l.count == 0)
        return;
    uint8_t *units = exact(data, l.octets);
    uint8_t *copy = exact(data, l.octets);
    int8_t *corrected = (int8_t *)exact(NULL, l.count * l.interleave);
    try_refusals(units, l, corrected);
    check(memcmp(units, data, l.octets) == 0, "RS wrote although it refused");

    (void)decode(units, l, corrected); /* any octets */
    memcpy(units, data, l.octets);
    check(encode(units, l) == (int64_t)l.count, "RS encoding: another count");
    check(ob_rs_encode_portable(copy, l.octets, l.count, l.stride, l.data_octets, l.parity, l.interleave) ==
              (int64_t)l.count, "RS encoding: another count on the portable path");
    check(memcmp(units, copy, l.octets) == 0, "RS encoding: the paths differ");
    check(decode(units, l, corrected) == 0, "RS decoding: what was encoded is no codeword");
    check(ob_rs_encode(units, l.octets, 1, SIZE_MAX, l.data_octets, l.parity, l.interleave) == 1,
          "RS encoding: the stride of a single unit is of no matter");

    /* A burst over one unit: as long as it can be corrected, in every codeword at once. */
    size_t burst = l.parity / 2 * l.interleave;
    size_t length = l.data_octets + l.parity * l.interleave;
    size_t start = next_random() % l.count * l.stride + next_random() % (length - burst + 1);
    for (size_t i = 0; i < burst; i++)
        units[start + i] ^= (uint8_t)(1 + next_random() % 255);
    check(decode(units, l, corrected) == 0, "RS decoding gave up on E errors");
    check(memcmp(units, copy, l.octets) == 0, "RS decoding did not give back what was sent");
    int total = 0;
    for (size_t i = 0; i < l.count * l.interleave; i++)
        total += corrected[i];
    check(total == (int)burst, "RS decoding counted wrong");
    free(units);
    free(copy);
    free(corrected);
}
