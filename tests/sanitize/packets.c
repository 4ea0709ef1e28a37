#include <stdlib.h>

#include "check.h"
#include "orbitnode_kernels.h"

void try_split(const uint8_t *data, size_t octets)
{
    int64_t count = ob_count_packets(data, octets);
    check(count >= 0 && (size_t)count <= octets / 7, "more packets than the octets can hold");
    for (size_t capacity = (size_t)count / 2; capacity <= (size_t)count + 1; capacity++) {
        size_t room = capacity * OB_COLUMN_OCTETS;
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
        free(columns);
    }
}
