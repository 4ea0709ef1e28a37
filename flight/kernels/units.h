/* Many units in one buffer, as orbitnode_kernels.h lays them out: the one check of such a layout. Private to the
 * kernels. */
#ifndef OB_UNITS_H
#define OB_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Whether numbers of `width` octets may be read and written at `column`. */
static inline int is_aligned(const void *column, size_t width) { return (uintptr_t)column % width == 0; }

/* Whether `count` units of `unit_octets`, at least one octet each, one every `stride` octets and none over the next,
 * lie in `octets`. It divides instead of multiplying, so that no product can go round. */
static inline int units_fit(size_t octets, size_t count, size_t stride, size_t unit_octets)
{
    if (count == 0)
        return 1;
    if (unit_octets == 0 || unit_octets > octets)
        return 0;
    return count == 1 || (stride >= unit_octets && stride <= (octets - unit_octets) / (count - 1));
}

#endif
