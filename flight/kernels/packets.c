/* Splitting a stream of space packets into columns of primary headers (CCSDS 133.0-B-2, 4.1.3). */
#include "orbitnode_kernels.h"

#define HEADER_OCTETS 6

/* Length in octets of the packet at the start of `data`, 0 where none lies there whole; `stop` says why. */
static inline size_t packet_octets(const uint8_t *data, size_t octets, int32_t *stop)
{
    if (octets == 0) {
        *stop = OB_STOP_END;
        return 0;
    }
    if (data[0] >> 5) {
        *stop = OB_STOP_VERSION;
        return 0;
    }
    if (octets < HEADER_OCTETS) {
        *stop = OB_STOP_TRUNCATED;
        return 0;
    }
    size_t length = HEADER_OCTETS + 1 + ((size_t)data[4] << 8 | data[5]);
    if (length > octets) {
        *stop = OB_STOP_TRUNCATED;
        return 0;
    }
    return length;
}

int64_t ob_count_packets(const uint8_t *data, size_t octets)
{
    int64_t count = 0;
    int32_t stop;
    size_t length;
    while ((length = packet_octets(data, octets, &stop)) > 0) {
        count++;
        data += length;
        octets -= length;
    }
    return count;
}

int64_t ob_split_packets(const uint8_t *data, size_t octets, uint8_t *columns, size_t columns_octets,
                         size_t packets_max, ob_split *result)
{
    if (packets_max > columns_octets / OB_COLUMN_OCTETS)
        return OB_E_SPACE;
    if ((uintptr_t)columns % 8 != 0)
        return OB_E_ALIGNMENT;
    /* Widest column first: each then starts on a multiple of its own width. */
    uint64_t *offset = (uint64_t *)(void *)columns;
    uint32_t *length = (uint32_t *)(void *)(columns + 8 * packets_max);
    uint16_t *apid = (uint16_t *)(void *)(columns + 12 * packets_max);
    uint16_t *seq = (uint16_t *)(void *)(columns + 14 * packets_max);
    uint8_t *flags = columns + 16 * packets_max;

    size_t at = 0;
    size_t n = 0;
    int32_t stop = OB_STOP_END;
    for (; n < packets_max; n++) {
        const uint8_t *header = data + at;
        size_t packet = packet_octets(header, octets - at, &stop);
        if (packet == 0)
            break;
        offset[n] = at;
        length[n] = (uint32_t)packet;
        apid[n] = (uint16_t)((header[0] & 7) << 8 | header[1]);
        seq[n] = (uint16_t)((header[2] & 0x3F) << 8 | header[3]);
        flags[n] = (uint8_t)((header[0] >> 1 & 0xC) | header[2] >> 6);
        at += packet;
    }
    if (n == packets_max)
        (void)packet_octets(data + at, octets - at, &stop);
    result->consumed = at;
    result->stop = stop;
    return (int64_t)n;
}
