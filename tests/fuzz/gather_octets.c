/* libFuzzer: any places and lengths, any data. The first octet says how many rows follow, three octets each; then comes
 * the data. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

#define ROWS_MAX 15

static void require(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t octets)
{
    if (octets < 1)
        return 0;
    size_t rows = input[0] & ROWS_MAX;
    int is_short = input[0] >> 7;
    input++;
    octets--;
    if (octets < 3 * rows)
        return 0;
    uint64_t bits[ROWS_MAX + 1], lengths[ROWS_MAX + 1];
    size_t total = 0;
    for (size_t i = 0; i < rows; i++, input += 3) {
        bits[i] = (uint64_t)input[0] << (input[2] & 0x80 ? 56 : input[2] & 7);
        lengths[i] = (uint64_t)input[1] << (input[2] & 0x40 ? 56 : 0);
        total += lengths[i] < 256 ? lengths[i] : 0;
    }
    octets -= 3 * rows;
    size_t room = is_short ? total / 2 : total;
    uint8_t *data = malloc(octets + 1), *out = malloc(room + 1); /* a block of nothing may be null */
    require(data != NULL && out != NULL);
    data = octets > 0 ? realloc(data, octets) : data; /* of its exact size, so that any octet beside shows */
    out = room > 0 ? realloc(out, room) : out;
    require(data != NULL && out != NULL);
    memcpy(data, input, octets);
    int64_t written = ob_gather_octets(data, octets, bits, lengths, rows, out, room);
    require(written == OB_E_LAYOUT || written == OB_E_SPACE || (written >= 0 && (size_t)written <= room));
    size_t at = 0;
    for (size_t i = 0; written >= 0 && i < rows; i++)
        for (size_t k = 0; k < lengths[i]; k++, at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                uint64_t from = bits[i] + 8 * k + bit;
                require((out[at] >> (7 - bit) & 1) == (data[from / 8] >> (7 - from % 8) & 1));
            }
    require(written < 0 || (size_t)written == at);
    free(data);
    free(out);
    return 0;
}
