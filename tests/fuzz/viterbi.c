/* libFuzzer: any octets as soft symbols, cut by the first of them: the portable path decides the same, uncut. */
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

static void promise(int kept)
{
    if (!kept)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets < 2)
        return 0;
    size_t part = 1 + data[0] * 4u;
    int32_t known = data[1] & 1;
    data += 2;
    octets -= 2;

    ob_viterbi cut;
    ob_viterbi portable;
    uint8_t *found = malloc(octets / 16 + 1);
    uint8_t *want = malloc(octets / 16 + 1);
    promise(found != NULL && want != NULL);
    ob_viterbi_start(&cut, known);
    ob_viterbi_start_portable(&portable, known);

    size_t at = 0;
    size_t room = octets / 16;
    for (size_t taken = 0; taken < octets; taken += part) {
        size_t size = octets - taken < part ? octets - taken : part;
        int64_t written = ob_viterbi_decode(&cut, data + taken, size, found + at, room - at);
        promise(written >= 0);
        at += (size_t)written;
    }
    promise(ob_viterbi_decode(&portable, data, octets, want, room) == (int64_t)at);
    promise(ob_viterbi_flush(&cut, known, found + at, room - at) == (int64_t)(room - at));
    promise(ob_viterbi_flush(&portable, known, want + at, room - at) == (int64_t)(room - at));
    promise(memcmp(found, want, room) == 0);
    promise(cut.symbol_errors == portable.symbol_errors && cut.symbols_compared == portable.symbols_compared);
    promise(cut.symbol_errors <= cut.symbols_compared && cut.symbols_compared <= octets);
    promise(!known || room == 0 || octets % 16 != 0 || (want[room - 1] & 0x3F) == 0);
    free(found);
    free(want);
    return 0;
}
