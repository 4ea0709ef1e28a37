/* libFuzzer: any octets as a stream of units between markers. The first four choose the options and how it is cut. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

static uint32_t bit(const uint8_t *data, uint64_t at) { return data[at / 8] >> (7 - at % 8) & 1; }

static void require(int holds)
{
    if (!holds)
        abort();
}

/* The whole stream in pieces of `piece` octets; returns the units. */
static size_t feed(ob_sync *sync, const uint8_t *stream, size_t octets, size_t piece, uint8_t *units, uint8_t *columns,
                   size_t units_max)
{
    size_t n = 0;
    size_t start = 0;
    for (size_t end = 0; end < octets;) {
        end = octets - end > piece ? end + piece : octets;
        uint8_t *block = malloc(end - start);
        require(block != NULL);
        memcpy(block, stream + start, end - start);
        int64_t there = ob_find_units(sync, block, end - start, end == octets, units, units_max * sync->unit_octets,
                                      columns, units_max * OB_UNIT_COLUMN_OCTETS, units_max, n);
        free(block);
        require(there >= (int64_t)n && sync->consumed <= end - start);
        n = (size_t)there;
        start += sync->consumed;
        require(end - start <= 2 * (4 + (size_t)sync->unit_octets) + 6);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets < 4)
        return 0;
    static ob_sync whole, pieces;
    memset(&whole, 0, sizeof whole);
    whole.unit_octets = 1 + data[0] % 64;
    whole.lock_errors_max = data[1] & 7;
    whole.search_errors_max = (data[1] >> 3 & 7) % (whole.lock_errors_max + 1);
    whole.bit_search = data[1] >> 6 & 1;
    whole.inverted_allowed = data[1] >> 7;
    whole.slip_bits_max = data[2] & 7;
    whole.flywheel_units = data[2] >> 3 & 3;
    size_t piece = 1 + data[3];
    require(ob_sync_init(&whole) == 0);
    pieces = whole;

    const uint8_t *stream = data + 4;
    octets -= 4;
    size_t size = whole.unit_octets;
    size_t room = 2 * (octets / size) + 10;
    uint8_t *units[2], *columns[2];
    for (size_t i = 0; i < 2; i++) {
        units[i] = malloc(room * size);
        columns[i] = malloc(room * OB_UNIT_COLUMN_OCTETS);
        require(units[i] != NULL && columns[i] != NULL);
    }
    size_t n = feed(&whole, stream, octets, octets, units[0], columns[0], room);
    require(n < room && n == feed(&pieces, stream, octets, piece, units[1], columns[1], room));
    require(memcmp(units[0], units[1], n * size) == 0);

    const uint64_t *offset = (const uint64_t *)(void *)columns[0];
    const uint8_t *wrong_bits = columns[0] + 8 * room;
    const uint8_t *flags = columns[0] + 9 * room;
    for (size_t i = 0; i < n; i++) {
        require(offset[i] >= 32 && offset[i] + 8 * size <= 8 * octets && (i == 0 || offset[i] > offset[i - 1]));
        require(whole.bit_search || offset[i] % 8 == 0);
        require(flags[i] < 8 && (whole.inverted_allowed || !(flags[i] & OB_UNIT_INVERTED)));
        require(flags[i] & OB_UNIT_FLYWHEEL || wrong_bits[i] <= whole.lock_errors_max);
        uint32_t turned = flags[i] & OB_UNIT_INVERTED;
        uint32_t wrong = 0;
        for (uint32_t k = 0; k < 32; k++)
            wrong += bit(stream, offset[i] - 32 + k) ^ turned ^ (0x1ACFFC1Du >> (31 - k) & 1);
        require(wrong == wrong_bits[i]);
        for (size_t k = 0; k < 8 * size; k++)
            require(bit(units[0] + i * size, k) == (bit(stream, offset[i] + k) ^ turned));
        require(offset[i] == ((const uint64_t *)(void *)columns[1])[i] && flags[i] == columns[1][9 * room + i]);
    }
    for (size_t i = 0; i < 2; i++) {
        free(units[i]);
        free(columns[i]);
    }
    return 0;
}
