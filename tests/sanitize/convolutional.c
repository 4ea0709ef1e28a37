#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

#define BLOCK_OCTETS (OB_VITERBI_BLOCK_BITS / 8)

static int parity(unsigned word) { return __builtin_popcount(word) & 1; }

static void encode_by_bits(const uint8_t *data, size_t octets, uint8_t *symbols, unsigned memory)
{
    for (size_t i = 0; i < octets; i++)
        for (int place = 7; place >= 0; place--) {
            memory = memory << 1 | (data[i] >> place & 1u);
            /* The newest bit is lowest here, the first digit of a connection vector highest. */
            *symbols++ = parity(memory & 0x4F) ? 255 : 0;
            *symbols++ = parity(memory & 0x6D) ? 0 : 255;
        }
}

/* `symbols` by random cuts, then a flush, all into blocks of exact size; returns what came out and the counters. */
static uint8_t *decode(void (*start)(ob_viterbi *, int32_t), const uint8_t *symbols, size_t count, int32_t to_zero,
                       ob_viterbi *decoder)
{
    uint8_t *all = exact(NULL, count / 16 + 1);
    size_t octets = 0;
    start(decoder, to_zero);
    for (size_t at = 0; at < count;) {
        size_t part = 1 + next_random() % (count - at);
        uint8_t *piece = exact(symbols + at, part);
        int64_t due = ob_viterbi_octets(decoder, part);
        uint8_t *out = exact(NULL, (size_t)due);
        if (due > 0)
            check(ob_viterbi_decode(decoder, piece, part, out, (size_t)due - 1) == OB_E_SPACE, "short Viterbi output");
        check(ob_viterbi_decode(decoder, piece, part, out, (size_t)due) == due, "not the octets that were due");
        check(due % BLOCK_OCTETS == 0 && octets + (size_t)due <= count / 16, "more data than symbols");
        if (due > 0)
            memcpy(all + octets, out, (size_t)due);
        octets += (size_t)due;
        at += part;
        free(out);
        free(piece);
    }
    size_t left = count / 16 - octets;
    uint8_t *out = exact(NULL, left);
    check(ob_viterbi_flush(decoder, to_zero, out, left) == (int64_t)left, "a flush of another size");
    if (left > 0)
        memcpy(all + octets, out, left);
    free(out);
    check(decoder->symbol_errors <= decoder->symbols_compared, "more errors than symbols");
    check(decoder->symbols_compared <= count, "more symbols compared than there were");
    return all;
}

static void try_decode(const uint8_t *symbols, size_t count, int32_t to_zero)
{
    ob_viterbi state;
    ob_viterbi portable;
    uint8_t *found = decode(ob_viterbi_start, symbols, count, to_zero, &state);
    uint8_t *want = decode(ob_viterbi_start_portable, symbols, count, to_zero, &portable);
    check(count < 16 || memcmp(found, want, count / 16) == 0, "ob_viterbi_decode is not the portable one");
    check(state.symbol_errors == portable.symbol_errors, "symbol errors are not those of the portable one");
    free(found);
    free(want);
}

void try_convolutional(const uint8_t *data, size_t octets)
{
    uint8_t memory = (uint8_t)next_random();
    uint8_t *encoded = exact(NULL, 2 * octets);
    uint8_t *symbols = exact(NULL, 16 * octets);
    uint8_t *model = exact(NULL, 16 * octets);
    if (octets > 0) {
        check(ob_convolve(data, octets, encoded, 2 * octets - 1, &memory) == OB_E_SPACE, "short symbols");
        check(ob_soften(encoded, 2 * octets, symbols, 16 * octets - 1) == OB_E_SPACE, "short soft symbols");
        encode_by_bits(data, octets, model, memory);
    }
    check(ob_convolve(data, octets, encoded, 2 * octets, &memory) == (int64_t)(2 * octets), "symbols of another size");
    check(ob_soften(encoded, 2 * octets, symbols, 16 * octets) == (int64_t)(16 * octets), "soft symbols");
    check(octets == 0 || memcmp(symbols, model, 16 * octets) == 0, "ob_convolve is not the shift register");

    ob_viterbi decoder;
    uint8_t *back = decode(ob_viterbi_start, symbols, 16 * octets, 0, &decoder);
    check(octets == 0 || memcmp(back, data, octets) == 0, "decoded data are not those encoded");
    free(back);
    try_decode(data, octets, 0);
    try_decode(data, octets, 1);
    /* A state of any contents is refused or taken, and nothing beside it is touched. */
    memset(&decoder, (int)(next_random() & 0xFF), sizeof decoder);
    decoder.held = (uint32_t)(next_random() % 1000);
    decoder.walked = next_random() % 2 ? OB_VITERBI_DELAY_BITS : (uint32_t)(next_random() % 3);
    int64_t due = ob_viterbi_octets(&decoder, octets);
    uint8_t *out = exact(NULL, due > 0 ? (size_t)due : 0);
    check(ob_viterbi_decode(&decoder, data, octets, out, due > 0 ? (size_t)due : 0) == due, "any state");
    free(out);
    free(model);
    free(symbols);
    free(encoded);
}
