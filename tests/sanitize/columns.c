#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

#define FIELDS 12

/* The field in a packet of `octets`, bit by bit, in the order of its octets' significance. */
static uint64_t by_bits(const ob_field *field, const uint8_t *packet, size_t octets)
{
    if (field->bit_offset + (size_t)field->bits > 8 * octets)
        return 0;
    uint64_t value = 0;
    for (unsigned k = 0; k < field->bits; k++) {
        size_t at = field->bit_offset + k;
        uint64_t bit = packet[at / 8] >> (7 - at % 8) & 1;
        unsigned place = field->bits % 8 ? field->bits - 1u - k : 8u * field->significance[k / 8] + 7 - k % 8;
        value |= bit << place;
    }
    if (field->kind == OB_FIELD_SIGNED && value >> (field->bits - 1) & 1)
        value |= field->bits < 64 ? ~0ull << field->bits : 0;
    return value;
}

static uint64_t number_at(const uint8_t *column, unsigned width, size_t i)
{
    uint64_t value = 0;
    const uint8_t *at = column + i * width;
    uint32_t word;
    uint16_t half;
    switch (width) {
    case 1: return *at;
    case 2: memcpy(&half, at, 2); return half;
    case 4: memcpy(&word, at, 4); return word;
    default: memcpy(&value, at, 8); return value;
    }
}

static void make_field(ob_field *field, uint32_t *column)
{
    static const uint8_t widths[] = {8, 16, 24, 32, 40, 48, 56, 64};
    field->bits = (uint8_t)(next_random() % 2 ? widths[next_random() % 8] : 1 + next_random() % 64);
    field->bit_offset = (uint32_t)(next_random() % 200);
    if (next_random() % 2)
        field->bit_offset &= ~7u;
    field->kind = (uint8_t)(next_random() % 2);
    unsigned octets = field->bits / 8;
    unsigned turn = octets > 0 ? (unsigned)(next_random() % octets) : 0;
    int is_big = next_random() % 2 == 0;
    for (unsigned k = 0; k < octets; k++)
        field->significance[k] = (uint8_t)(is_big ? octets - 1 - k : (k + turn) % octets);
    field->column = *column;
    *column += 8; /* of any width: each starts at a multiple of its own */
}

void try_columns(const uint8_t *data, size_t octets)
{
    ob_field fields[FIELDS];
    uint32_t row = 0;
    for (size_t f = 0; f < FIELDS; f++)
        make_field(&fields[f], &row);
    if (next_random() % 2) /* words in a row, which have a path of their own */
        for (size_t f = 1; f <= 9; f++)
            fields[f] = (ob_field){fields[f].column, (uint32_t)(16 + 32 * f), 32, OB_FIELD_UNSIGNED, {3, 2, 1, 0}};
    size_t packets = octets / 9 + next_random() % 3, stride = 1 + next_random() % 40;
    uint64_t *offsets = packets > 0 ? malloc(8 * packets) : NULL;
    uint32_t *lengths = packets > 0 ? malloc(4 * packets) : NULL;
    int is_hostile = next_random() % 4 == 0;
    for (size_t i = 0; i < packets; i++) {
        offsets[i] = is_hostile ? next_random() >> next_random() % 64 : i * 9;
        lengths[i] = (uint32_t)(is_hostile ? next_random() >> next_random() % 64 : next_random() % 64 == 0 ? 30 : 50 + next_random() % 8);
    }
    uint8_t *columns = exact(NULL, packets * row), *complete = exact(NULL, packets);
    for (int by_stride = 0; by_stride < 2; by_stride++) {
        int64_t whole = ob_extract_fields(data, octets, by_stride ? NULL : offsets, by_stride ? NULL : lengths, stride,
                                          packets, fields, FIELDS, columns, packets * row, complete);
        check(whole >= 0 && (size_t)whole <= packets, "more packets are complete than there are");
        for (size_t i = 0; i < packets; i++) {
            uint64_t start = by_stride ? i * stride : offsets[i];
            size_t left = start < octets ? octets - (size_t)start : 0;
            size_t length = by_stride ? stride : lengths[i];
            length = length < left ? length : left;
            whole -= complete[i];
            for (size_t f = 0; f < FIELDS; f++) {
                unsigned width = fields[f].bits <= 8 ? 1 : fields[f].bits <= 16 ? 2 : fields[f].bits <= 32 ? 4 : 8;
                uint64_t want = by_bits(&fields[f], left > 0 ? data + start : data, length);
                uint64_t mask = width == 8 ? ~0ull : (1ull << 8 * width) - 1;
                check(number_at(columns + packets * fields[f].column, width, i) == (want & mask), "a field is not its bits");
            }
        }
        check(whole == 0, "the complete packets are not as many as were said");
    }
    if (packets > 0)
        check(ob_extract_fields(data, octets, offsets, lengths, 0, packets, fields, FIELDS, columns,
                                packets * (row - 8), complete) == OB_E_SPACE, "short columns");
    free(complete);
    free(columns);
    free(lengths);
    free(offsets);
}
