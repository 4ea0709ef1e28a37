#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

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

void try_randomizers(const uint8_t *data, size_t octets)
{
    try_randomizer(ob_randomize_tm, data, octets);
    try_randomizer(ob_randomize_tm_long, data, octets);
}
