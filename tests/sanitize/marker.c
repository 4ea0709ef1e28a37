#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

/* The input with a marker wherever one is due, upright or not, but for some that are missing; bits slip at times. */
static uint8_t *with_markers(const uint8_t *data, size_t octets, size_t unit_octets)
{
    uint8_t *stream = exact(data, octets);
    uint8_t inverted = next_random() % 2 ? 0xFF : 0;
    uint32_t shift = next_random() % 8;
    static const uint8_t MARKER[4] = {0x1A, 0xCF, 0xFC, 0x1D};
    for (size_t at = next_random() % 9; at + 5 <= octets; at += 4 + unit_octets) {
        if (next_random() % 8 == 0)
            continue;
        if (next_random() % 16 == 0)
            shift = (shift + 1) % 8;
        uint8_t carry = (uint8_t)(stream[at] >> (8 - shift) << (8 - shift));
        for (size_t i = 0; i < 4; i++) {
            uint8_t octet = MARKER[i] ^ inverted;
            stream[at + i] = (uint8_t)(carry | octet >> shift);
            carry = (uint8_t)(octet << (8 - shift));
        }
        stream[at + 4] = (uint8_t)(carry | (stream[at + 4] & (0xFF >> shift)));
    }
    return stream;
}

/* Feed in pieces of up to `piece_max` octets, every block of exact size. Returns the units written. */
static size_t feed(ob_sync *sync, const uint8_t *stream, size_t octets, size_t piece_max, uint8_t *units,
                   uint8_t *columns, size_t units_max)
{
    size_t n = 0;
    size_t start = 0;
    for (size_t end = 0; end < octets;) {
        end += 1 + next_random() % piece_max;
        if (end > octets)
            end = octets;
        uint8_t *piece = exact(stream + start, end - start);
        int64_t there = ob_find_units(sync, piece, end - start, end == octets, units, units_max * sync->unit_octets,
                                      columns, units_max * OB_UNIT_COLUMN_OCTETS, units_max, n);
        free(piece);
        check(there >= (int64_t)n && sync->consumed <= end - start, "units or octets went backwards");
        n = (size_t)there;
        start += sync->consumed;
        check(end - start <= 2 * (4 + (size_t)sync->unit_octets) + 6, "more is held than was promised");
    }
    return n;
}

void try_sync(const uint8_t *data, size_t octets)
{
    static ob_sync whole, pieces;
    memset(&whole, 0, sizeof whole);
    whole.unit_octets = 1 + next_random() % 40;
    whole.lock_errors_max = next_random() % 8;
    whole.search_errors_max = next_random() % (whole.lock_errors_max + 1);
    whole.slip_bits_max = next_random() % 8;
    whole.flywheel_units = next_random() % 4;
    whole.bit_search = next_random() % 4 != 0;
    whole.inverted_allowed = next_random() % 4 != 0;
    pieces = whole;
    check(ob_sync_init(&whole) == 0 && ob_sync_init(&pieces) == 0, "options were refused");

    uint8_t *stream = with_markers(data, octets, whole.unit_octets);
    size_t room = 2 * (octets / whole.unit_octets) + 10;
    uint8_t *units[2], *columns[2];
    for (size_t i = 0; i < 2; i++) {
        units[i] = exact(NULL, room * whole.unit_octets);
        columns[i] = exact(NULL, room * OB_UNIT_COLUMN_OCTETS);
    }
    size_t n = feed(&whole, stream, octets, octets + 1, units[0], columns[0], room);
    size_t many = 1 + next_random() % 50;
    check(feed(&pieces, stream, octets, many, units[1], columns[1], room) == n, "pieces give other units");
    check(n == whole.units && n == pieces.units && n < room, "more units than there can be");
    check(memcmp(units[0], units[1], n * whole.unit_octets) == 0, "pieces give other octets");
    check(memcmp(columns[0], columns[1], 8 * n) == 0, "pieces give other offsets");
    check(memcmp(columns[0] + 9 * room, columns[1] + 9 * room, n) == 0, "pieces give other flags");
    for (size_t i = 0; i < 2; i++) {
        free(units[i]);
        free(columns[i]);
    }
    free(stream);
}
