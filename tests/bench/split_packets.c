/* What splitting costs at the least: one loop over packets into the columns of `split_packets`, with nothing checked. */
#include <stdint.h>

uint64_t split(const uint8_t *data, uint64_t octets, uint64_t *offset, uint32_t *length, uint16_t *apid, uint16_t *seq,
               uint8_t *flags)
{
    uint64_t n = 0;
    for (uint64_t at = 0; at < octets; n++) {
        const uint8_t *header = data + at;
        uint32_t packet = 7u + ((uint32_t)header[4] << 8 | header[5]);
        offset[n] = at;
        length[n] = packet;
        apid[n] = (uint16_t)((header[0] & 7) << 8 | header[1]);
        seq[n] = (uint16_t)((header[2] & 0x3F) << 8 | header[3]);
        flags[n] = (uint8_t)((header[0] >> 1 & 0xC) | header[2] >> 6);
        at += packet;
    }
    return n;
}
