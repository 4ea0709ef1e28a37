/* Space packets (CCSDS 133.0-B-2, 4.1.3) by the stream: split into columns of primary headers, and made from them.
 *
 * Only the length fields lead from packet to packet, so a walk ends at the first octets that are not a packet of this
 * version: whatever stands behind them could only be guessed at. It says where it ended and why, and the caller may
 * search from there.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "units.h"

#define HEADER_OCTETS 6
#define DATA_OCTETS_MAX 65536

/* Length in octets of the packet at the start of `data`, 0 if none lies there whole; `stop` says why. */
static inline size_t packet_octets(const uint8_t *data, size_t octets, int any_version, int32_t *stop)
{
    if (octets == 0) {
        *stop = OB_STOP_END;
        return 0;
    }
    if (data[0] >> 5 && !any_version) {
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
    while ((length = packet_octets(data, octets, 0, &stop)) > 0) {
        count++;
        data += length;
        octets -= length;
    }
    return count;
}

/* As `packet_octets`, with `lead` octets in front of the packet; 0 also if these are not all there. */
static inline size_t led_packet_octets(const uint8_t *data, size_t octets, size_t lead, int any_version, int32_t *stop)
{
    if (octets > 0 && octets <= lead) {
        *stop = OB_STOP_TRUNCATED;
        return 0;
    }
    return packet_octets(data + lead, octets > lead ? octets - lead : 0, any_version, stop);
}

/* Inlined with constants into its two callers: what most streams need costs nothing for what few do. */
static inline int64_t split(const uint8_t *data, size_t octets, size_t lead, int any_version, uint8_t *columns,
                            size_t columns_octets, size_t packets_max, ob_split *result)
{
    if (packets_max > columns_octets / OB_PACKET_COLUMN_OCTETS)
        return OB_E_SPACE;
    if (!is_aligned(columns, 8))
        return OB_E_ALIGNMENT;
    if (octets == 0 || packets_max == 0) { /* either pointer may be null */
        result->consumed = 0;
        result->stop = OB_STOP_END;
        if (octets > 0)
            (void)led_packet_octets(data, octets, lead, any_version, &result->stop);
        return 0;
    }
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
        const uint8_t *header = data + at + lead;
        size_t packet = led_packet_octets(data + at, octets - at, lead, any_version, &stop);
        if (packet == 0)
            break;
        offset[n] = at + lead;
        length[n] = (uint32_t)packet;
        apid[n] = (uint16_t)((header[0] & 7) << 8 | header[1]);
        seq[n] = (uint16_t)((header[2] & 0x3F) << 8 | header[3]);
        flags[n] = (uint8_t)((header[0] >> 1 & 0xC) | header[2] >> 6);
        at += lead + packet;
    }
    if (n == packets_max)
        (void)led_packet_octets(data + at, octets - at, lead, any_version, &stop);
    result->consumed = at;
    result->stop = stop;
    return (int64_t)n;
}

int64_t ob_split_packets(const uint8_t *data, size_t octets, uint8_t *columns, size_t columns_octets,
                         size_t packets_max, ob_split *result)
{
    return split(data, octets, 0, 0, columns, columns_octets, packets_max, result);
}

int64_t ob_split_led_packets(const uint8_t *data, size_t octets, size_t lead_octets, int32_t any_version,
                             uint8_t *columns, size_t columns_octets, size_t packets_max, ob_split *result)
{
    return split(data, octets, lead_octets, any_version, columns, columns_octets, packets_max, result);
}

/* Octets of the data of all packets, or OB_E_LAYOUT if a column has a value that its field cannot take. */
static int64_t encodable_octets(const uint32_t *lengths, size_t length, const uint16_t *apid, const uint16_t *seq,
                                const uint8_t *flags, size_t packets)
{
    /* Without a branch for each packet, the compiler checks many at a time. */
    uint32_t wrong = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < packets; i++)
        wrong |= (uint32_t)(apid[i] >> 11) | (uint32_t)(seq[i] >> 14) | (uint32_t)(flags[i] >> 4);
    if (lengths == NULL) {
        wrong |= packets > 0 && length - 1 >= DATA_OCTETS_MAX;
        sum = (uint64_t)length * packets;
    } else {
        for (size_t i = 0; i < packets; i++) {
            wrong |= lengths[i] - 1 >= DATA_OCTETS_MAX;
            sum += lengths[i];
        }
    }
    return wrong ? OB_E_LAYOUT : (int64_t)sum;
}

int64_t ob_encode_packets(const uint8_t *data, size_t octets, const uint32_t *lengths, size_t length,
                          const uint16_t *apid, const uint16_t *seq, const uint8_t *flags, size_t packets,
                          uint8_t *out, size_t out_octets)
{
    int aligned = is_aligned(lengths, sizeof *lengths) && is_aligned(apid, sizeof *apid) && is_aligned(seq, sizeof *seq);
    if (packets > 0 && !aligned)
        return OB_E_ALIGNMENT;
    int64_t sum = encodable_octets(lengths, length, apid, seq, flags, packets);
    if (sum < 0 || (size_t)sum != octets)
        return OB_E_LAYOUT;
    size_t stream = octets + packets * HEADER_OCTETS;
    if (out_octets < stream)
        return OB_E_SPACE;
    for (size_t i = 0; i < packets; i++) {
        size_t field = lengths == NULL ? length : lengths[i];
        uint32_t word = (uint32_t)(flags[i] >> 2) << 11 | apid[i];
        uint32_t control = (uint32_t)(flags[i] & 3) << 14 | seq[i];
        out[0] = (uint8_t)(word >> 8);
        out[1] = (uint8_t)word;
        out[2] = (uint8_t)(control >> 8);
        out[3] = (uint8_t)control;
        out[4] = (uint8_t)((field - 1) >> 8);
        out[5] = (uint8_t)(field - 1);
        memcpy(out + HEADER_OCTETS, data, field);
        data += field;
        out += HEADER_OCTETS + field;
    }
    return (int64_t)stream;
}
