#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

/* A frame around some of the input with a right error control, so that what stands behind it is looked at too. */
static size_t make_frame(const uint8_t *data, size_t octets, uint8_t *frame)
{
    size_t length = 8 + (octets < 60 ? octets : next_random() % 60);
    frame[0] = (uint8_t)(next_random() % 8 == 0 ? next_random() : (next_random() % 4) << 4 & 0x30);
    frame[1] = 0x2A;
    frame[2] = (uint8_t)(5 << 2);
    frame[3] = (uint8_t)(length - 1);
    frame[4] = (uint8_t)next_random();
    frame[5] = 0;
    if (length > 8)
        memcpy(frame + 5 + (length - 8 < octets ? 1 : 0), data, length - 8);
    frame[6] = (uint8_t)(next_random() % 3);
    int32_t crc = ob_crc16(frame, length - 2, 0xFFFF);
    frame[length - 2] = (uint8_t)(crc >> 8);
    frame[length - 1] = (uint8_t)crc;
    return length;
}

static void try_sift(const uint8_t *data, size_t octets, const uint8_t *ends, size_t units)
{
    ob_tc_rules rules = {.spacecraft_id = 0x2A, .vcid = 5, .secured = (uint32_t)next_random() % 2,
                         .segment_octets = (uint32_t)next_random() % 2, .number_octets = 8, .overhead_octets = 26,
                         .associations = 2, .spi = {1, 2}, .ordered = {1, 0}};
    memset(rules.spent, 0x40, sizeof rules.spent);
    size_t frames = octets / 8 + units;
    size_t room = frames * OB_TC_COLUMN_OCTETS;
    uint8_t *columns = exact(NULL, room);
    int64_t found = ob_sift_frames(&rules, data, octets, ends, units, columns, room, frames);
    check(found >= 0 && (size_t)found <= frames, "more frames than there is room for");
    for (int64_t i = 0; i < found; i++) {
        uint32_t at;
        memcpy(&at, columns + 4 * i, sizeof at);
        check(at < octets && columns[4 * frames + (size_t)i] <= OB_TC_REPLAY, "a frame outside, or no verdict");
    }
    if (frames > 0) {
        check(ob_sift_frames(&rules, data, octets, ends, units, columns, room - 1, frames) == OB_E_SPACE, "room");
        check(ob_sift_frames(&rules, data, octets, ends, units, columns, room, frames - 1) == OB_E_SPACE, "room");
    }
    if (units > 0 && octets > 0)
        check(ob_sift_frames(&rules, data, octets - 1, ends, units, columns, room, frames) == OB_E_LAYOUT,
              "a unit beyond the end");
    rules.associations = OB_TC_ASSOCIATIONS_MAX + 1;
    check(ob_sift_frames(&rules, data, octets, ends, units, columns, room, frames) == OB_E_LAYOUT, "rules");
    free(columns);
}

static void try_receive(const uint8_t *data, size_t octets)
{
    ob_cltu_receiver receiver = {.mode = (uint32_t)next_random() % 2, .randomized = (uint32_t)next_random() % 2};
    ob_cltus result = {0, 0};
    size_t at = 0;
    while (at < octets) {
        size_t cut = at + 1 + next_random() % (octets - at);
        size_t room = OB_CLTU_INFORMATION_MAX + cut - at;
        size_t numbers = (cut - at) / 10 + 1;
        uint8_t *piece = exact(data + at, cut - at);
        uint8_t *out = exact(NULL, room);
        uint8_t *ends = exact(NULL, 4 * numbers);
        check(ob_receive_cltus(&receiver, piece, cut - at, out, room - 1, ends, 4 * numbers, &result) == OB_E_SPACE &&
              ob_receive_cltus(&receiver, piece, cut - at, out, room, ends, 4 * numbers - 1, &result) == OB_E_SPACE,
              "too little room");
        int64_t units = ob_receive_cltus(&receiver, piece, cut - at, out, room, ends, 4 * numbers, &result);
        check(units >= 0 && (size_t)units <= numbers, "more units than there is room for");
        check(result.octets <= room && result.consumed <= cut - at && cut - at - result.consumed < 8, "consumed");
        uint8_t *information = exact(out, result.octets);
        uint8_t *last = exact(ends, 4 * (size_t)units);
        try_sift(information, result.octets, last, (size_t)units);
        free(last);
        free(information);
        free(ends);
        free(out);
        free(piece);
        at = cut == octets ? octets : at + result.consumed;
        if (result.consumed == 0 && cut < octets)
            at = octets; /* too short a piece: it would be given again, longer */
    }
    receiver.held = 8;
    check(ob_receive_cltus(&receiver, NULL, 0, NULL, 0, NULL, 0, &result) == OB_E_LAYOUT, "a receiver that cannot be");
}

void try_uplink(const uint8_t *data, size_t octets)
{
    try_receive(data, octets);
    uint8_t frame[80];
    uint8_t cltu[2 * 110];
    size_t all = 0;
    for (int i = 0; i < 2; i++) {
        size_t length = make_frame(data, octets, frame);
        all += (size_t)ob_encode_cltu(frame, length, cltu + all, sizeof cltu - all);
    }
    try_receive(cltu, all);
}
