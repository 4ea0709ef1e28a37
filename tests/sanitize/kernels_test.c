/* Runs every kernel over edge and random input, each buffer allocated to its exact size, so that the sanitizers
 * see any octet read or written beside it. Prints one line; a wrong result or a sanitizer's finding ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

static uint64_t state = 0x9E3779B97F4A7C15u;

static uint64_t next_random(void) /* xorshift64: the same input on every run */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "kernels_test: %s\n", what);
        exit(1);
    }
}

/* A copy in a block of its own exact size; null for nothing, as the header allows. */
static uint8_t *exact(const uint8_t *data, size_t octets)
{
    if (octets == 0)
        return NULL;
    uint8_t *block = malloc(octets);
    check(block != NULL, "out of memory");
    if (data != NULL)
        memcpy(block, data, octets);
    return block;
}

static uint16_t crc_by_bits(const uint8_t *data, size_t octets, uint16_t crc)
{
    for (size_t i = 0; i < octets; i++)
        for (int bit = 7; bit >= 0; bit--) {
            int feedback = (crc >> 15 ^ data[i] >> bit) & 1;
            crc = (uint16_t)((uint32_t)crc << 1 ^ (feedback ? 0x1021u : 0u));
        }
    return crc;
}

static void try_crc(const uint8_t *data, size_t octets)
{
    uint16_t init = (uint16_t)next_random();
    int32_t want = crc_by_bits(data, octets, init);
    check(ob_crc16(data, octets, init) == want, "ob_crc16 is not the shift register");
    check(ob_crc16_portable(data, octets, init) == want, "ob_crc16_portable is not the shift register");
    check(ob_crc16(data, octets, -1) == OB_E_INIT, "ob_crc16 took a negative start value");
    check(ob_crc16(data, octets, 0x10000) == OB_E_INIT, "ob_crc16 took a start value of 17 bits");
}

static void try_randomizer(int64_t (*kernel)(const uint8_t *, size_t, uint8_t *, size_t), const uint8_t *data,
                           size_t octets)
{
    uint8_t *out = exact(NULL, octets);
    check(kernel(data, octets, out, octets) == (int64_t)octets, "randomizer wrote another size");
    check(kernel(out, octets, out, octets) == (int64_t)octets, "randomizer in place wrote another size");
    check(octets == 0 || memcmp(out, data, octets) == 0, "randomizing twice did not give the data back");
    if (octets > 0)
        check(kernel(data, octets, out, octets - 1) == OB_E_SPACE, "randomizer took a short output");
    free(out);
}

static void try_split(const uint8_t *data, size_t octets)
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

static void try_all(const uint8_t *source, size_t octets)
{
    uint8_t *data = exact(source, octets);
    try_crc(data, octets);
    try_randomizer(ob_randomize_tm, data, octets);
    try_randomizer(ob_randomize_tm_long, data, octets);
    try_split(data, octets);
    free(data);
}

/* Mostly well-formed packets, so that the walk goes far; then a cut or a wrong version ends it. */
static size_t make_stream(uint8_t *out, size_t space)
{
    size_t at = 0;
    while (at + 7 <= space) {
        size_t field = next_random() % 60;
        out[at] &= 0x1F;
        out[at + 4] = 0;
        out[at + 5] = (uint8_t)field;
        at += 7 + field;
    }
    if (next_random() % 2 == 0)
        out[next_random() % space] |= 0xE0;
    return 1 + next_random() % space;
}

int main(void)
{
    static uint8_t data[4096];
    long runs = 0;
    for (size_t octets = 0; octets <= 700; octets++, runs++) {
        for (size_t i = 0; i < octets; i++)
            data[i] = (uint8_t)next_random();
        try_all(data, octets);
    }
    for (int round = 0; round < 400; round++, runs++) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)next_random();
        try_all(data, make_stream(data, sizeof data));
    }
    memset(data, 0xFF, sizeof data);
    try_all(data, sizeof data);
    memset(data, 0, sizeof data);
    try_all(data, sizeof data);
    printf("kernels_test: %ld inputs, no finding\n", runs + 2);
    return 0;
}
