/* The pseudo-randomizers: two of TM (CCSDS 131.0-B-5, 10.4), one of TC (CCSDS 231.0-B-4, 6.2).
 *
 * A sequence is taken in chunks, and each chunk is XORed into all units before the next: one frame or a thousand, the
 * inner loop is one of wide XORs, without shifting bits. A sequence of 255 octets has one chunk. The long one obeys
 * s[n + 17] = s[n + 14] + s[n]; squared six times (the Frobenius map) the same holds for words of 64 bits,
 * w[n + 17] = w[n + 14] ^ w[n], so seventeen words step to the next seventeen by seventeen XORs. XOR of words that
 * were copied from memory and back does not depend on the byte order.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "sequences.h"
#include "units.h"

#define LONG_WORDS 17
#define LONG_OCTETS (8 * LONG_WORDS)

/* The octets of the long sequence that follow `chunk`, in whole steps; `next` may be the same place. */
static void next_chunk(const uint8_t chunk[CHUNK_OCTETS], uint8_t next[CHUNK_OCTETS], size_t octets)
{
    uint64_t word[LONG_WORDS];
    memcpy(word, chunk + CHUNK_OCTETS - LONG_OCTETS, LONG_OCTETS);
    for (size_t at = 0; at < octets; at += LONG_OCTETS) {
        for (size_t i = 0; i < 3; i++)
            word[i] ^= word[i + 14];
        for (size_t i = 3; i < LONG_WORDS; i++)
            word[i] ^= word[i - 3];
        memcpy(next + at, word, LONG_OCTETS);
    }
}

/* Two loops because a compiler makes wide ones only if it knows what overlaps. */
static inline void add_sequence(const uint8_t *data, const uint8_t *restrict sequence, size_t octets, uint8_t *out)
{
    if (out == data) {
        for (size_t i = 0; i < octets; i++)
            out[i] ^= sequence[i];
    } else {
        const uint8_t *restrict from = data;
        uint8_t *restrict to = out;
        for (size_t i = 0; i < octets; i++)
            to[i] = from[i] ^ sequence[i];
    }
}

/* `count` units from `data` to `out`, in place if these are the same. */
static void randomize(int32_t sequence, const uint8_t *data, size_t count, size_t stride, size_t unit_octets,
                      uint8_t *out)
{
    static const uint8_t *const FIRST[] = {
        [OB_SEQUENCE_TM] = TM_CHUNK, [OB_SEQUENCE_TM_LONG] = LONG_CHUNK, [OB_SEQUENCE_TC] = TC_CHUNK};
    uint8_t made[CHUNK_OCTETS];
    const uint8_t *chunk = FIRST[sequence];
    for (size_t at = 0; at < unit_octets; at += CHUNK_OCTETS) {
        size_t octets = unit_octets - at < CHUNK_OCTETS ? unit_octets - at : CHUNK_OCTETS;
        if (at > 0 && sequence == OB_SEQUENCE_TM_LONG) {
            next_chunk(chunk, made, octets);
            chunk = made;
        }
        for (size_t i = 0; i < count; i++)
            add_sequence(data + i * stride + at, chunk, octets, out + i * stride + at);
    }
}

static int64_t randomize_one(int32_t sequence, const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    if (out_octets < octets)
        return OB_E_SPACE;
    randomize(sequence, data, 1, octets, octets, out);
    return (int64_t)octets;
}

int64_t ob_randomize_tm(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    return randomize_one(OB_SEQUENCE_TM, data, octets, out, out_octets);
}

int64_t ob_randomize_tm_long(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    return randomize_one(OB_SEQUENCE_TM_LONG, data, octets, out, out_octets);
}

int64_t ob_randomize_tc(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets)
{
    return randomize_one(OB_SEQUENCE_TC, data, octets, out, out_octets);
}

int64_t ob_randomize_units(int32_t sequence, uint8_t *units, size_t octets, size_t count, size_t stride,
                           size_t unit_octets)
{
    if (sequence < OB_SEQUENCE_TM || sequence > OB_SEQUENCE_TC || !units_fit(octets, count, stride, unit_octets))
        return OB_E_LAYOUT;
    if (count > 0)
        randomize(sequence, units, count, stride, unit_octets, units);
    return (int64_t)count;
}
