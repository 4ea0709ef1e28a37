/* libFuzzer: any octets as what a telecommand receiver hears, in two pieces; the first octets choose how. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

static void promise(int kept)
{
    if (!kept)
        abort();
}

static void sift(const uint8_t *data, size_t octets, const uint8_t *ends, size_t units, uint32_t how)
{
    ob_tc_rules rules = {.spacecraft_id = 0x1AB, .vcid = 0, .secured = how & 1, .segment_octets = how >> 1 & 1,
                         .number_octets = how & 4 ? 12 : 8, .overhead_octets = how & 4 ? 30 : 26, .associations = 2,
                         .spi = {1, 2}, .ordered = {1, 0}};
    size_t frames = octets / 8 + units;
    uint8_t *columns = malloc(frames * OB_TC_COLUMN_OCTETS + 1);
    promise(columns != NULL);
    int64_t found = ob_sift_frames(&rules, data, octets, ends, units, columns, frames * OB_TC_COLUMN_OCTETS, frames);
    promise(found >= 0 && (size_t)found <= frames);
    uint32_t behind = 0;
    for (int64_t i = 0; i < found; i++) {
        uint32_t at;
        memcpy(&at, columns + 4 * i, sizeof at);
        promise(at >= behind && at < octets);
        uint8_t verdict = columns[4 * frames + (size_t)i];
        promise(verdict <= OB_TC_REPLAY);
        behind = at + 1;
        if (verdict == OB_TC_FRAME)
            continue;
        size_t length = (size_t)((data[at + 2] & 3) << 8 | data[at + 3]) + 1;
        promise(length >= 8 && length <= octets - at && ob_crc16(data + at, length, 0xFFFF) == 0);
        behind = at + (uint32_t)length;
    }
    free(columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets < 3)
        return 0;
    ob_cltu_receiver receiver = {.mode = data[0] & 1, .randomized = data[0] >> 1 & 1};
    uint32_t how = data[0] >> 2;
    size_t cut = (size_t)data[1] * 4;
    data += 2;
    octets -= 2;
    size_t room = OB_CLTU_INFORMATION_MAX + octets;
    size_t ends_octets = 4 * (octets / 10 + 1);
    uint8_t *out = malloc(room);
    uint8_t *ends = malloc(ends_octets);
    promise(out != NULL && ends != NULL);
    for (size_t at = 0, end = cut < octets ? cut : octets;; end = octets) {
        ob_cltus result;
        int64_t units = ob_receive_cltus(&receiver, data + at, end - at, out, room, ends, ends_octets, &result);
        promise(units >= 0 && result.consumed <= end - at && end - at - result.consumed < 8);
        promise(result.octets <= room && (units > 0) == (result.octets > 0));
        promise(receiver.held <= OB_CLTU_INFORMATION_MAX && receiver.open <= 1);
        sift(out, result.octets, ends, (size_t)units, how);
        at += result.consumed;
        if (end == octets)
            break;
    }
    free(ends);
    free(out);
    return 0;
}
