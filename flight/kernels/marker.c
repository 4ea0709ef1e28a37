/* Frame synchronization: units between attached sync markers, cut out of a stream of bits (CCSDS 131.0-B-5, 9).
 *
 * A period is a marker and the unit behind it. Positions are bits since ob_sync_init; `at` is the machine's own.
 *
 *   SEARCH  No marker is known. The first one from `at` on with at most search_errors_max wrong bits: UNIT.
 *   UNIT    A unit's marker is at `at`. The unit is written as soon as its last bit is there: NEXT, one period on.
 *   NEXT    A marker should be at `at`. It is there with at most lock_errors_max wrong bits, or within slip_bits_max to
 *           either side (the best of them): UNIT. It is not, and flywheel_units were written since the last marker:
 *           SEARCH from `back`. It is not, otherwise: JUDGE.
 *   JUDGE   There is no marker at `at`. The decision waits until the one after it should be in view. If that one is
 *           there, only this one was spoilt, and the unit that ends at it is written by FLYWHEEL: UNIT. If not, but
 *           somewhere from `back` on there is a marker that a search would take, the sequence has moved: UNIT there.
 *           If neither: UNIT, by FLYWHEEL.
 *
 * `back` is the bit after the one at which the last unit's marker begins. The end of that unit was a guess until a
 * marker stood there, so a search begins again at `back`: a unit that a lost stretch of any size, or a false marker,
 * has pulled into the wrong one is still found. The marker after next is asked before any other, so that no copy of a
 * marker in the data can steal a lock that one spoilt marker has shaken. The price: if two losses with a good unit
 * between them add up to a period, the second puts a marker there, and that unit is lost. A unit that ends at a marker
 * is whole, whatever slipped in its own. ADR 0015 gives the reasons.
 *
 * No state counts markers before units are believed. A unit behind a false marker costs its reader a look at its error
 * control. A unit held back would cost the last frame before each silence, and a period of delay for every other.
 *
 * Units found in this way may overlap, but each begins behind the one before. Markers packed closely, which only an
 * attacker sends, would each give a unit. So what overlaps is paid from `credit`, which is filled up again by what does
 * not overlap, to OVERLAP_UNITS periods at most. Then n periods of a stream give at most 2 n + OVERLAP_UNITS units and,
 * as each bit is searched once, the time is linear.
 *
 * The search goes octet by octet, for all eight places of a marker in its octets and both polarities at once. A marker
 * at any place fills three octets whole. If it has n wrong bits, two of the three have n / 2 or fewer. So a table that
 * says for which places an octet fits, with that many, as first, second or third, leaves few places to be looked at.
 * That is one look-up per octet, several Gbit/s without vector instructions.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "units.h"

#define MARKER 0x1ACFFC1Du
#define MARKER_BITS 32
#define ERRORS_MAX 7 /* the marker shifted by up to seven bits, of either polarity, is ten wrong bits from itself */
#define SLIP_BITS_MAX 7
#define OVERLAP_UNITS 8

enum { SEARCH, UNIT, NEXT, JUDGE };

/* What one call sees of the stream: bits `base` to `end`, and whether these are the last. */
typedef struct {
    const uint8_t *data;
    uint64_t base, end;
    int last;
} stretch;

typedef struct {
    uint64_t at;
    uint32_t wrong;
    uint32_t inverted;
} mark;

static uint32_t ones(uint32_t word)
{
    word -= word >> 1 & 0x55555555u;
    word = (word & 0x33333333u) + (word >> 2 & 0x33333333u);
    return ((word + (word >> 4)) & 0x0F0F0F0Fu) * 0x01010101u >> 24;
}

static uint64_t period_bits(const ob_sync *sync) { return MARKER_BITS + 8 * (uint64_t)sync->unit_octets; }

static int options_fit(const ob_sync *sync)
{
    return sync->unit_octets >= 1 && sync->unit_octets <= OB_UNIT_OCTETS_MAX && sync->lock_errors_max <= ERRORS_MAX &&
           sync->search_errors_max <= sync->lock_errors_max && sync->slip_bits_max <= SLIP_BITS_MAX;
}

/* --- the stream --- */

/* The 32 bits at `at`, which must be there. */
static uint32_t window(const stretch *in, uint64_t at)
{
    const uint8_t *octet = in->data + (at - in->base) / 8;
    uint32_t shift = at % 8;
    uint32_t word = (uint32_t)octet[0] << 24 | (uint32_t)octet[1] << 16 | (uint32_t)octet[2] << 8 | octet[3];
    return shift == 0 ? word : word << shift | octet[4] >> (8 - shift);
}

/* Whether a marker with at most `errors_max` wrong bits is at `at`. */
static int is_marker(const ob_sync *sync, const stretch *in, uint64_t at, uint32_t errors_max, mark *found)
{
    if (at < in->base || at + MARKER_BITS > in->end)
        return 0;
    uint32_t wrong = ones(window(in, at) ^ MARKER);
    uint32_t inverted = wrong > MARKER_BITS / 2 && sync->inverted_allowed;
    if (inverted)
        wrong = MARKER_BITS - wrong;
    *found = (mark){at, wrong, inverted};
    return wrong <= errors_max;
}

/* Place h of 16 is: marker begins 7 - h / 2 bits before its first whole octet, inverted if h is odd. So the lowest
 * place is the earliest. The three octets stand in bits 0-15, 16-31 and 32-47 of an octet's entry. */
#define PLACES 16

static void make_table(ob_sync *sync)
{
    memset(sync->fits, 0, sizeof sync->fits);
    for (uint32_t place = 0; place < PLACES; place++) {
        uint32_t before = 7 - place / 2;
        if ((place % 2 == 1 && !sync->inverted_allowed) || (before > 0 && !sync->bit_search))
            continue;
        uint32_t marker = place % 2 == 1 ? ~MARKER : MARKER;
        for (uint32_t third = 0; third < 3; third++) {
            uint32_t want = marker >> (24 - before - 8 * third) & 0xFF;
            for (uint32_t octet = 0; octet < 256; octet++)
                if (ones(octet ^ want) <= sync->search_errors_max / 2)
                    sync->fits[octet] |= UINT64_C(1) << (PLACES * third + place);
        }
    }
}

/* The first marker with at most search_errors_max wrong bits that begins within `from`..`to`. */
static int find_marker(const ob_sync *sync, const stretch *in, uint64_t from, uint64_t to, mark *found)
{
    if (from + MARKER_BITS > in->end)
        return 0;
    const uint8_t *data = in->data;
    const uint64_t *fits = sync->fits;
    size_t i = (size_t)((from - in->base + 7) / 8); /* the marker's first whole octet */
    size_t stop = (size_t)((in->end - in->base) / 8 - 3);
    if (to < in->end && (to - in->base + 7) / 8 < stop)
        stop = (size_t)((to - in->base + 7) / 8 + 1);
    uint64_t first = fits[data[i]];
    uint64_t second = fits[data[i + 1]];
    for (; i < stop; i++) {
        uint64_t third = fits[data[i + 2]];
        uint64_t fit = ((first & second >> 16) | ((first | second >> 16) & third >> 32)) & 0xFFFF;
        for (uint64_t at = in->base + 8 * (uint64_t)i - 7; fit != 0; at++, fit >>= 2)
            /* Before bit 0 `at` has wrapped round: it is beyond `to` then. */
            if (fit & 3 && at >= from && at <= to && is_marker(sync, in, at, sync->search_errors_max, found))
                return 1;
        first = second;
        second = third;
    }
    return 0;
}

/* The `octets` octets that begin at bit `at`, XOR `mask`. Eight at a time: they are shifted as one word, and what
 * crossed into the neighbour is masked away. So each octet is shifted by itself, whatever the machine's byte order. */
static void copy_bits(const stretch *in, uint64_t at, uint8_t mask, uint8_t *out, size_t octets)
{
    const uint8_t *data = in->data + (at - in->base) / 8;
    uint32_t up = at % 8;
    uint32_t down = 8 - up;
    size_t i = 0;
    if (up == 0 && mask == 0) {
        memcpy(out, data, octets);
        return;
    }
    if (up == 0) {
        for (; i < octets; i++)
            out[i] = data[i] ^ mask;
        return;
    }
    const uint64_t every = UINT64_C(0x0101010101010101);
    const uint64_t kept_up = every * (0xFFu << up & 0xFF);
    const uint64_t kept_down = every * (0xFFu >> down);
    const uint64_t masks = every * mask;
    for (; i + 8 <= octets; i += 8) {
        uint64_t word, next;
        memcpy(&word, data + i, 8);
        memcpy(&next, data + i + 1, 8);
        word = ((word << up & kept_up) | (next >> down & kept_down)) ^ masks;
        memcpy(out + i, &word, 8);
    }
    for (; i < octets; i++)
        out[i] = (uint8_t)(data[i] << up | data[i + 1] >> down) ^ mask;
}

/* --- the machine: each step returns 1 to go on, 0 if more of the stream must come first --- */

/* Count as skipped what no unit holds before `at`. */
static void skip_to(ob_sync *sync, uint64_t at)
{
    if (at > sync->covered) {
        sync->skipped_bits += at - sync->covered;
        sync->covered = at;
    }
}

static void begin_unit(ob_sync *sync, uint64_t at, uint32_t flags)
{
    skip_to(sync, at);
    sync->at = at;
    sync->flags = flags;
    sync->state = UNIT;
}

static void lock_on(ob_sync *sync, const mark *found)
{
    sync->locks++;
    sync->missed = 0;
    begin_unit(sync, found->at, found->inverted * OB_UNIT_INVERTED);
}

/* Return 1 and the marker at `at`, or else the best of those that a slip has moved; 0 if there is none; -1 if it is not
 * yet in view. */
static int expect(const ob_sync *sync, const stretch *in, uint64_t at, mark *found)
{
    if (is_marker(sync, in, at, sync->lock_errors_max, found))
        return 1;
    if (at + MARKER_BITS + sync->slip_bits_max > in->end && !in->last)
        return -1;
    mark moved;
    uint32_t least = sync->lock_errors_max + 1;
    uint64_t step = sync->bit_search ? 1 : 8;
    for (uint64_t slip = step; slip <= sync->slip_bits_max; slip += step)
        for (int late = 0; late < 2; late++)
            if (is_marker(sync, in, late ? at + slip : at - slip, sync->lock_errors_max, &moved) &&
                moved.wrong < least) {
                least = moved.wrong;
                *found = moved;
            }
    return least <= sync->lock_errors_max;
}

static int search(ob_sync *sync, const stretch *in)
{
    mark found;
    if (find_marker(sync, in, sync->at, in->end, &found)) {
        lock_on(sync, &found);
        return 1;
    }
    if (sync->at + MARKER_BITS <= in->end)
        sync->at = in->end - MARKER_BITS + 1;
    skip_to(sync, sync->at);
    return 0;
}

static int next(ob_sync *sync, const stretch *in)
{
    mark found;
    int there = expect(sync, in, sync->at, &found);
    if (there < 0)
        return 0;
    if (there) {
        sync->missed = 0;
        begin_unit(sync, found.at,
                   found.inverted * OB_UNIT_INVERTED | (found.at != sync->at ? OB_UNIT_SLIPPED : 0));
    } else if (sync->missed < sync->flywheel_units) {
        sync->state = JUDGE;
    } else {
        sync->at = sync->back;
        sync->state = SEARCH;
    }
    return 1;
}

static int judge(ob_sync *sync, const stretch *in)
{
    mark found;
    uint64_t after = sync->at + period_bits(sync);
    int there = expect(sync, in, after, &found);
    if (there < 0)
        return 0;
    if (there) {
        begin_unit(sync, found.at - period_bits(sync),
                   OB_UNIT_FLYWHEEL | found.inverted * OB_UNIT_INVERTED | (found.at != after ? OB_UNIT_SLIPPED : 0));
    } else if (find_marker(sync, in, sync->back, after + sync->slip_bits_max, &found)) {
        lock_on(sync, &found);
        return 1;
    } else {
        sync->back = after + sync->slip_bits_max + 1;
        begin_unit(sync, sync->at, OB_UNIT_FLYWHEEL | (sync->flags & OB_UNIT_INVERTED));
    }
    sync->missed++;
    return 1;
}

/* The unit at `at` is written: account for it, and set the place to look at should its end turn out to be wrong. */
static void end_unit(ob_sync *sync, uint32_t wrong)
{
    uint64_t period = period_bits(sync);
    uint64_t end = sync->at + period;
    uint64_t overlap = sync->covered - sync->at; /* skip_to has seen to it that this is not negative */

    sync->units++;
    sync->flywheels += (sync->flags & OB_UNIT_FLYWHEEL) != 0;
    sync->inversions += (sync->flags & OB_UNIT_INVERTED) != 0;
    sync->slips += (sync->flags & OB_UNIT_SLIPPED) != 0;
    sync->wrong_bits += sync->flags & OB_UNIT_FLYWHEEL ? 0 : wrong;

    /* What overlaps was allowed because `credit` held a period, or is a slip of a few bits: it never exceeds this. */
    sync->credit += period - 2 * overlap;
    if (sync->credit > OVERLAP_UNITS * period)
        sync->credit = OVERLAP_UNITS * period;
    sync->covered = end;
    uint64_t back = sync->credit >= period ? sync->at + 1 : end;
    if (back > sync->back)
        sync->back = back;
    sync->at = end;
    sync->state = NEXT;
}

/* How many octets lie before those that the machine may still look at. */
static size_t octets_done(const ob_sync *sync, const stretch *in)
{
    uint64_t keep = sync->at;
    if (sync->state == NEXT || sync->state == JUDGE) {
        keep -= sync->slip_bits_max;
        if (sync->back < keep)
            keep = sync->back;
    }
    return (size_t)(((keep < in->end ? keep : in->end) - in->base) / 8);
}

int64_t ob_sync_init(ob_sync *sync)
{
    if (!options_fit(sync))
        return OB_E_LAYOUT;
    make_table(sync);
    sync->locks = sync->units = sync->flywheels = sync->inversions = sync->slips = 0;
    sync->wrong_bits = sync->skipped_bits = 0;
    sync->base = 0;
    return ob_sync_reset(sync, 0);
}

int64_t ob_sync_reset(ob_sync *sync, size_t octets)
{
    if (!options_fit(sync))
        return OB_E_LAYOUT;
    sync->base += 8 * (uint64_t)octets;
    sync->at = sync->back = sync->covered = sync->base;
    sync->credit = OVERLAP_UNITS * period_bits(sync);
    sync->state = SEARCH;
    sync->missed = sync->flags = 0;
    return 0;
}

int64_t ob_find_units(ob_sync *sync, const uint8_t *stream, size_t octets, int32_t last, uint8_t *units,
                      size_t units_octets, uint8_t *columns, size_t columns_octets, size_t units_max, size_t n)
{
    if (!options_fit(sync) || n > units_max)
        return OB_E_LAYOUT;
    if (units_max > units_octets / sync->unit_octets || units_max > columns_octets / OB_UNIT_COLUMN_OCTETS)
        return OB_E_SPACE;
    if (!is_aligned(columns, 8))
        return OB_E_ALIGNMENT;
    /* Columns of no units may be null. */
    uint64_t *offset = (uint64_t *)(void *)columns;
    uint8_t *wrong_bits = units_max > 0 ? columns + 8 * units_max : columns;
    uint8_t *flags = units_max > 0 ? columns + 9 * units_max : columns;

    const stretch in = {stream, sync->base, sync->base + 8 * (uint64_t)octets, last != 0};
    int more = 1;
    while (more) {
        switch (sync->state) {
        case SEARCH:
            more = search(sync, &in);
            break;
        case NEXT:
            more = next(sync, &in);
            break;
        case JUDGE:
            more = judge(sync, &in);
            break;
        default: /* UNIT */
            more = n < units_max && sync->at + period_bits(sync) <= in.end;
            if (more) {
                uint8_t mask = sync->flags & OB_UNIT_INVERTED ? 0xFF : 0;
                uint32_t wrong = ones(window(&in, sync->at) ^ MARKER ^ (mask ? UINT32_MAX : 0));
                copy_bits(&in, sync->at + MARKER_BITS, mask, units + n * sync->unit_octets, sync->unit_octets);
                offset[n] = sync->at + MARKER_BITS;
                wrong_bits[n] = (uint8_t)wrong;
                flags[n] = (uint8_t)sync->flags;
                n++;
                end_unit(sync, wrong);
            }
        }
    }
    sync->consumed = octets_done(sync, &in);
    sync->base += 8 * sync->consumed;
    return (int64_t)n;
}
