#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

typedef int64_t randomizer(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

static void try_randomizer(randomizer *kernel, const uint8_t *data, size_t octets)
{
    uint8_t *out = exact(NULL, octets);
    check(kernel(data, octets, out, octets) == (int64_t)octets, "randomizer wrote another size");
    check(kernel(out, octets, out, octets) == (int64_t)octets, "randomizer in place wrote another size");
    check(octets == 0 || memcmp(out, data, octets) == 0, "randomizing twice did not give the data back");
    if (octets > 0)
        check(kernel(data, octets, out, octets - 1) == OB_E_SPACE, "randomizer took a short output");
    free(out);
}

/* Units of a copy of the input equal the call on each of them; what lies between them and after them stays. */
static void try_units(int32_t sequence, randomizer *kernel, const uint8_t *data, size_t octets)
{
    size_t count = 1 + next_random() % 3;
    size_t stride = octets / count;
    if (stride == 0)
        return;
    size_t unit = 1 + next_random() % stride;
    uint8_t *want = exact(data, octets);
    uint8_t *units = exact(data, octets);
    for (size_t i = 0; i < count; i++)
        check(kernel(want + i * stride, unit, want + i * stride, unit) == (int64_t)unit, "randomizer in place");
    check(ob_randomize_units(sequence, units, octets, count, stride, unit) == (int64_t)count, "not all units");
    check(memcmp(units, want, octets) == 0, "units are not randomized as each by itself");
    check(ob_randomize_units(sequence, units, octets, count, stride, octets + 1) == OB_E_LAYOUT, "a unit too long");
    check(ob_randomize_units(sequence, units, octets, SIZE_MAX, 1, 1) == OB_E_LAYOUT, "too many units");
    check(ob_randomize_units(3, units, octets, 1, octets, octets) == OB_E_LAYOUT, "a sequence that there is not");
    check(memcmp(units, want, octets) == 0, "what was refused has written");
    free(units);
    free(want);
}

void try_randomizers(const uint8_t *data, size_t octets)
{
    randomizer *kernels[] = {
        [OB_SEQUENCE_TM] = ob_randomize_tm,
        [OB_SEQUENCE_TM_LONG] = ob_randomize_tm_long,
        [OB_SEQUENCE_TC] = ob_randomize_tc,
    };
    for (int32_t sequence = OB_SEQUENCE_TM; sequence <= OB_SEQUENCE_TC; sequence++) {
        try_randomizer(kernels[sequence], data, octets);
        if (octets > 0)
            try_units(sequence, kernels[sequence], data, octets);
    }
}
