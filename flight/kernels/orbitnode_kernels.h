/* Kernels of the space link: pure C11, no allocation, every buffer is the caller's.
 *
 * Conventions. A size goes in beside every pointer. A function returns a value or a count (>= 0), or one of
 * the negative OB_E_* codes, and then has written nothing. A pointer may be null where its size is 0.
 * No function keeps state of its own: tables are constant, so calls may run in parallel.
 *
 * Units. Where a function takes many frames at once they lie at a fixed distance: unit i starts at `units + i * stride`,
 * and `octets` is the size of the whole buffer, at least (count - 1) * stride + the unit's size. Anything else is
 * OB_E_LAYOUT.
 */
#ifndef ORBITNODE_KERNELS_H
#define ORBITNODE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define OB_E_INIT (-1)      /* start value outside 0..65535 */
#define OB_E_SPACE (-2)     /* output buffer too small */
#define OB_E_ALIGNMENT (-3) /* output buffer not aligned to 8 octets */
#define OB_E_LAYOUT (-4)    /* sizes, counts or a stride that do not fit together, or a parameter that has no meaning */

#define OB_STOP_END 0       /* the stream ended with a packet */
#define OB_STOP_TRUNCATED 1 /* the stream ended inside a packet */
#define OB_STOP_VERSION 2   /* a packet version number other than 0 */
#define OB_STOP_CODEBLOCK 3 /* a codeblock with more errors than the mode takes */

#define OB_COLUMN_OCTETS 17 /* octets of columns a packet: 8 + 4 + 2 + 2 + 1 */

/* CRC-16 of CCSDS 132.0-B-3, 4.1.6 and 133.0-B-2 users: x^16 + x^12 + x^5 + 1, not reflected, no final xor.
 * `init` is 0xFFFF at the start, or the value so far. Returns 0..65535, or OB_E_INIT. */
int32_t ob_crc16(const uint8_t *data, size_t octets, int64_t init);

/* The same, always on the portable path: what ob_crc16 must equal on every processor. */
int32_t ob_crc16_portable(const uint8_t *data, size_t octets, int64_t init);

/* The same of `count` units of `unit_octets`, each from 0xFFFF on, written as uint16 in native byte order at any
 * address. Returns `count`, OB_E_LAYOUT, or OB_E_SPACE where `out_octets` < 2 * count. */
int64_t ob_crc16_units(const uint8_t *units, size_t octets, size_t count, size_t stride, size_t unit_octets,
                       uint8_t *out, size_t out_octets);

#define OB_SEQUENCE_TM 0      /* x^8 + x^7 + x^5 + x^3 + 1, all ones first (CCSDS 131.0-B-5, 10.4), 255 bit */
#define OB_SEQUENCE_TM_LONG 1 /* x^17 + x^14 + 1, seed 11000111000111000 (CCSDS 131.0-B-5, 10.4), 131071 bit */
#define OB_SEQUENCE_TC 2      /* x^8 + x^6 + x^4 + x^3 + x^2 + x + 1, all ones first (CCSDS 231.0-B-4, 6.2), 255 bit */

/* XOR with OB_SEQUENCE_TM. The sequence starts anew at each call. In place where `out` is `data`; else they do not
 * overlap. Returns the octets written, or OB_E_SPACE. */
int64_t ob_randomize_tm(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* The same with OB_SEQUENCE_TM_LONG. */
int64_t ob_randomize_tm_long(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* The same with OB_SEQUENCE_TC. */
int64_t ob_randomize_tc(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* In place, `count` units of `unit_octets` that do not overlap, each from the start of an OB_SEQUENCE_*. What lies
 * between the units stays. Returns `count`, or OB_E_LAYOUT. */
int64_t ob_randomize_units(int32_t sequence, uint8_t *units, size_t octets, size_t count, size_t stride,
                           size_t unit_octets);

/* Count the space packets (CCSDS 133.0-B-2, 4.1.3) that lie whole and one after the other in `data`. */
int64_t ob_count_packets(const uint8_t *data, size_t octets);

typedef struct {
    uint64_t consumed; /* octets of whole packets: where the next one starts */
    int32_t stop;      /* OB_STOP_*; OB_STOP_END also where `packets_max` ended the walk */
} ob_split;

/* Walk the packets of `data`, at most `packets_max`, and write their primary headers as columns.
 *
 * `columns` holds, for n = packets_max, one after the other: n uint64 offsets of the packet in `data`; n uint32
 * packet lengths in octets (7..65542, header included); n uint16 APIDs; n uint16 sequence counts; n uint8 flags
 * (bit 3 telecommand, bit 2 secondary header, bits 1-0 sequence flags). Native byte order.
 * Returns the number of packets, OB_E_SPACE where `columns_octets` < n * OB_COLUMN_OCTETS, or OB_E_ALIGNMENT. */
int64_t ob_split_packets(const uint8_t *data, size_t octets, uint8_t *columns, size_t columns_octets,
                         size_t packets_max, ob_split *result);

/* Communications link transmission units (CCSDS 231.0-B-4, 3 and 5): the start sequence EB90, codeblocks of 7 octets of
 * data and one of BCH parity, a tail sequence that is no codeblock. What a receiver takes depends on its mode. */
#define OB_BCH_SEC 0 /* single error correction: one wrong bit of a codeblock's 63, one of the start sequence's 16 */
#define OB_BCH_TED 1 /* triple error detection: none; of a codeblock's 63 bits, 1 to 3 wrong ones are always noticed */

/* One CLTU of `octets` of frames, at least 1, filled up to whole codeblocks with 0x55. Needs 10 octets and 8 for each
 * 7 begun. Returns the octets written, OB_E_LAYOUT where there is no frame, or OB_E_SPACE. */
int64_t ob_encode_cltu(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* How many octets lie before the first start sequence, or before a last octet that may be half of one, or all.
 * OB_E_LAYOUT for another mode. */
int64_t ob_find_start(const uint8_t *data, size_t octets, int32_t mode);

typedef struct {
    uint64_t good;      /* codeblocks without an error */
    uint64_t corrected; /* codeblocks in which one bit was corrected */
    int32_t stop;       /* OB_STOP_CODEBLOCK, or OB_STOP_END where every whole codeblock was taken */
} ob_codeblocks;

/* The 7 octets of each codeblock that the mode takes, up to the first that it does not take. Codeblocks have 8 octets;
 * what is shorter at the end is left. The filler bit is not one of the 63: wrong by itself it is no error, but no
 * codeblock in which it is wrong is corrected (CCSDS 230.1-G, use of the filler bit). `out` and `data` do not overlap.
 * Returns the codeblocks taken, OB_E_LAYOUT for another mode, or OB_E_SPACE where not all whole ones would fit. */
int64_t ob_decode_codeblocks(const uint8_t *data, size_t octets, int32_t mode, uint8_t *out, size_t out_octets,
                             ob_codeblocks *result);

#endif
