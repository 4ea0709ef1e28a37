/* Fields of packets into columns, one pass over the packets for all fields.
 *
 * Packets are taken a block at a time: the block's octets stay in the caches while one field after the other is read
 * from it, each in a loop of its own that has nothing to decide. If all packets of a block hold every field, one load
 * of eight octets per packet serves all fields in them, each a shift and a mask; 1, 2, 4 and 8 whole octets need none;
 * words of 32 bits in a row are turned into columns eight by eight if the processor has AVX2. A block in which a packet
 * is short, or ends the data, is read an octet at a time, with every bound checked.
 */
#include <string.h>

#include "cpu.h"
#include "orbitnode_kernels.h"
#include "units.h"

#define BLOCK 512
#define WINDOW_OCTETS 8
#define BIT_OFFSET_MAX (8 * OB_PACKET_OCTETS_MAX - 1)

/* How a field is read, worked out once per block: cheap beside the block's packets, and no memory is needed for it. */
typedef struct {
    uint8_t *column;
    size_t first;      /* the field's first octet in the packet */
    size_t octets;     /* how many it touches, 1..9 */
    size_t window;     /* start of eight octets of the packet of which `left` bits come before the field */
    unsigned left;
    unsigned bits;
    unsigned width;    /* octets of a number of the column */
    int is_signed;
    int is_whole;      /* one, two, four or eight whole octets */
    int is_little;     /* the least octet first */
    int is_reordered;  /* in any other order than big-endian */
    const uint8_t *significance;
} access;

/* Octets as they lie in memory, and the same the other way round. */
static inline uint16_t load16(const uint8_t *p)
{
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IS_LITTLE 1
#else
#define IS_LITTLE 0
#endif

static inline uint64_t big64(const uint8_t *p) { return IS_LITTLE ? __builtin_bswap64(load64(p)) : load64(p); }

static inline unsigned width_of(unsigned bits) { return bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8; }

static inline size_t end_of(const ob_field *field) { return ((size_t)field->bit_offset + field->bits + 7) / 8; }

/* The octets of `value`, `octets` of them from the highest on, each moved to the place that its significance names. */
static inline uint64_t reordered(uint64_t value, const uint8_t *significance, unsigned octets)
{
    uint64_t made = 0;
    for (unsigned k = 0; k < octets; k++)
        made |= (value >> 8 * (octets - 1 - k) & 0xFF) << 8 * significance[k];
    return made;
}

/* `value` as a number of 64 bits, of which it has the lowest `bits`. */
static inline uint64_t extended(uint64_t value, unsigned bits, int is_signed)
{
    unsigned spare = 64 - bits;
    return is_signed ? (uint64_t)((int64_t)(value << spare) >> spare) : value << spare >> spare;
}

static inline uint64_t finished(const access *how, uint64_t value)
{
    if (how->is_reordered)
        value = reordered(value, how->significance, how->bits / 8);
    return extended(value, how->bits, how->is_signed);
}

static inline void put(uint8_t *column, unsigned width, size_t index, uint64_t value)
{
    switch (width) {
    case 1: column[index] = (uint8_t)value; break;
    case 2: ((uint16_t *)(void *)column)[index] = (uint16_t)value; break;
    case 4: ((uint32_t *)(void *)column)[index] = (uint32_t)value; break;
    default: ((uint64_t *)(void *)column)[index] = value; break;
    }
}

/* Every packet of the block holds the field: one loop for each width, so that nothing is left to decide in it. */
#define EACH(type, expression)                                             \
    do {                                                                   \
        type *column = (type *)(void *)how->column + start;                \
        for (size_t i = 0; i < count; i++)                                 \
            column[i] = (type)(expression);                                \
    } while (0)

#define EACH_WIDTH(expression)                             \
    do {                                                   \
        switch (how->width) {                              \
        case 1: EACH(uint8_t, expression); break;          \
        case 2: EACH(uint16_t, expression); break;         \
        case 4: EACH(uint32_t, expression); break;         \
        default: EACH(uint64_t, expression); break;        \
        }                                                  \
    } while (0)

static void read_whole(const access *how, const uint8_t *const *at, size_t start, size_t count)
{
    size_t first = how->first;
    int is_native = how->is_little == IS_LITTLE;
    switch (how->width) {
    case 1: EACH(uint8_t, at[i][first]); break;
    case 2:
        if (is_native)
            EACH(uint16_t, load16(at[i] + first));
        else
            EACH(uint16_t, __builtin_bswap16(load16(at[i] + first)));
        break;
    case 4:
        if (is_native)
            EACH(uint32_t, load32(at[i] + first));
        else
            EACH(uint32_t, __builtin_bswap32(load32(at[i] + first)));
        break;
    default:
        if (is_native)
            EACH(uint64_t, load64(at[i] + first));
        else
            EACH(uint64_t, __builtin_bswap64(load64(at[i] + first)));
        break;
    }
}

/* Eight octets of every packet, from which several fields may be taken. */
typedef struct {
    size_t first; /* the first of them in the packet */
    int is_loaded;
    uint64_t octets[BLOCK];
} windows;

static void load_windows(windows *from, size_t first, const uint8_t *const *at, size_t count)
{
    from->first = first;
    from->is_loaded = 1;
    for (size_t i = 0; i < count; i++)
        from->octets[i] = big64(at[i] + first);
}

static void read_window(const access *how, const uint64_t *window, unsigned left, size_t start, size_t count)
{
    unsigned spare = 64 - how->bits, right = spare - left;
    uint64_t mask = ~(uint64_t)0 >> spare;
    if (how->is_reordered)
        EACH_WIDTH(finished(how, window[i] >> right & mask));
    else if (how->is_signed)
        EACH_WIDTH((int64_t)(window[i] << left) >> spare);
    else
        EACH_WIDTH(window[i] >> right & mask);
}

/* The field by its octets, 1..9 of them: for what no window of eight octets reaches. */
static inline uint64_t by_octets(const access *how, const uint8_t *packet)
{
    const uint8_t *p = packet + how->first;
    unsigned before = how->left & 7;
    uint64_t value = p[0] & 0xFFu >> before;
    unsigned have = 8 - before;
    for (size_t k = 1; k < how->octets; k++) {
        unsigned more = how->bits - have < 8 ? how->bits - have : 8;
        value = value << more | p[k] >> (8 - more);
        have += more;
    }
    return have > how->bits ? value >> (have - how->bits) : value;
}

static void read_octets(const access *how, const uint8_t *const *at, size_t start, size_t count)
{
    EACH_WIDTH(finished(how, by_octets(how, at[i])));
}

/* Some packet of the block is short: each bound is checked. */
static void read_checked(const access *how, const uint8_t *const *at, const size_t *lengths, size_t start,
                         size_t count)
{
    size_t end = how->first + how->octets;
    for (size_t i = 0; i < count; i++)
        put(how->column, how->width, start + i, lengths[i] < end ? 0 : finished(how, by_octets(how, at[i])));
}

/* `reach`: octets that can be read of every packet of the block, from its start on, at least WINDOW_OCTETS; 0 if they
 * cannot. */
static access access_of(const ob_field *field, uint8_t *columns, size_t packets, size_t reach)
{
    unsigned octets = field->bits / 8;
    access how = {
        .column = columns + (size_t)field->column * packets,
        .first = field->bit_offset / 8,
        .bits = field->bits,
        .width = width_of(field->bits),
        .is_signed = field->kind == OB_FIELD_SIGNED,
        .significance = field->significance,
    };
    how.octets = end_of(field) - how.first;
    if (field->bits % 8 == 0) {
        how.is_little = 1;
        for (unsigned k = 0; k < octets; k++) {
            how.is_reordered |= field->significance[k] != octets - 1 - k;
            how.is_little &= field->significance[k] == k;
        }
        how.is_whole = field->bit_offset % 8 == 0 && field->bits == 8 * how.width && (how.is_little || !how.is_reordered);
    }
    /* Back from the end rather than beyond it. */
    how.window = reach == 0 || how.first + WINDOW_OCTETS <= reach ? how.first : reach - WINDOW_OCTETS;
    how.left = (unsigned)(field->bit_offset - 8 * how.window);
    return how;
}

#ifdef OB_X86
#define RUN 8

/* Whether `RUN` fields from here on are words of 32 bits, big-endian, one behind the other. */
static int is_run(const ob_field *fields, size_t fields_count)
{
    if (fields_count < RUN || fields[0].bit_offset % 8 != 0)
        return 0;
    for (size_t k = 0; k < RUN; k++) {
        const uint8_t *order = fields[k].significance;
        if (fields[k].bits != 32 || fields[k].bit_offset != fields[0].bit_offset + 32 * k || order[0] != 3 ||
            order[1] != 2 || order[2] != 1)
            return 0;
    }
    return 1;
}

/* Eight words of eight packets at a time, a row of them each, turned into eight columns. Returns the packets read. */
__attribute__((target("avx2"))) static size_t read_run(const ob_field *fields, uint8_t *columns, size_t packets,
                                                       const uint8_t *const *at, size_t start, size_t count)
{
    const __m256i swap = _mm256_broadcastsi128_si256(
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    size_t first = fields[0].bit_offset / 8;
    uint8_t *column[RUN];
    for (size_t k = 0; k < RUN; k++)
        column[k] = columns + (size_t)fields[k].column * packets + 4 * start;
    size_t i = 0;
    for (; i + RUN <= count; i += RUN) {
        __m256i row[RUN], pair[RUN], quad[RUN];
        for (size_t k = 0; k < RUN; k++)
            row[k] = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(at[i + k] + first)), swap);
        for (size_t k = 0; k < RUN; k += 2) {
            pair[k] = _mm256_unpacklo_epi32(row[k], row[k + 1]);
            pair[k + 1] = _mm256_unpackhi_epi32(row[k], row[k + 1]);
        }
        for (size_t k = 0; k < RUN; k += 4)
            for (size_t j = 0; j < 2; j++) {
                quad[k + 2 * j] = _mm256_unpacklo_epi64(pair[k + j], pair[k + 2 + j]);
                quad[k + 2 * j + 1] = _mm256_unpackhi_epi64(pair[k + j], pair[k + 2 + j]);
            }
        for (size_t k = 0; k < 4; k++) {
            __m256i *low = (__m256i *)(void *)(column[k] + 4 * i), *high = (__m256i *)(void *)(column[k + 4] + 4 * i);
            _mm256_storeu_si256(low, _mm256_permute2x128_si256(quad[k], quad[k + 4], 0x20));
            _mm256_storeu_si256(high, _mm256_permute2x128_si256(quad[k], quad[k + 4], 0x31));
        }
    }
    return i;
}
#endif

/* Octets that a packet must have to hold every field; 0 if a field has no meaning. */
static size_t octets_needed(const ob_field *fields, size_t fields_count)
{
    size_t needed = 1;
    for (size_t f = 0; f < fields_count; f++) {
        const ob_field *field = &fields[f];
        if (field->bits - 1u >= 64 || field->kind > OB_FIELD_SIGNED || field->bit_offset > BIT_OFFSET_MAX)
            return 0;
        unsigned octets = field->bits % 8 == 0 ? field->bits / 8 : 0;
        unsigned seen = 0;
        for (unsigned k = 0; k < octets; k++) {
            if (field->significance[k] >= octets)
                return 0;
            seen |= 1u << field->significance[k];
        }
        if (seen != (1u << octets) - 1)
            return 0;
        if (end_of(field) > needed)
            needed = end_of(field);
    }
    return needed;
}

/* 0, or why the columns cannot be written. */
static int64_t columns_fault(const ob_field *fields, size_t fields_count, const uint8_t *columns,
                             size_t columns_octets, size_t packets)
{
    for (size_t f = 0; f < fields_count; f++) {
        unsigned width = width_of(fields[f].bits);
        uint64_t end = (uint64_t)fields[f].column + width; /* octets per packet up to this column's end */
        if (packets > columns_octets / end)
            return OB_E_SPACE;
        if ((uint64_t)fields[f].column * packets % width != 0)
            return OB_E_ALIGNMENT;
    }
    return is_aligned(columns, 8) ? 0 : OB_E_ALIGNMENT;
}

/* One block: at which octets its packets start, and how long they are. */
typedef struct {
    const uint8_t *at[BLOCK];
    size_t length[BLOCK];
    size_t start;
    size_t count;
    size_t reach; /* octets that can be read of each of its packets, all of which hold every field; 0 if not so */
} block;

static void read_block(const block *of, const ob_field *fields, size_t fields_count, uint8_t *columns, size_t packets,
                       int is_portable)
{
    const uint8_t *const *at = of->at;
    windows window;
    window.is_loaded = 0;
    for (size_t f = 0; f < fields_count; f++) {
#ifdef OB_X86
        if (!is_portable && of->reach > 0 && is_run(fields + f, fields_count - f)) {
            size_t done = read_run(fields + f, columns, packets, at, of->start, of->count);
            for (size_t k = 0; k < RUN; k++) {
                access how = access_of(&fields[f + k], columns, packets, of->reach);
                read_whole(&how, at + done, of->start + done, of->count - done);
            }
            f += RUN - 1;
            continue;
        }
#else
        (void)is_portable;
#endif
        access how = access_of(&fields[f], columns, packets, of->reach);
        if (of->reach == 0)
            read_checked(&how, at, of->length, of->start, of->count);
        else if (how.is_whole)
            read_whole(&how, at, of->start, of->count);
        else if (how.left + how.bits > 64)
            read_octets(&how, at, of->start, of->count);
        else {
            if (!window.is_loaded || how.first < window.first || how.first + how.octets > window.first + WINDOW_OCTETS)
                load_windows(&window, how.window, at, of->count);
            read_window(&how, window.octets, fields[f].bit_offset - 8 * (unsigned)window.first, of->start, of->count);
        }
    }
}

static int64_t extract(const uint8_t *data, size_t octets, const uint64_t *offsets, const uint32_t *lengths,
                       size_t stride, size_t packets, const ob_field *fields, size_t fields_count, uint8_t *columns,
                       size_t columns_octets, uint8_t *complete, int is_portable)
{
    size_t needed = fields_count <= OB_FIELDS_MAX ? octets_needed(fields, fields_count) : 0;
    if (needed == 0)
        return OB_E_LAYOUT;
    if (packets > 0 && (!is_aligned(offsets, sizeof *offsets) || !is_aligned(lengths, sizeof *lengths)))
        return OB_E_ALIGNMENT;
    int64_t fault = columns_fault(fields, fields_count, columns, columns_octets, packets);
    if (fault != 0)
        return fault;
    size_t reach = needed > WINDOW_OCTETS ? needed : WINDOW_OCTETS;
    /* The last packet that can start within the data: beyond it n * stride might go round. */
    size_t last = stride > 0 ? octets / stride : SIZE_MAX;
    int64_t whole = 0;
    for (block of = {.start = 0}; of.start < packets; of.start += BLOCK) {
        of.count = packets - of.start < BLOCK ? packets - of.start : BLOCK;
        size_t held = 0;     /* packets that hold every field */
        size_t readable = 0; /* of these, packets from which `reach` octets can be read */
        for (size_t i = 0; i < of.count; i++) {
            size_t n = of.start + i;
            uint64_t offset = offsets != NULL ? offsets[n] : n > last ? octets : n * stride;
            if (offset > octets)
                offset = octets;
            size_t left = octets - (size_t)offset;
            size_t own = lengths != NULL ? lengths[n] : stride;
            of.length[i] = own < left ? own : left;
            of.at[i] = offset > 0 ? data + offset : data;
            held += of.length[i] >= needed;
            readable += of.length[i] >= needed && left >= reach;
            if (complete != NULL)
                complete[n] = of.length[i] >= needed;
        }
        whole += (int64_t)held;
        of.reach = readable == of.count ? reach : 0;
        read_block(&of, fields, fields_count, columns, packets, is_portable);
    }
    return whole;
}

int64_t ob_extract_fields_portable(const uint8_t *data, size_t octets, const uint64_t *offsets,
                                   const uint32_t *lengths, size_t stride, size_t packets, const ob_field *fields,
                                   size_t fields_count, uint8_t *columns, size_t columns_octets, uint8_t *complete)
{
    return extract(data, octets, offsets, lengths, stride, packets, fields, fields_count, columns, columns_octets,
                   complete, 1);
}

int64_t ob_extract_fields(const uint8_t *data, size_t octets, const uint64_t *offsets, const uint32_t *lengths,
                          size_t stride, size_t packets, const ob_field *fields, size_t fields_count,
                          uint8_t *columns, size_t columns_octets, uint8_t *complete)
{
    int is_portable = 1;
#ifdef OB_X86
    is_portable = !has_avx2();
#endif
    return extract(data, octets, offsets, lengths, stride, packets, fields, fields_count, columns, columns_octets,
                   complete, is_portable);
}
