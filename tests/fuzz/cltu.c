/* libFuzzer: any octets as what a telecommand receiver hears; the first one chooses the error mode. */
#include <stdlib.h>

#include "orbitnode_kernels.h"

static void promise(int kept)
{
    if (!kept)
        abort();
}

static int wrong_bits(uint32_t octets, uint32_t wanted) { return __builtin_popcount(octets ^ wanted); }

/* Nothing before it is a start sequence, and it is one if it is whole. */
static size_t try_search(const uint8_t *data, size_t octets, int32_t mode)
{
    int allowed = mode == OB_BCH_SEC ? 1 : 0;
    int64_t start = ob_find_start(data, octets, mode);
    promise(start >= 0 && (size_t)start <= octets);
    for (size_t at = 0; at < (size_t)start && at + 1 < octets; at++)
        promise(wrong_bits((uint32_t)data[at] << 8 | data[at + 1], 0xEB90) > allowed);
    if ((size_t)start + 1 < octets)
        promise(wrong_bits((uint32_t)data[start] << 8 | data[start + 1], 0xEB90) <= allowed);
    return (size_t)start;
}

/* What was taken is encoded again: it differs from what was heard by the corrected bits and filler bits alone. */
static void try_codeblocks(const uint8_t *data, size_t octets, int32_t mode)
{
    size_t room = octets / 8 * 7;
    uint8_t *out = malloc(room + 1);
    uint8_t *again = malloc(octets + 10);
    ob_codeblocks result;
    promise(out != NULL && again != NULL);
    int64_t taken = ob_decode_codeblocks(data, octets, mode, out, room, &result);
    promise(taken >= 0 && (size_t)taken <= octets / 8);
    promise(result.good + result.corrected == (uint64_t)taken);
    promise((result.stop == OB_STOP_END) == ((size_t)taken == octets / 8));
    promise(mode == OB_BCH_SEC || result.corrected == 0);
    if (taken > 0)
        promise(ob_encode_cltu(out, 7 * (size_t)taken, again, octets + 10) == 10 + 8 * taken);
    uint64_t corrected = 0;
    for (size_t block = 0; block < (size_t)taken; block++) {
        int wrong = 0;
        for (size_t i = 8 * block; i < 8 * block + 8; i++)
            wrong += wrong_bits(data[i], again[2 + i]);
        promise(wrong <= 1);
        corrected += wrong == 1 && ((data[8 * block + 7] ^ again[2 + 8 * block + 7]) & 1) == 0;
    }
    promise(corrected == result.corrected);
    free(again);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets == 0)
        return 0;
    int32_t mode = data[0] & 1;
    data++;
    octets--;
    size_t start = try_search(data, octets, mode);
    try_codeblocks(data, octets, mode);
    if (start + 2 <= octets)
        try_codeblocks(data + start + 2, octets - start - 2, mode);
    return 0;
}
