/* libFuzzer: any octets as a Reed-Solomon codeblock. Two octets say the layout, one how the rest came to be: as it
 * stands, or encoded and then changed at as many places, so that the decoder gets as far as correcting. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

#define HEAD_OCTETS 3

static void must(int holds)
{
    if (!holds)
        abort();
}

static uint8_t *copy_of(const uint8_t *data, size_t octets)
{
    uint8_t *copy = malloc(octets);
    must(copy != NULL);
    memcpy(copy, data, octets);
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    static const uint32_t INTERLEAVES[] = {1, 2, 3, 4, 5, 8};
    if (octets < HEAD_OCTETS)
        return 0;
    uint32_t parity = data[0] & 1 ? 32 : 16;
    uint32_t interleave = INTERLEAVES[(data[0] >> 1) % 6];
    size_t data_octets = (size_t)data[1] * interleave;
    size_t unit = data_octets + parity * interleave;
    size_t changes = data[2];
    data += HEAD_OCTETS;
    octets -= HEAD_OCTETS;

    uint8_t *units = copy_of(data, octets);
    int8_t *corrected = malloc(interleave);
    int8_t *same = malloc(interleave);
    must(corrected != NULL && same != NULL);
    if (changes > 0 && ob_rs_encode(units, octets, 1, 0, data_octets, parity, interleave) == 1)
        for (size_t i = 0; i + 1 < octets && i / 2 < changes; i += 2)
            units[(i * 211 + data[i]) % octets] ^= data[i + 1];
    uint8_t *received = copy_of(units, octets);
    uint8_t *portable = copy_of(units, octets);

    int64_t bad = ob_rs_decode(units, octets, 1, 0, data_octets, parity, interleave, corrected, interleave);
    must(bad == ob_rs_decode_portable(portable, octets, 1, 0, data_octets, parity, interleave, same, interleave));
    must(memcmp(units, portable, octets) == 0);
    must(bad >= 0 || memcmp(units, received, octets) == 0);
    int64_t uncorrectable = 0;
    for (size_t n = 0; bad >= 0 && n < interleave; n++) {
        size_t changed = 0;
        for (size_t i = n; i < unit; i += interleave)
            changed += units[i] != received[i];
        must(corrected[n] == same[n]);
        must(changed == (size_t)(corrected[n] < 0 ? 0 : corrected[n]) && changed <= parity / 2);
        uncorrectable += corrected[n] < 0;
    }
    must(bad < 0 || bad == uncorrectable);

    /* What was corrected is a codeword: encoded again, it stays as it is. */
    if (bad == 0) {
        must(ob_rs_encode(units, octets, 1, 0, data_octets, parity, interleave) == 1);
        must(memcmp(units, portable, octets) == 0);
    }
    free(units);
    free(corrected);
    free(same);
    free(received);
    free(portable);
    return 0;
}
