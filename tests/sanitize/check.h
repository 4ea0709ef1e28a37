/* What the sanitizer runs share: input that is the same on every run, and blocks of exact size, so that the
 * sanitizers see any octet read or written beside them. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>

/* xorshift64: the same numbers on every run. */
uint64_t next_random(void);

/* End the program, saying `what`, where it does not hold. */
void check(int holds, const char *what);

/* A copy in a block of its own exact size, to be freed; null for nothing, as the kernels allow. `data` null: unset. */
uint8_t *exact(const uint8_t *data, size_t octets);

/* One file a kernel: each is given every input, and may make more of its own from it. */
void try_cltu(const uint8_t *data, size_t octets);
void try_crc(const uint8_t *data, size_t octets);
void try_randomizers(const uint8_t *data, size_t octets);
void try_reed_solomon(const uint8_t *data, size_t octets);
void try_split(const uint8_t *data, size_t octets);
void try_sync(const uint8_t *data, size_t octets);
void try_convolutional(const uint8_t *data, size_t octets);
void try_encode(const uint8_t *data, size_t octets);
void try_frames(const uint8_t *data, size_t octets);
void try_columns(const uint8_t *data, size_t octets);
void try_uplink(const uint8_t *data, size_t octets);
void try_file_checksums(const uint8_t *data, size_t octets);
void try_gather(const uint8_t *data, size_t octets);

#endif
