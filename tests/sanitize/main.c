/* Runs every kernel over edge and random input, each buffer allocated to its exact size, so that the sanitizers
 * see any octet read or written beside it. Prints one line; a wrong result or a sanitizer's finding ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static uint64_t state = 0x9E3779B97F4A7C15u;

uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "kernels_test: %s\n", what);
        exit(1);
    }
}

uint8_t *exact(const uint8_t *data, size_t octets)
{
    if (octets == 0)
        return NULL;
    uint8_t *block = malloc(octets);
    check(block != NULL, "out of memory");
    if (data != NULL)
        memcpy(block, data, octets);
    return block;
}

static void try_all(const uint8_t *source, size_t octets)
{
    uint8_t *data = exact(source, octets);
    try_cltu(data, octets);
    try_crc(data, octets);
    try_randomizers(data, octets);
    try_reed_solomon(data, octets);
    try_split(data, octets);
    try_sync(data, octets);
    try_convolutional(data, octets);
    try_encode(data, octets);
    try_frames(data, octets);
    try_columns(data, octets);
    try_uplink(data, octets);
    try_file_checksums(data, octets);
    try_gather(data, octets);
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
