/* libFuzzer: any octets as a stream of space packets. */
#include <stdlib.h>

#include "orbitnode_kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    size_t packets = (size_t)ob_count_packets(data, octets);
    size_t room = packets * OB_PACKET_COLUMN_OCTETS;
    uint8_t *columns = malloc(room + 1);
    ob_split result = {0, 0};
    if (columns == NULL || ob_split_packets(data, octets, columns, room, packets, &result) != (int64_t)packets)
        abort();
    if (result.consumed > octets)
        abort();
    size_t lead = octets % 5;
    int64_t led = ob_split_led_packets(data, octets, lead, octets % 2, columns, room, packets, &result);
    if (led < 0 || (size_t)led > packets || result.consumed > octets)
        abort();
    free(columns);
    return 0;
}
