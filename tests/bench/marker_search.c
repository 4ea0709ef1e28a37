/* The plain way to search for a sync marker, for the synchronizer's benchmark: a window moved bit by bit, compared by
 * population count. Built as a shared library. */
#include <stddef.h>
#include <stdint.h>

/* How many places have a marker of either polarity with at most `errors_max` wrong bits. */
size_t count_markers(const uint8_t *data, size_t octets, unsigned errors_max)
{
    uint64_t window = 0;
    size_t found = 0;
    for (size_t i = 0; i < octets; i++) {
        window = window << 8 | data[i];
        if (i < 4)
            continue;
        for (int shift = 7; shift >= 0; shift--) {
            unsigned wrong = (unsigned)__builtin_popcount((uint32_t)(window >> shift) ^ 0x1ACFFC1Du);
            found += wrong <= errors_max || wrong >= 32 - errors_max;
        }
    }
    return found;
}
