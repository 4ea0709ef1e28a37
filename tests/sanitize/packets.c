#include <stdlib.h>

#include "check.h"
#include "orbitnode_kernels.h"

void try_split(const uint8_t *data, size_t octets)
{
    int64_t count = ob_count_packets(data, octets);
    check(count >= 0 && (size_t)count <= octets / 7, "more packets than the octets can hold");
    for (size_t capacity = (size_t)count / 2; capacity <= (size_t)count + 1; capacity++) {
        size_t room = capacity * OB_PACKET_COLUMN_OCTETS;
        uint8_t *columns = exact(NULL, room);
        ob_split result = {0, 0};
        int64_t n = ob_split_packets(data, octets, columns, room, capacity, &result);
        check(n == (count < (int64_t)capacity ? count : (int64_t)capacity), "split and count differ");
        check(result.consumed <= octets, "consumed more than there was");
        if (n == count)
            check((result.stop == OB_STOP_END) == (result.consumed == octets), "stop does not fit consumed");
        if (room > 0) {
            check(ob_split_packets(data, octets, columns, room - 1, capacity, &result) == OB_E_SPACE, "short columns");
            check(ob_split_packets(data, octets, columns + 1, room, capacity, &result) == OB_E_ALIGNMENT, "odd address");
        }
        for (size_t lead = 0; lead < 9; lead++) {
            n = ob_split_led_packets(data, octets, lead, lead % 2, columns, room, capacity, &result);
            check(n >= 0 && (size_t)n <= capacity && result.consumed <= octets, "led packets beyond the octets");
            check(lead > 0 || n == (count < (int64_t)capacity ? count : (int64_t)capacity), "led by nothing, and others");
        }
        free(columns);
    }
}

void try_encode(const uint8_t *data, size_t octets)
{
    /* The input as data of packets of up to a hundred octets, and as many of one length as it holds. */
    size_t packets = 0, left = octets;
    uint32_t *lengths = malloc(4 * (octets + 1));
    uint16_t *apid = malloc(2 * (octets + 1)), *seq = malloc(2 * (octets + 1));
    uint8_t *flags = malloc(octets + 1);
    for (; left > 0; packets++) {
        size_t most = 1 + next_random() % 100;
        lengths[packets] = (uint32_t)(left < most ? left : most);
        apid[packets] = (uint16_t)(next_random() & 0x7FF);
        seq[packets] = (uint16_t)(next_random() & 0x3FFF);
        flags[packets] = (uint8_t)(next_random() & 0xF);
        left -= lengths[packets];
    }
    size_t stream = octets + 6 * packets;
    uint8_t *out = exact(NULL, stream);
    int64_t made = ob_encode_packets(data, octets, lengths, 0, apid, seq, flags, packets, out, stream);
    check(made == (int64_t)stream, "encode wrote another size");
    check(ob_count_packets(out, stream) == (int64_t)packets, "what was encoded does not split");
    if (packets > 0) {
        check(ob_encode_packets(data, octets, lengths, 0, apid, seq, flags, packets, out, stream - 1) == OB_E_SPACE,
              "encode took a short output");
        apid[packets / 2] |= 0x800;
        check(ob_encode_packets(data, octets, lengths, 0, apid, seq, flags, packets, out, stream) == OB_E_LAYOUT,
              "encode took an APID of 12 bits");
        apid[packets / 2] &= 0x7FF;
        size_t length = octets / packets;
        made = ob_encode_packets(data, length * packets, NULL, length, apid, seq, flags, packets, out, stream);
        check(made == (int64_t)((length + 6) * packets), "encode of one length wrote another size");
    }
    free(out);
    free(flags);
    free(seq);
    free(apid);
    free(lengths);
}
