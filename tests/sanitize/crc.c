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

void try_crc(const uint8_t *data, size_t octets)
{
    uint16_t init = (uint16_t)next_random();
    int32_t want = crc_by_bits(data, octets, init);
    check(ob_crc16(data, octets, init) == want, "ob_crc16 is not the shift register");
    check(ob_crc16_portable(data, octets, init) == want, "ob_crc16_portable is not the shift register");
    check(ob_crc16(data, octets, -1) == OB_E_INIT, "ob_crc16 took a negative start value");
    check(ob_crc16(data, octets, 0x10000) == OB_E_INIT, "ob_crc16 took a start value of 17 bits");
}
