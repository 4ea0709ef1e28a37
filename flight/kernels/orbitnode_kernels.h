/* Kernels of the space link: C11, no allocation, every buffer is the caller's.
 *
 * Conventions. A size goes in beside every pointer. A function returns a value or a count (>= 0), or one of
 * the negative OB_E_* codes, and then has written nothing. A pointer may be null if its size is 0.
 * No function keeps state of its own: tables are constant, so calls may run in parallel. State that lasts from call to
 * call is a struct of the caller's. Any contents of an input buffer are taken, and never lead outside a buffer.
 *
 * Units. If a function takes many frames at once they lie at a fixed distance: unit i starts at
 * `units + i * stride`, and `octets` is the size of the whole buffer, at least (count - 1) * stride + the unit's size.
 * Anything else is OB_E_LAYOUT. A batch costs one call, and no frame is copied to be put beside others (ADR 0014).
 */
#ifndef ORBITNODE_KERNELS_H
#define ORBITNODE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define OB_E_INIT (-1)      /* start value outside of what the check has bits for */
#define OB_E_SPACE (-2)     /* output buffer too small */
#define OB_E_ALIGNMENT (-3) /* columns not aligned: outputs to 8 octets, inputs to the width of their numbers */
#define OB_E_LAYOUT (-4)    /* sizes, counts or a stride that do not fit together, or a parameter that has no meaning */

#define OB_STOP_END 0       /* the stream ended with a packet */
#define OB_STOP_TRUNCATED 1 /* the stream ended inside a packet */
#define OB_STOP_VERSION 2   /* a packet version number other than 0 */
#define OB_STOP_CODEBLOCK 3 /* a codeblock with more errors than the mode takes */

#define OB_PACKET_COLUMN_OCTETS 17 /* octets of columns per packet: 8 + 4 + 2 + 2 + 1 */

/* CRC-16 of CCSDS 132.0-B-3, 4.1.6 and 133.0-B-2 users: x^16 + x^12 + x^5 + 1, not reflected, no final xor.
 * `init` is 0xFFFF at the start, or the value so far. Returns 0..65535, or OB_E_INIT. */
int32_t ob_crc16(const uint8_t *data, size_t octets, int64_t init);

/* The same, always on the portable path: what ob_crc16 must equal on every processor. */
int32_t ob_crc16_portable(const uint8_t *data, size_t octets, int64_t init);

/* The same of `count` units of `unit_octets`, each from 0xFFFF on, written as uint16 in native byte order at any
 * address. Returns `count`, OB_E_LAYOUT, or OB_E_SPACE if `out_octets` < 2 * count. */
int64_t ob_crc16_units(const uint8_t *units, size_t octets, size_t count, size_t stride, size_t unit_octets,
                       uint8_t *out, size_t out_octets);

/* Checksums of files (CCSDS 727.0-B-5, 4.2.2 and its SANA registry), piece by piece: `before` is 0 at the start of the
 * file, or the checksum so far. Both return 0..2^32-1, or OB_E_INIT. */

/* Type 2, CRC-32C: the polynomial 0x1EDC6F41, reflected, from all ones on, all bits turned over at the end. */
int64_t ob_crc32c(const uint8_t *data, size_t octets, int64_t before);

/* Type 0, the sum of the big-endian words of the file, the last one filled up with zeros; `data` begins `offset` octets
 * after the start of the file. */
int64_t ob_modular_checksum(const uint8_t *data, size_t octets, int64_t before, uint64_t offset);

#define OB_SEQUENCE_TM 0      /* x^8 + x^7 + x^5 + x^3 + 1, all ones first (CCSDS 131.0-B-5, 10.4), 255 bit */
#define OB_SEQUENCE_TM_LONG 1 /* x^17 + x^14 + 1, seed 11000111000111000 (CCSDS 131.0-B-5, 10.4), 131071 bit */
#define OB_SEQUENCE_TC 2      /* x^8 + x^6 + x^4 + x^3 + x^2 + x + 1, all ones first (CCSDS 231.0-B-4, 6.2), 255 bit */

/* XOR with OB_SEQUENCE_TM. Each call begins at the start of the sequence. In place if `out` is `data`; else they do not
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
    uint64_t consumed; /* octets of whole packets: the place at which the next one starts */
    int32_t stop;      /* OB_STOP_*; OB_STOP_END also if `packets_max` ended the walk before a whole packet */
} ob_split;

/* Walk the packets of `data`, at most `packets_max`, and write their primary headers as columns.
 *
 * `columns` holds, for n = packets_max, one after the other: n uint64 offsets of the packet in `data`; n uint32
 * packet lengths in octets (7..65542, header included); n uint16 APIDs; n uint16 sequence counts; n uint8 flags
 * (bit 3 telecommand, bit 2 secondary header, bits 1-0 sequence flags). Native byte order.
 * Returns the number of packets, OB_E_SPACE if `columns_octets` < n * OB_PACKET_COLUMN_OCTETS, or OB_E_ALIGNMENT. */
int64_t ob_split_packets(const uint8_t *data, size_t octets, uint8_t *columns, size_t columns_octets,
                         size_t packets_max, ob_split *result);

/* The same, for packets of which each has `lead_octets` in front of it that are passed over: offsets are those of the
 * packets, and `consumed` is the place at which the next lead starts. If `any_version` is not 0, the version number is
 * not looked at. */
int64_t ob_split_led_packets(const uint8_t *data, size_t octets, size_t lead_octets, int32_t any_version,
                             uint8_t *columns, size_t columns_octets, size_t packets_max, ob_split *result);

/* The inverse: `packets` space packets of the columns `apid`, `seq` and `flags` (as above), one after the other in
 * `out`, with their data (secondary header included) from `data`, which has it without gaps, `octets` in all.
 * `lengths` has the octets of data of each packet, 1..65536; if it is null every packet has `length`.
 * Returns the octets written, octets + 6 * packets; OB_E_LAYOUT if a value does not fit its field or the lengths
 * do not add up to `octets`; OB_E_SPACE. */
int64_t ob_encode_packets(const uint8_t *data, size_t octets, const uint32_t *lengths, size_t length,
                          const uint16_t *apid, const uint16_t *seq, const uint8_t *flags, size_t packets,
                          uint8_t *out, size_t out_octets);

/* Communications link transmission units (CCSDS 231.0-B-4, 3 and 5): the start sequence EB90, codeblocks of 7 octets of
 * data and one of BCH parity, a tail sequence that is not a codeblock. What a receiver takes depends on its mode. */
#define OB_BCH_SEC 0 /* single error correction: one wrong bit of a codeblock's 63, one of the start sequence's 16 */
#define OB_BCH_TED 1 /* triple error detection: none; of a codeblock's 63 bits, 1 to 3 wrong ones are always noticed */

/* One CLTU of `octets` of frames, at least 1, filled up to whole codeblocks with 0x55. Needs 10 octets and 8 for each
 * 7 begun. Returns the octets written, OB_E_LAYOUT if there is no frame, or OB_E_SPACE. */
int64_t ob_encode_cltu(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* How many octets lie before the first start sequence, or before a last octet that may be half of one, or all.
 * OB_E_LAYOUT for another mode. */
int64_t ob_find_start(const uint8_t *data, size_t octets, int32_t mode);

typedef struct {
    uint64_t good;      /* codeblocks without an error */
    uint64_t corrected; /* codeblocks in which one bit was corrected */
    int32_t stop;       /* OB_STOP_CODEBLOCK, or OB_STOP_END if every whole codeblock was taken */
} ob_codeblocks;

/* The 7 octets of each codeblock that the mode takes, up to the first that it does not take. Codeblocks have 8 octets;
 * what is shorter at the end is left. The filler bit is not one of the 63: wrong by itself it does not count as an
 * error, but no codeblock in which it is wrong is corrected (CCSDS 230.1-G, use of the filler bit). `out` and `data` do
 * not overlap. Returns the codeblocks taken, OB_E_LAYOUT for another mode, or OB_E_SPACE if not all whole ones would
 * fit. */
int64_t ob_decode_codeblocks(const uint8_t *data, size_t octets, int32_t mode, uint8_t *out, size_t out_octets,
                             ob_codeblocks *result);

/* A receiver of CLTUs: mode and randomized are set by the caller, all else begins as 0. The rules: flight/link/coding/
 * cltu.py. */
#define OB_CLTU_INFORMATION_MAX 1029 /* of one unit: 147 codeblocks, which a frame of 1,024 octets takes */

typedef struct {
    uint64_t units;      /* delivered */
    uint64_t broken;     /* of them, those that another codeblock than the tail sequence ended */
    uint64_t aborted;    /* units that were empty or too long */
    uint64_t codeblocks; /* taken */
    uint64_t corrected;  /* of them, those in which a bit was corrected */
    uint64_t skipped;    /* octets that belonged to no unit */
    uint32_t mode;       /* OB_BCH_* */
    uint32_t randomized; /* not 0: units are derandomized, each from the start of OB_SEQUENCE_TC */
    uint32_t open;       /* 1 between a start sequence and the end of its unit */
    uint32_t held;       /* octets in `frames` */
    uint8_t frames[1036]; /* of the unit that is open; one codeblock more than it may have */
} ob_cltu_receiver;

typedef struct {
    uint64_t consumed; /* octets of `data`: give those from there on again, with what comes after them */
    uint64_t octets;   /* of `out` that are written */
} ob_cltus;

/* Take a stretch of octets: the frames and fill of every unit that it completes, one behind the other in `out`, and
 * where each ends there as uint32 in `ends`, in native byte order at any address. Returns the number of units. OB_E_SPACE if `out` has
 * less than OB_CLTU_INFORMATION_MAX + octets or `ends` less than octets / 10 + 1 numbers, OB_E_LAYOUT for a receiver
 * that cannot be or 4 GiB of octets. */
int64_t ob_receive_cltus(ob_cltu_receiver *receiver, const uint8_t *data, size_t octets, uint8_t *out,
                         size_t out_octets, uint8_t *ends, size_t ends_octets, ob_cltus *result);

/* Telecommand frames (232.0-B-4, 4.1) as a protected link takes them (355.0-B-2), or one in clear. */
#define OB_TC_LOOK 0       /* nothing stands against it so far */
#define OB_TC_FRAME 1      /* length, error control or header wrong, or octets behind a frame that are too many for fill */
#define OB_TC_SPACECRAFT 2 /* of another spacecraft */
#define OB_TC_VCID 3       /* of another virtual channel */
#define OB_TC_LENGTH 4     /* too short to be protected */
#define OB_TC_SPI 5        /* of none of the associations */
#define OB_TC_REPLAY 6     /* its number is not greater than the one that was spent last */

#define OB_TC_COLUMN_OCTETS 5 /* octets of columns per frame: 4 + 1 */
#define OB_TC_ASSOCIATIONS_MAX 4
#define OB_TC_NUMBER_OCTETS_MAX 12

typedef struct {
    uint32_t spacecraft_id;
    uint32_t vcid;
    uint32_t secured;         /* 0: in clear, and what follows is not looked at */
    uint32_t segment_octets;  /* 0 or 1: of the segment header, ahead of the security header of all but control commands */
    uint32_t number_octets;   /* behind the SPI, 0..OB_TC_NUMBER_OCTETS_MAX */
    uint32_t overhead_octets; /* of security header and trailer; a protected frame has more */
    uint32_t associations;    /* 0..OB_TC_ASSOCIATIONS_MAX */
    uint32_t spi[4];
    uint32_t ordered[4]; /* of each: not 0 if a number must be greater than the one spent last */
    uint8_t spent[48]; /* the number spent last of each, `number_octets` of every 12, most significant octet first */
} ob_tc_rules;

/* Look at all frames of `units` units that lie one behind the other in `data`; `ends` as of ob_receive_cltus.
 *
 * `columns` holds, for n = frames_max: n uint32 places of frames in `data`; n uint8 verdicts OB_TC_*. Native byte
 * order. A frame that is OB_TC_FRAME ends its unit; what is shorter than a codeblock at the end of a unit is fill.
 * Returns the number of frames. OB_E_SPACE if frames_max < octets / 8 + units or the columns are too short, OB_E_LAYOUT
 * for rules or ends that cannot be, OB_E_ALIGNMENT. */
int64_t ob_sift_frames(const ob_tc_rules *rules, const uint8_t *data, size_t octets, const uint8_t *ends, size_t units,
                       uint8_t *columns, size_t columns_octets, size_t frames_max);

/* --- Frame synchronization: the attached sync marker 1ACFFC1D (CCSDS 131.0-B-5, 9); marker.c says how it works. --- */

#define OB_UNIT_INVERTED 1 /* it came with every bit inverted, and has been turned upright */
#define OB_UNIT_FLYWHEEL 2 /* no marker was recognised in front of it */
#define OB_UNIT_SLIPPED 4  /* it began slip_bits_max or fewer bits off the end of the one before it */

#define OB_UNIT_OCTETS_MAX 65536
#define OB_UNIT_COLUMN_OCTETS 10 /* octets of columns per unit: 8 + 1 + 1 */

typedef struct {
    /* Options: set before ob_sync_init, then left alone. */
    uint32_t unit_octets;       /* what stands between two markers, 1..OB_UNIT_OCTETS_MAX */
    uint32_t search_errors_max; /* wrong bits in a marker that is searched for, 0..lock_errors_max */
    uint32_t lock_errors_max;   /* wrong bits in a marker that is expected, 0..7 */
    uint32_t slip_bits_max;     /* how far from there it is looked for, 0..7 */
    uint32_t flywheel_units;    /* units in a row without a recognised marker before the search begins again */
    uint32_t bit_search;        /* 0: units begin on octets only */
    uint32_t inverted_allowed;  /* 0: upright markers only */
    /* The state: for the kernel only. Positions are bits since ob_sync_init. */
    uint32_t state;
    uint32_t missed;
    uint32_t flags;
    uint64_t base;
    uint64_t at;
    uint64_t back;
    uint64_t covered;
    uint64_t credit;
    /* What the last call was finished with, in octets: the next one begins there. */
    uint64_t consumed;
    /* Counts since ob_sync_init. */
    uint64_t locks;        /* markers found by search */
    uint64_t units;        /* units written, and of these: */
    uint64_t flywheels;    /* without a recognised marker */
    uint64_t inversions;   /* inverted */
    uint64_t slips;        /* slipped */
    uint64_t wrong_bits;   /* in the recognised markers */
    uint64_t skipped_bits; /* of the stream, in no unit or its marker, without what was held at a reset */
    uint64_t fits[256];    /* the kernel's table for the search */
} ob_sync;

/* Begin: check the options of `sync`, clear the rest. Returns 0, or OB_E_LAYOUT. */
int64_t ob_sync_init(ob_sync *sync);

/* The signal was lost: search again, `octets` behind what was consumed. Counts and positions go on. Returns the same
 * as ob_sync_init. */
int64_t ob_sync_reset(ob_sync *sync, size_t octets);

/* Cut the units out of a stretch of the stream, upright and on octets, without their markers.
 *
 * The caller keeps what is behind sync->consumed, at most 2 * (unit_octets + 4) + 6 octets if there was space for all
 * units, and puts the next octets behind it. Any way to cut a stream into calls gives the same units. `last` other than
 * 0: nothing follows, so what waits for more is decided by what is there; only ob_sync_reset leads on from there.
 * `units` has room for `units_max` units, one after the other. `columns` holds, for n = units_max, one after the
 * other: n uint64 offsets of the first bit behind the marker, since ob_sync_init; n uint8 wrong bits in the marker; n
 * uint8 flags (OB_UNIT_*). Native byte order. The first `units_there` are there already and are left as they are.
 * s octets of stream give 2 * (s / unit_octets) + 10 units at most; if there is no space for them it ends early.
 * Returns the units that are there now, or OB_E_LAYOUT, OB_E_SPACE, OB_E_ALIGNMENT. */
int64_t ob_find_units(ob_sync *sync, const uint8_t *stream, size_t octets, int32_t last, uint8_t *units,
                      size_t units_octets, uint8_t *columns, size_t columns_octets, size_t units_max,
                      size_t units_there);

/* Reed-Solomon, CCSDS 131.0-B-5, section 4: (255,223) or (255,239) symbols, interleaved, in the dual basis.
 *
 * In each unit `data_octets` of frame are followed by `parity` * `interleave` check symbols: symbol j of codeword c is
 * octet j * interleave + c. `parity` is 32 (E = 16 errors per codeword corrected) or 16 (E = 8), `interleave` 1, 2, 3,
 * 4, 5 or 8; `data_octets` a multiple of `interleave`, from one to 255 - parity symbols per codeword: if they are less,
 * virtual fill of zeros stands in front, and is not sent. Units must not overlap. Else OB_E_LAYOUT.
 *
 * ob_rs_encode writes the check symbols of `count` units. Returns `count`. */
int64_t ob_rs_encode(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets, uint32_t parity,
                     uint32_t interleave);

/* Correct `count` units in place, data and check symbols. `corrected` has a number for each codeword of each unit, one
 * unit after the other, `corrected_count` of them at least, else OB_E_SPACE: symbols corrected, 0..E, or -1 if no
 * codeword lies within E symbols of what was received; those octets stay as they were. A word with more than E errors
 * is, now and then, within E of another codeword (about once in E! words), so frames keep their error control field.
 * Returns the number of codewords that could not be corrected. */
int64_t ob_rs_decode(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets, uint32_t parity,
                     uint32_t interleave, int8_t *corrected, size_t corrected_count);

/* The same, always on the portable path. */
int64_t ob_rs_encode_portable(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets,
                              uint32_t parity, uint32_t interleave);
int64_t ob_rs_decode_portable(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets,
                              uint32_t parity, uint32_t interleave, int8_t *corrected, size_t corrected_count);

/* The convolutional code of CCSDS 131.0-B-5, 3.3: rate 1/2, constraint length 7, connection vectors G1 = 171 and
 * G2 = 133 (octal), the output of G2 inverted. Channel symbols go C1(1) C2(1) C1(2) C2(2) ..., in octets the highest
 * bit first. The code is transparent: inverted symbols decode to inverted bits, without more symbol errors. */

/* Encode: two octets out for each one in. `memory` is the encoder's shift register, the newest bit lowest: 0 at the
 * start, then carried from call to call, so that a stream may be cut anywhere; bits above its lowest six are ignored.
 * An octet of zeros brings it back to 0. `out` must not overlap `data`.
 * Returns the octets written, or OB_E_SPACE. */
int64_t ob_convolve(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets, uint8_t *memory);

/* Hard symbols, eight per octet, to soft ones, an octet each: 0 or 255. `out` must not overlap `data`.
 * Returns the octets written (eight for each one in), or OB_E_SPACE. */
int64_t ob_soften(const uint8_t *data, size_t octets, uint8_t *out, size_t out_octets);

/* Viterbi decoder of that code. A soft symbol is one octet: 0 surely 0, 255 surely 1, 127 or 128 an erasure.
 *
 * Bits come out in blocks of OB_VITERBI_BLOCK_BITS: a block as soon as OB_VITERBI_DELAY_BITS more have been received,
 * so a bit is decided by at least as many later ones. How calls cut the stream of symbols, also between the two of a
 * bit, changes nothing in what comes out. */
#define OB_VITERBI_DELAY_BITS 128
#define OB_VITERBI_BLOCK_BITS 256
#define OB_VITERBI_FLUSH_OCTETS 47 /* the most that a flush delivers */

/* The state of one decoder: the caller's memory, set by ob_viterbi_start and then left alone except for the counters.
 * `held` and `walked` are refused if no decoder could have made them; other contents of the rest only change the bits
 * that come out. */
typedef struct {
    uint64_t symbols_compared; /* symbols of delivered bits, without erasures */
    uint64_t symbol_errors;    /* of those, hard decisions that differ from the delivered bits encoded again */
    uint16_t paths[1536];      /* for each 16 steps of the trellis, for each state, the path that led there */
    int16_t metrics[64];       /* of the newest step */
    uint8_t symbols[768];      /* those whose bits are not delivered */
    uint32_t held;             /* how many of them there are */
    uint32_t walked;           /* how many steps of them are in `paths` */
    uint32_t portable;
} ob_viterbi;

/* Begin a stream, counters at zero: from encoder memory 0 if `from_zero` is not 0, else from any. */
void ob_viterbi_start(ob_viterbi *decoder, int32_t from_zero);

/* The same, and this decoder keeps to the portable path: what every other path must equal on every processor. */
void ob_viterbi_start_portable(ob_viterbi *decoder, int32_t from_zero);

/* Octets that ob_viterbi_decode would deliver for `symbols` more symbols, or OB_E_LAYOUT for a state that cannot be. */
int64_t ob_viterbi_octets(const ob_viterbi *decoder, size_t symbols);

/* Take soft symbols, deliver the bits that are due, highest first. Any number of symbols may be given.
 * Returns the octets written, or OB_E_SPACE or OB_E_LAYOUT, and then has taken nothing. */
int64_t ob_viterbi_decode(ob_viterbi *decoder, const uint8_t *symbols, size_t count, uint8_t *out, size_t out_octets);

/* End the stream: deliver all whole octets of bits that are left. The path ends in encoder memory 0 if `to_zero` is
 * not 0, as when six or more zero bits were encoded last; else in the likeliest state. Bits beyond the last whole
 * octet, and half a pair of symbols, are dropped. The decoder then begins as by ob_viterbi_start(decoder, to_zero),
 * but goes on counting. Returns the octets written, at most OB_VITERBI_FLUSH_OCTETS, or OB_E_SPACE or OB_E_LAYOUT. */
int64_t ob_viterbi_flush(ob_viterbi *decoder, int32_t to_zero, uint8_t *out, size_t out_octets);

/* Packets out of transfer frames, the frames of one link a batch at a time: reception of virtual channels and
 * extraction of packets (CCSDS 132.0-B-3, 4.3.2 and 4.3.3; 732.0-B-4, 4.3). */
#define OB_LINK_TM 0  /* TM transfer frames, 132.0-B-3, 4.1: packets, control field as each frame's flag says */
#define OB_LINK_AOS 1 /* AOS transfer frames with M_PDUs, 732.0-B-4, 4.1.2 and 4.1.4.2 */

#define OB_LINK_FECF 1           /* frames end with frame error control, two octets that are checked */
#define OB_LINK_OCF 2            /* AOS: every frame has an operational control field, four octets */
#define OB_LINK_HEADER_CONTROL 4 /* AOS: frame header error control, two octets that are passed over */
#define OB_LINK_ENCAPSULATION 8  /* encapsulation packets (133.1-B-3) may stand among packets: passed over, counted */

#define OB_SPACECRAFT_ANY 0xFFFFFFFF
#define OB_TM_CHANNELS 8
#define OB_AOS_CHANNELS 64
#define OB_FRAME_OCTETS_MAX 65536
#define OB_PACKET_OCTETS_MAX 65542
#define OB_ENCAPSULATION_OCTETS_MAX 16777216 /* octets that claim to be longer are not taken for a packet */

#define OB_FRAME_GOOD 0
#define OB_FRAME_MARKED 1     /* the caller says that it is bad, such as one that Reed-Solomon could not correct */
#define OB_FRAME_CRC 2        /* frame error control (CRC-16) mismatch */
#define OB_FRAME_VERSION 3    /* not this link's kind of frame */
#define OB_FRAME_SPACECRAFT 4 /* of another spacecraft */
#define OB_FRAME_VCID 5       /* of a virtual channel that carries no packets on this link */
#define OB_FRAME_STATUS 6     /* TM: virtual channel access data, or a secondary header of another version than 0 */
#define OB_FRAME_LENGTH 7     /* TM: nothing is left for data beside secondary header and control field */
#define OB_FRAME_POINTER 8    /* first header pointer beyond the data */

#define OB_FRAME_COLUMN_OCTETS 11   /* octets of columns per frame: 4 + 4 + 1 + 1 + 1 */
#define OB_EXTRACTED_COLUMN_OCTETS 22 /* octets of columns per extracted packet: 8 + 4 + 4 + 2 + 2 + 1 + 1 */

/* One link: its managed parameters, set by the caller, and what the kernel keeps of it from call to call, at first 0. */
typedef struct {
    uint32_t service;       /* OB_LINK_TM or OB_LINK_AOS */
    uint32_t frame_octets;  /* of every frame; TM from 13 on */
    uint32_t spacecraft_id; /* 0..1023, or OB_SPACECRAFT_ANY */
    uint32_t flags;         /* sum of the OB_LINK_* that hold */
    uint32_t insert_octets; /* AOS: of the insert zone, which is passed over */
    uint32_t security_header_octets;  /* 355.0-B-2: after the headers and the insert zone, passed over */
    uint32_t security_trailer_octets; /* 355.0-B-2: before control field and error control, passed over */
    uint32_t master_counted;
    uint32_t master_expected;
    uint64_t vcids;         /* bit v: virtual channel v carries packets. AOS channel 63 is idle data in any case */
    uint64_t master_missed; /* TM: sum of the gaps in the master channel's count */
    uint64_t hand_octets;   /* of the packets in hand on all channels */
    uint64_t verdicts[9];   /* frames by verdict, OB_FRAME_* */
} ob_link;

/* One virtual channel, at first all 0: an OB_LINK_TM has OB_TM_CHANNELS of them, an OB_LINK_AOS OB_AOS_CHANNELS. */
typedef struct {
    uint64_t packets;      /* delivered */
    uint64_t idle_packets; /* APID 2047, left out; encapsulation packets of protocol 0 */
    uint64_t encapsulated[8]; /* encapsulation packets by protocol id, 1..7 */
    uint64_t broken;       /* packets of which only a part arrived */
    uint64_t inconsistent; /* frames whose pointer or packet headers contradict each other */
    uint64_t frames;       /* good ones */
    uint64_t missed;       /* sum of the gaps in the channel's count */
    /* Every octet of its good frames is in one of these, or in hand. */
    uint64_t packet_octets;   /* of packets delivered */
    uint64_t idle_octets;     /* of idle packets, and of the data of idle frames */
    uint64_t encapsulated_octets; /* of encapsulation packets that are not idle */
    uint64_t lost_octets;     /* of packets that did not arrive whole, and of data that contradict the headers */
    uint64_t overhead_octets; /* of all that is not data */
    uint32_t counted;      /* 1 once a frame has been heard */
    uint32_t expected;     /* the next frame's count */
    uint64_t hand_octets;  /* of the packet in hand, of which `hand` holds the beginning */
    uint8_t hand[65544];
} ob_channel;

typedef struct {
    uint64_t packets; /* rows of the packet columns */
    uint64_t octets;  /* of these packets in `out` */
} ob_extraction;

/* Take `count` frames (units at `stride`, each of the link's `frame_octets`) and lay the packets that they complete
 * one after the other into `out`, in the order in which they end. Idle packets are left out. A gap in a channel's
 * count drops the packet in hand there, and the search goes on at the next first header pointer; so does a
 * contradiction. A frame that is not good changes no channel. `marks`, if not null, has an octet for each frame: not 0
 * says that the frame is bad. AOS channel 63 is not watched for gaps, and the replay flag is not looked at.
 *
 * `frame_columns` holds, for n = count: n uint32 channel counts (AOS: with the cycle above bit 24 if its use flag is
 * set); n uint32 frames missed before this one on its channel, modulo the count; n uint8 virtual channel ids; n uint8
 * master channel counts (AOS: 0); n uint8 verdicts. Of a frame that is not good they are what its header says, right or
 * wrong, and no frame was missed.
 * `packet_columns` holds, for n = packets_max: n uint64 offsets in `out`; n uint32 lengths in octets; n uint32
 * indices of the frame in which the packet ended; n uint16 APIDs; n uint16 sequence counts; n uint8 flags (as in
 * ob_split_packets); n uint8 virtual channel ids. Both start at a multiple of 8 octets. Native byte order.
 *
 * Returns the number of frames taken. It is less than `count` if the next frame might complete more than there is room
 * for: a call for the frames from there on loses nothing. OB_E_SPACE if `frame_columns` is too short, or if `out` is
 * shorter than OB_PACKET_OCTETS_MAX + frame_octets, or the packet columns than 1 + frame_octets / 7 packets: this is
 * room in which a frame can always be taken. OB_E_LAYOUT, also for a link without meaning; OB_E_ALIGNMENT. */
int64_t ob_extract_packets(ob_link *link, ob_channel *channels, size_t channels_count, const uint8_t *frames,
                           size_t octets, size_t count, size_t stride, const uint8_t *marks,
                           uint8_t *frame_columns, size_t frame_columns_octets, uint8_t *out, size_t out_octets,
                           uint8_t *packet_columns, size_t packet_columns_octets, size_t packets_max,
                           ob_extraction *result);

/* The sender was restarted: no frame before the next ones is missed, and packets in hand are broken. Counters stay. */
void ob_restart_link(ob_link *link, ob_channel *channels, size_t channels_count);

#define OB_FIELD_UNSIGNED 0 /* also the bits of a number of IEEE 754, 32 or 64 */
#define OB_FIELD_SIGNED 1   /* two's complement */
#define OB_FIELDS_MAX 4096

/* One field that lies at the same place in every packet. */
typedef struct {
    uint32_t column;         /* octets per packet of the columns before this one: it starts at column * packets */
    uint32_t bit_offset;     /* of its first bit from the packet's first, 0..524335 */
    uint8_t bits;            /* 1..64 */
    uint8_t kind;            /* OB_FIELD_* */
    uint8_t significance[8]; /* of whole octets: of the field's k-th octet as it lies, 0 the least (XTCE 1.2,
                                byteOrderList); bits / 8 - 1 down to 0 for big-endian, and for any other width */
} ob_field;

/* Extract `fields_count` fields (at most OB_FIELDS_MAX) of `packets` packets into a column each.
 *
 * Packet i starts at octet offsets[i] of `data` and is lengths[i] octets long. If `offsets` is null it starts at
 * i * stride, if `lengths` is null it is `stride` long. What reaches beyond `data` ends with it.
 * A column has one number per packet, of the narrowest of 1, 2, 4 and 8 octets that holds the field, native byte order,
 * a signed one extended by its sign. A field that does not end within its packet gives 0. `complete`, if not null, has
 * an octet for each packet: 1 if every field ends within it, else 0.
 * Returns the number of packets that are complete. OB_E_LAYOUT for a field without meaning, OB_E_SPACE if a column ends
 * beyond `columns_octets`, OB_E_ALIGNMENT if `columns` is not at a multiple of 8 octets or a column not at one of its
 * number's width: it always is if columns are laid from the widest to the narrowest. */
int64_t ob_extract_fields(const uint8_t *data, size_t octets, const uint64_t *offsets, const uint32_t *lengths,
                          size_t stride, size_t packets, const ob_field *fields, size_t fields_count,
                          uint8_t *columns, size_t columns_octets, uint8_t *complete);

/* The same, always on the portable path: what ob_extract_fields must equal on every processor. */
int64_t ob_extract_fields_portable(const uint8_t *data, size_t octets, const uint64_t *offsets,
                                   const uint32_t *lengths, size_t stride, size_t packets, const ob_field *fields,
                                   size_t fields_count, uint8_t *columns, size_t columns_octets, uint8_t *complete);

/* Copy stretches of `data` into `out`, one behind the other: row i is lengths[i] octets from bit bits[i] of `data` on,
 * the most significant bit of an octet first.
 * Returns the octets written; OB_E_LAYOUT for a row that does not lie within `data`, OB_E_SPACE if `out` is too small,
 * OB_E_ALIGNMENT. What was written until then stays: of all kernels this one alone does not check before it writes. */
int64_t ob_gather_octets(const uint8_t *data, size_t octets, const uint64_t *bits, const uint64_t *lengths,
                         size_t rows, uint8_t *out, size_t out_octets);

/* Ask for large pages behind a large block that will be written from end to end. No more than a hint: it changes no
 * octet, and if the system has none it does nothing. */
void ob_prefer_large_pages(uint8_t *block, size_t octets);

#endif
