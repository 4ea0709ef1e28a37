#include "check.h"
#include "orbitnode_kernels.h"

static uint32_t crc_by_bits(const uint8_t *data, size_t octets, uint32_t before)
{
    uint32_t crc = ~before;
    for (size_t i = 0; i < octets; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint32_t feedback = (crc ^ (uint32_t)data[i] >> bit) & 1;
            crc = crc >> 1 ^ (feedback ? 0x82F63B78u : 0u);
        }
    return ~crc;
}

static uint32_t sum_by_octets(const uint8_t *data, size_t octets, uint32_t sum, uint64_t offset)
{
    static const unsigned up[4] = {24, 16, 8, 0};
    for (size_t i = 0; i < octets; i++)
        sum += (uint32_t)data[i] << up[(offset + i) % 4];
    return sum;
}

void try_file_checksums(const uint8_t *data, size_t octets)
{
    uint32_t before = (uint32_t)next_random();
    check(ob_crc32c(data, octets, before) == crc_by_bits(data, octets, before), "ob_crc32c is not the shift register");
    for (uint64_t offset = 0; offset < 4; offset++) {
        int64_t want = sum_by_octets(data, octets, before, offset);
        check(ob_modular_checksum(data, octets, before, offset) == want, "ob_modular_checksum is not the sum");
        check(ob_modular_checksum(data, octets, before, UINT64_MAX - 3 + offset) == want, "the sum at the last offsets");
    }
    for (int64_t wrong = -1; wrong <= 0x100000000; wrong += 0x100000001) {
        check(ob_crc32c(data, octets, wrong) == OB_E_INIT, "ob_crc32c took a start value of 33 bits");
        check(ob_modular_checksum(data, octets, wrong, 0) == OB_E_INIT, "ob_modular_checksum took a sum of 33 bits");
    }
}
