#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

/* The input as a frame: encoded, damaged by one bit a codeblock or not at all, decoded. */
static void try_round_trip(const uint8_t *data, size_t octets)
{
    size_t codeblocks = (octets + 6) / 7;
    size_t room = 10 + 8 * codeblocks;
    uint8_t *cltu = exact(NULL, room);
    uint8_t *out = exact(NULL, 7 * (codeblocks + 1));
    check(ob_encode_cltu(data, octets, cltu, room - 1) == OB_E_SPACE, "CLTU in too little room");
    check(ob_encode_cltu(data, octets, cltu, room) == (int64_t)room, "CLTU of another size");
    check(ob_find_start(cltu, room, OB_BCH_TED) == 0, "CLTU without start sequence");
    ob_codeblocks result;
    for (int32_t mode = OB_BCH_SEC; mode <= OB_BCH_TED; mode++) {
        check(ob_decode_codeblocks(cltu + 2, room - 2, mode, out, 7 * (codeblocks + 1), &result) == (int64_t)codeblocks,
              "a CLTU does not end at its tail sequence");
        check(memcmp(out, data, octets) == 0 && result.corrected == 0, "a frame does not come back");
    }
    for (size_t i = 0; i < codeblocks; i++) {
        size_t bit = next_random() % 63;
        cltu[2 + 8 * i + bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
    }
    check(ob_decode_codeblocks(cltu + 2, 8 * codeblocks, OB_BCH_TED, out, 7 * codeblocks, &result) == 0, "missed");
    check(ob_decode_codeblocks(cltu + 2, 8 * codeblocks, OB_BCH_SEC, out, 7 * codeblocks, &result) ==
                  (int64_t)codeblocks && result.corrected == codeblocks, "a wrong bit is not corrected");
    check(memcmp(out, data, octets) == 0, "a damaged frame does not come back");
    free(out);
    free(cltu);
}

void try_cltu(const uint8_t *data, size_t octets)
{
    size_t room = octets / 8 * 7;
    uint8_t *out = exact(NULL, room);
    ob_codeblocks result;
    for (int32_t mode = OB_BCH_SEC; mode <= OB_BCH_TED; mode++) {
        int64_t start = ob_find_start(data, octets, mode);
        check(start >= 0 && start <= (int64_t)octets, "start sequence outside");
        int64_t taken = ob_decode_codeblocks(data, octets, mode, out, room, &result);
        check(taken >= 0 && taken <= (int64_t)(octets / 8), "more codeblocks than there are");
        check(result.good + result.corrected == (uint64_t)taken, "codeblocks do not add up");
        check((result.stop == OB_STOP_END) == (taken == (int64_t)(octets / 8)), "stop does not fit the count");
        if (room > 0)
            check(ob_decode_codeblocks(data, octets, mode, out, room - 1, &result) == OB_E_SPACE, "too little room");
    }
    check(ob_decode_codeblocks(data, octets, 2, out, room, &result) == OB_E_LAYOUT, "a mode that there is not");
    check(ob_find_start(data, octets, -1) == OB_E_LAYOUT, "a mode that there is not");
    free(out);
    if (octets > 0)
        try_round_trip(data, octets);
    else
        check(ob_encode_cltu(data, 0, NULL, 0) == OB_E_LAYOUT, "a CLTU of nothing");
}
