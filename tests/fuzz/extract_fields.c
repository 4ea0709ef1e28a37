/* libFuzzer: any field table, any packet extents, any data. The first octet says how many fields follow, eight octets
 * each; then come so many extents, three octets each, then the data. Bit 4 of the first octet
 * adds eight words in a row, which have a path of their own. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

#define FIELDS_MAX 7
#define RUN 8
#define PACKETS_MAX 300

static void require(int holds)
{
    if (!holds)
        abort();
}

static unsigned width_of(unsigned bits) { return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8; }

/* Bit by bit, in the order of the octets' significance. */
static uint64_t by_bits(const ob_field *field, const uint8_t *packet, size_t octets)
{
    if (field->bit_offset + (size_t)field->bits > 8 * octets)
        return 0;
    uint64_t value = 0;
    for (unsigned k = 0; k < field->bits; k++) {
        size_t at = field->bit_offset + k;
        uint64_t bit = packet[at / 8] >> (7 - at % 8) & 1;
        value |= bit << (field->bits % 8 ? field->bits - 1u - k : 8u * field->significance[k / 8] + 7 - k % 8);
    }
    if (field->kind == OB_FIELD_SIGNED && value >> (field->bits - 1) & 1 && field->bits < 64)
        value |= ~0ull << field->bits;
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets < 2)
        return 0;
    size_t fields_count = data[0] & FIELDS_MAX, packets = data[0] & 0x80 ? data[1] + 45u : data[1] % 8u;
    int has_offsets = data[0] >> 6 & 1, has_lengths = data[0] >> 5 & 1, has_run = data[0] >> 4 & 1;
    data += 2;
    octets -= 2;
    if (octets < 8 * fields_count + 3 * packets)
        return 0;
    ob_field fields[FIELDS_MAX + RUN];
    for (size_t f = 0; f < fields_count; f++, data += 8) {
        fields[f] = (ob_field){
            .column = (uint32_t)(8 * f),
            .bit_offset = (uint32_t)data[1] << 8 | data[0],
            .bits = data[2],
            .kind = data[3] & 1,
        };
        if (data[3] & 0x40)
            fields[f].bit_offset &= 0xFF;
        unsigned whole = fields[f].bits / 8;
        for (unsigned k = 0; k < 8; k++) /* any order at all, or a rotation of one that is */
            fields[f].significance[k] = (uint8_t)(data[3] & 0x80 ? data[4 + k % 4] >> k
                                                  : whole > 0   ? (whole - 1 - k + data[4]) % whole
                                                                : 0);
    }
    size_t own = fields_count;
    for (unsigned k = 0; has_run && k < RUN; k++, fields_count++)
        fields[fields_count] =
            (ob_field){(uint32_t)(8 * fields_count), 8u * (uint32_t)own + 32 * k, 32, k & 1, {3, 2, 1, 0}};
    uint64_t offsets[PACKETS_MAX];
    uint32_t lengths[PACKETS_MAX];
    size_t rest = octets - 8 * own - 3 * packets;
    size_t stride = packets > 0 ? data[2] : 1;
    for (size_t i = 0; i < packets; i++, data += 3) {
        offsets[i] = (uint64_t)data[0] << (data[2] & 0x80 ? 56 : 0);
        lengths[i] = (uint32_t)data[1] << (data[2] & 0x40 ? 24 : 0);
    }
    uint8_t *block = malloc(rest + 1), *columns = malloc(8 * fields_count * packets + 8), *complete = malloc(packets + 1);
    require(block != NULL && columns != NULL && complete != NULL);
    uint8_t *packet_data = rest > 0 ? realloc(block, rest) : block; /* of its exact size, so that any octet beside shows */
    require(packet_data != NULL);
    memcpy(packet_data, data, rest);
    int64_t whole = ob_extract_fields(packet_data, rest, has_offsets ? offsets : NULL, has_lengths ? lengths : NULL,
                                      stride, packets, fields, fields_count, columns, 8 * fields_count * packets,
                                      complete);
    require(whole == OB_E_LAYOUT || (whole >= 0 && (size_t)whole <= packets));
    for (size_t i = 0; whole >= 0 && i < packets; i++) {
        uint64_t start = has_offsets ? offsets[i] : i * stride;
        size_t left = start < rest ? rest - (size_t)start : 0;
        size_t length = has_lengths ? lengths[i] : stride;
        length = length < left ? length : left;
        for (size_t f = 0; f < fields_count; f++) {
            unsigned width = width_of(fields[f].bits);
            uint64_t want = by_bits(&fields[f], left > 0 ? packet_data + start : packet_data, length);
            const uint8_t *number = columns + 8 * f * packets + width * i;
            uint64_t got = 0;
            switch (width) {
            case 1: got = *number; want = (uint8_t)want; break;
            case 2: got = *(const uint16_t *)(const void *)number; want = (uint16_t)want; break;
            case 4: got = *(const uint32_t *)(const void *)number; want = (uint32_t)want; break;
            default: got = *(const uint64_t *)(const void *)number; break;
            }
            require(got == want);
        }
    }
    free(packet_data);
    free(columns);
    free(complete);
    return 0;
}
