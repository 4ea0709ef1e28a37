#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

static uint16_t crc_by_bits(const uint8_t *data, size_t octets, uint16_t crc)
{
    for (size_t i = 0; i < octets; i++)
        for (int bit = 7; bit >= 0; bit--) {
            int feedback = (crc >> 15 ^ data[i] >> bit) & 1;
            crc = (uint16_t)((uint32_t)crc << 1 ^ (feedback ? 0x1021u : 0u));
        }
    return crc;
}

/* Units cut from the input, so that the last one ends where the block does. */
static void try_units(const uint8_t *data, size_t octets)
{
    size_t count = 1 + next_random() % 5;
    size_t stride = octets / count;
    if (stride == 0)
        return;
    size_t unit = 1 + next_random() % stride;
    size_t lead = octets - (count - 1) * stride - unit;
    uint8_t *out = exact(NULL, 2 * count);
    check(ob_crc16_units(data + lead, octets - lead, count, stride, unit, out, 2 * count) == (int64_t)count,
          "ob_crc16_units did another number of units");
    for (size_t i = 0; i < count; i++) {
        uint16_t crc;
        memcpy(&crc, out + 2 * i, 2);
        check(crc == crc_by_bits(data + lead + i * stride, unit, 0xFFFF), "ob_crc16_units is not the shift register");
    }
    check(ob_crc16_units(data, octets, count, stride, unit, out, 2 * count - 1) == OB_E_SPACE, "room for half a CRC");
    check(ob_crc16_units(data, octets, count, stride, octets + 1, out, 2 * count) == OB_E_LAYOUT, "a unit too long");
    check(ob_crc16_units(data, octets, SIZE_MAX, 1, 1, out, 2 * count) == OB_E_LAYOUT, "too many units");
    free(out);
}

void try_crc(const uint8_t *data, size_t octets)
{
    uint16_t init = (uint16_t)next_random();
    int32_t want = crc_by_bits(data, octets, init);
    check(ob_crc16(data, octets, init) == want, "ob_crc16 is not the shift register");
    check(ob_crc16_portable(data, octets, init) == want, "ob_crc16_portable is not the shift register");
    check(ob_crc16(data, octets, -1) == OB_E_INIT, "ob_crc16 took a negative start value");
    check(ob_crc16(data, octets, 0x10000) == OB_E_INIT, "ob_crc16 took a start value of 17 bits");
    if (octets > 0)
        try_units(data, octets);
}
