/* Stretches of octets of any length out of many places, one behind the other.
 *
 * Most begin at an octet and are copied; one that begins inside an octet is put together from the bits of two.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "units.h"

int64_t ob_gather_octets(const uint8_t *data, size_t octets, const uint64_t *bits, const uint64_t *lengths,
                         size_t rows, uint8_t *out, size_t out_octets)
{
    if (rows > 0 && (!is_aligned(bits, sizeof *bits) || !is_aligned(lengths, sizeof *lengths)))
        return OB_E_ALIGNMENT;
    size_t at = 0;
    for (size_t i = 0; i < rows; i++) {
        uint64_t length = lengths[i], start = bits[i] / 8;
        unsigned left = bits[i] % 8;
        if (length == 0)
            continue;
        /* Compared by what is left, so that no sum can go round. */
        if (start >= octets || length > octets - start - (left > 0))
            return OB_E_LAYOUT;
        if (length > out_octets - at)
            return OB_E_SPACE;
        const uint8_t *from = data + start;
        if (left == 0)
            memcpy(out + at, from, length);
        else
            for (size_t k = 0; k < length; k++)
                out[at + k] = (uint8_t)((from[k] << 8 | from[k + 1]) >> (8 - left));
        at += length;
    }
    return (int64_t)at;
}
