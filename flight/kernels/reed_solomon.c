/* The Reed-Solomon codes (255,223) and (255,239) of TM synchronization and channel coding (CCSDS 131.0-B-5, 4).
 *
 * Octets stay in the dual basis in which they stand on the wire: addition is the same there, and tables.py makes
 * logarithms and products for it. Encoding is one division. Decoding begins with the same one, which leaves the check
 * symbols if there are no errors. The decoder works on the difference alone, which is 0 for nearly all codewords.
 *
 * Names. A polynomial is an array of octets, coefficient k at [k]. x stands for BETA^i, the points of the field; the
 * symbol of degree d has the locator BETA^d, so that a root of the error locator at point i says d = 255 - i.
 */
#include <string.h>

#include "cpu.h"
#include "orbitnode_kernels.h"
#include "tables.h"
#include "units.h"

#define FIELD_POINTS 255
#define PARITY_MAX 32
#define ERRORS_MAX 16
#define LANES_MAX 5
#define INTERLEAVE_MAX 8
#define ALWAYS_INLINE inline __attribute__((always_inline))

typedef uint8_t remainder_of[PARITY_MAX]; /* a codeword's, highest degree first */
typedef void (*division)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder);

/* Registers of plain words, octet i of a word at bit 8i: right on any machine. */

typedef struct {
    uint64_t word[4];
} words_4_register;

typedef struct {
    uint64_t word[2];
} words_2_register;

static inline words_4_register words_4_zero(void) { return (words_4_register){{0, 0, 0, 0}}; }

static inline words_4_register words_4_load(const uint64_t *row)
{
    return (words_4_register){{row[0], row[1], row[2], row[3]}};
}

static inline words_4_register words_4_add(words_4_register a, words_4_register b)
{
    return (words_4_register){
        {a.word[0] ^ b.word[0], a.word[1] ^ b.word[1], a.word[2] ^ b.word[2], a.word[3] ^ b.word[3]}};
}

static inline words_4_register words_4_move_up(words_4_register a)
{
    return (words_4_register){{a.word[0] >> 32 | a.word[1] << 32, a.word[1] >> 32 | a.word[2] << 32,
                               a.word[2] >> 32 | a.word[3] << 32, a.word[3] >> 32}};
}

static inline uint32_t words_4_top(words_4_register a) { return (uint32_t)a.word[0]; }

static inline void words_4_store(words_4_register a, uint8_t *out)
{
    for (size_t i = 0; i < 32; i++)
        out[i] = (uint8_t)(a.word[i / 8] >> 8 * (i % 8));
}

static inline words_2_register words_2_zero(void) { return (words_2_register){{0, 0}}; }

static inline words_2_register words_2_load(const uint64_t *row) { return (words_2_register){{row[0], row[1]}}; }

static inline words_2_register words_2_add(words_2_register a, words_2_register b)
{
    return (words_2_register){{a.word[0] ^ b.word[0], a.word[1] ^ b.word[1]}};
}

static inline words_2_register words_2_move_up(words_2_register a)
{
    return (words_2_register){{a.word[0] >> 32 | a.word[1] << 32, a.word[1] >> 32}};
}

static inline uint32_t words_2_top(words_2_register a) { return (uint32_t)a.word[0]; }

static inline void words_2_store(words_2_register a, uint8_t *out)
{
    for (size_t i = 0; i < 16; i++)
        out[i] = (uint8_t)(a.word[i / 8] >> 8 * (i % 8));
}

#define KIND(name) words_4_##name
#define KIND_TARGET
#define TABLE REMAINDER_32
#include "reed_solomon_division.h"

#define KIND(name) words_2_##name
#define KIND_TARGET
#define TABLE REMAINDER_16
#include "reed_solomon_division.h"

#ifdef OB_X86
/* One register holds all 32 octets with AVX2, and all 16 with the SSE2 that every x86-64 has. */
#define AVX2 __attribute__((target("avx2")))
typedef __m256i avx2_register;
typedef __m128i sse2_register;

AVX2 static inline __m256i avx2_zero(void) { return _mm256_setzero_si256(); }
AVX2 static inline __m256i avx2_load(const uint64_t *row) { return _mm256_loadu_si256((const void *)row); }
AVX2 static inline __m256i avx2_add(__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }
AVX2 static inline uint32_t avx2_top(__m256i a) { return (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(a)); }
AVX2 static inline void avx2_store(__m256i a, uint8_t *out) { _mm256_storeu_si256((void *)out, a); }

AVX2 static inline __m256i avx2_move_up(__m256i a)
{
    __m256i turned = _mm256_permutevar8x32_epi32(a, _mm256_set_epi32(0, 7, 6, 5, 4, 3, 2, 1));
    return _mm256_blend_epi32(turned, _mm256_setzero_si256(), 0x80);
}

static inline __m128i sse2_zero(void) { return _mm_setzero_si128(); }
static inline __m128i sse2_load(const uint64_t *row) { return _mm_loadu_si128((const void *)row); }
static inline __m128i sse2_add(__m128i a, __m128i b) { return _mm_xor_si128(a, b); }
static inline uint32_t sse2_top(__m128i a) { return (uint32_t)_mm_cvtsi128_si32(a); }
static inline void sse2_store(__m128i a, uint8_t *out) { _mm_storeu_si128((void *)out, a); }
static inline __m128i sse2_move_up(__m128i a) { return _mm_srli_si128(a, 4); }

#define KIND(name) avx2_##name
#define KIND_TARGET AVX2
#define TABLE REMAINDER_32
#include "reed_solomon_division.h"

#define KIND(name) sse2_##name
#define KIND_TARGET
#define TABLE REMAINDER_16
#include "reed_solomon_division.h"
#endif

#ifdef OB_ARM
typedef uint8x16x2_t neon_2_register;
typedef uint8x16_t neon_1_register;

static inline uint8x16_t neon_1_zero(void) { return vdupq_n_u8(0); }
static inline uint8x16_t neon_1_load(const uint64_t *row) { return vreinterpretq_u8_u64(vld1q_u64(row)); }
static inline uint8x16_t neon_1_add(uint8x16_t a, uint8x16_t b) { return veorq_u8(a, b); }
static inline uint8x16_t neon_1_move_up(uint8x16_t a) { return vextq_u8(a, vdupq_n_u8(0), 4); }
static inline uint32_t neon_1_top(uint8x16_t a) { return vgetq_lane_u32(vreinterpretq_u32_u8(a), 0); }
static inline void neon_1_store(uint8x16_t a, uint8_t *out) { vst1q_u8(out, a); }

static inline uint8x16x2_t neon_2_zero(void) { return (uint8x16x2_t){{vdupq_n_u8(0), vdupq_n_u8(0)}}; }

static inline uint8x16x2_t neon_2_load(const uint64_t *row)
{
    return (uint8x16x2_t){{neon_1_load(row), neon_1_load(row + 2)}};
}

static inline uint8x16x2_t neon_2_add(uint8x16x2_t a, uint8x16x2_t b)
{
    return (uint8x16x2_t){{veorq_u8(a.val[0], b.val[0]), veorq_u8(a.val[1], b.val[1])}};
}

static inline uint8x16x2_t neon_2_move_up(uint8x16x2_t a)
{
    return (uint8x16x2_t){{vextq_u8(a.val[0], a.val[1], 4), vextq_u8(a.val[1], vdupq_n_u8(0), 4)}};
}

static inline uint32_t neon_2_top(uint8x16x2_t a) { return neon_1_top(a.val[0]); }

static inline void neon_2_store(uint8x16x2_t a, uint8_t *out)
{
    vst1q_u8(out, a.val[0]);
    vst1q_u8(out + 16, a.val[1]);
}

#define KIND(name) neon_2_##name
#define KIND_TARGET
#define TABLE REMAINDER_32
#include "reed_solomon_division.h"

#define KIND(name) neon_1_##name
#define KIND_TARGET
#define TABLE REMAINDER_16
#include "reed_solomon_division.h"
#endif

static const division *portable_divisions(uint32_t parity)
{
    return parity == PARITY_MAX ? words_4_by_lanes : words_2_by_lanes;
}

static const division *divisions(uint32_t parity)
{
#if defined(OB_X86)
    if (parity < PARITY_MAX)
        return sse2_by_lanes;
    if (has_avx2())
        return avx2_by_lanes;
#elif defined(OB_ARM)
    return parity == PARITY_MAX ? neon_2_by_lanes : neon_1_by_lanes;
#endif
    return portable_divisions(parity);
}

/* The remainders of a unit's codewords. Eight lanes would not fit the registers, so eight go as four and four. */
static void divide_unit(const division *by_lanes, const uint8_t *unit, size_t symbols, size_t interleave,
                        remainder_of *remainder)
{
    size_t lanes = interleave <= LANES_MAX ? interleave : interleave / 2;
    for (size_t codeword = 0; codeword < interleave; codeword += lanes)
        by_lanes[lanes - 1](unit + codeword, symbols, interleave, remainder + codeword);
}

static int fits(size_t octets, size_t count, size_t stride, size_t data_octets, uint32_t parity, uint32_t interleave)
{
    if (parity != 16 && parity != 32)
        return 0;
    if (interleave < 1 || interleave > INTERLEAVE_MAX || interleave == 6 || interleave == 7)
        return 0;
    if (data_octets < interleave || data_octets > (FIELD_POINTS - parity) * interleave || data_octets % interleave != 0)
        return 0;
    return units_fit(octets, count, stride, data_octets + parity * interleave);
}

static int64_t encode(const division *by_lanes, uint8_t *units, size_t count, size_t stride, size_t data_octets,
                      size_t parity, size_t interleave)
{
    remainder_of remainder[INTERLEAVE_MAX];
    for (size_t i = 0; i < count; i++) {
        uint8_t *unit = units + i * stride;
        divide_unit(by_lanes, unit, data_octets / interleave, interleave, remainder);
        uint8_t *check = unit + data_octets;
        for (size_t symbol = 0; symbol < parity; symbol++)
            for (size_t codeword = 0; codeword < interleave; codeword++)
                *check++ = remainder[codeword][symbol];
    }
    return (int64_t)count;
}

/* The polynomial of `terms` coefficients at the points `from`, `from` + 1, ..., each term a stretch of POWERS;
 * `points` is a multiple of 32, and `from` + `points` at most 256. */
static void evaluate(const uint8_t *polynomial, size_t terms, size_t from, size_t points, uint8_t *values)
{
    const uint8_t *term[ERRORS_MAX];
    size_t n = 0;
    for (size_t k = 1; k < terms; k++)
        if (polynomial[k] != 0)
            term[n++] = POWERS + START[k - 1][LOG[polynomial[k]]] + from;
    for (size_t point = 0; point < points; point += 32) {
        uint64_t sum[4];
        memset(sum, polynomial[0], sizeof sum);
        for (size_t k = 0; k < n; k++) {
            uint64_t more[4];
            memcpy(more, term[k] + point, sizeof more);
            for (size_t i = 0; i < 4; i++)
                sum[i] ^= more[i];
        }
        memcpy(values + point, sum, sizeof sum);
    }
}

/* The remainder at the roots of the generator polynomial, in halves of degree 15: low + x^16 * high. */
static void find_syndromes(const uint8_t *remainder, size_t parity, uint8_t *syndrome)
{
    size_t first = 128 - parity / 2;
    uint8_t half[16];
    for (size_t k = 0; k < 16; k++)
        half[k] = remainder[parity - 1 - k];
    evaluate(half, 16, first, PARITY_MAX, syndrome);
    if (parity == 16)
        return;
    for (size_t k = 0; k < 16; k++)
        half[k] = remainder[15 - k];
    uint8_t high[PARITY_MAX];
    evaluate(half, 16, first, PARITY_MAX, high);
    for (size_t i = 0; i < parity; i++)
        syndrome[i] ^= EXP[LOG[high[i]] + 16 * (first + i) % FIELD_POINTS];
}

/* The shortest recurrence of the syndromes, by J. L. Massey, "Shift-register synthesis and BCH decoding", IEEE Trans.
 * Information Theory 15 (1), 1969: S[n] = locator[1] S[n - 1] + ... + locator[L] S[n - L] for all n from L on.
 * Returns L, or -1 if it is over `errors_max`. No index leaves the arrays: shift + length_before is always
 * n + 1 - length, which at an update is the new length, or not above the old one. */
static int find_locator(const uint16_t *log_syndrome, const uint8_t *syndrome, size_t parity, size_t errors_max,
                        uint8_t *locator)
{
    uint16_t log_locator[ERRORS_MAX + 1];
    uint16_t log_before[ERRORS_MAX + 1]; /* of the recurrence before the last change of length */
    size_t length = 0;
    size_t length_before = 0;
    size_t shift = 0;
    size_t log_discrepancy_before = LOG[EXP[0]];
    memset(locator, 0, ERRORS_MAX + 1);
    locator[0] = EXP[0];
    for (size_t i = 0; i <= ERRORS_MAX; i++)
        log_locator[i] = log_before[i] = i == 0 ? 0 : LOG_ZERO;
    for (size_t n = 0; n < parity; n++) {
        shift++;
        uint8_t discrepancy = syndrome[n];
        for (size_t i = 1; i <= length; i++)
            discrepancy ^= EXP[log_locator[i] + log_syndrome[n - i]];
        if (discrepancy == 0)
            continue;
        size_t log_factor = (LOG[discrepancy] + FIELD_POINTS - log_discrepancy_before) % FIELD_POINTS;
        uint16_t log_kept[ERRORS_MAX + 1];
        int longer = 2 * length <= n;
        if (longer && n + 1 - length > errors_max)
            return -1;
        if (longer)
            memcpy(log_kept, log_locator, sizeof log_kept);
        for (size_t i = 0; i <= length_before; i++) {
            locator[i + shift] ^= EXP[log_factor + log_before[i]];
            log_locator[i + shift] = LOG[locator[i + shift]];
        }
        if (longer) {
            memcpy(log_before, log_kept, sizeof log_before);
            length_before = length;
            length = n + 1 - length;
            log_discrepancy_before = LOG[discrepancy];
            shift = 0;
        }
    }
    return (int)length;
}

/* The points, ascending, at which two polynomials of 255 points have the same value; at most `points_max`. */
static size_t find_equal(const uint8_t *a, const uint8_t *b, uint8_t *point, size_t points_max)
{
    size_t n = 0;
    for (size_t i = 0; i < FIELD_POINTS; i += 8) {
        uint64_t word;
        uint64_t other;
        memcpy(&word, a + i, sizeof word);
        memcpy(&other, b + i, sizeof other);
        word ^= other;
        if (((word - 0x0101010101010101u) & ~word & 0x8080808080808080u) == 0)
            continue; /* no octet of it is 0 */
        for (size_t at = i; at < i + 8 && at < FIELD_POINTS && n < points_max; at++)
            if (a[at] == b[at])
                point[n++] = (uint8_t)at;
    }
    return n;
}

/* Correct a codeword of `length` symbols, `step` octets apart, that left `remainder`, which is not 0. Returns the
 * number of symbols corrected, or -1, having changed nothing.
 *
 * What it makes is a codeword, by construction. The recurrence holds for all syndromes, so with Omega(x) the product
 * of locator and syndromes below x^length, Omega / locator is the series of the syndromes. If the locator has
 * `length` different roots, that fraction is a sum of terms value / (1 - X x), one for each root 1 / X: so the
 * syndromes are those of symbols with these values at X, and XORing them leaves none. No value is 0, for without that
 * term the recurrence would be shorter. What lies in the virtual fill was not received, and cannot be wrong. */
static int correct(uint8_t *symbols, size_t length, size_t step, size_t parity, const uint8_t *remainder)
{
    uint8_t syndrome[PARITY_MAX];
    uint16_t log_syndrome[PARITY_MAX];
    find_syndromes(remainder, parity, syndrome);
    for (size_t i = 0; i < parity; i++)
        log_syndrome[i] = LOG[syndrome[i]];

    uint8_t locator[ERRORS_MAX + 1];
    int errors = find_locator(log_syndrome, syndrome, parity, parity / 2, locator);
    if (errors < 0)
        return -1;
    size_t n = (size_t)errors;

    /* Even and odd powers apart: their sum is the locator, and the odd ones are x times its derivative. */
    uint8_t half[ERRORS_MAX + 1] = {0};
    uint8_t even[FIELD_POINTS + 1];
    uint8_t odd[FIELD_POINTS + 1];
    for (size_t k = 0; k <= n; k += 2)
        half[k] = locator[k];
    evaluate(half, n + 1, 0, sizeof even, even);
    memset(half, 0, sizeof half);
    for (size_t k = 1; k <= n; k += 2)
        half[k] = locator[k];
    evaluate(half, n + 1, 0, sizeof odd, odd);
    uint8_t point[ERRORS_MAX];
    if (find_equal(even, odd, point, n) != n)
        return -1;
    size_t at[ERRORS_MAX];
    for (size_t i = 0; i < n; i++) {
        size_t degree = (FIELD_POINTS - point[i]) % FIELD_POINTS;
        if (degree >= length)
            return -1;
        at[i] = length - 1 - degree;
    }

    /* G. D. Forney, "On decoding BCH codes", IEEE Trans. Information Theory 11 (4), 1965: the value at X is
     * X^(1 - first) Omega / locator' at x = 1 / X, and that is x^first Omega / (x locator'). */
    uint8_t omega[ERRORS_MAX];
    for (size_t k = 0; k < n; k++) {
        omega[k] = syndrome[k];
        for (size_t i = 1; i <= k; i++)
            omega[k] ^= EXP[LOG[locator[i]] + log_syndrome[k - i]];
    }
    uint8_t value[FIELD_POINTS + 1];
    evaluate(omega, n, 0, sizeof value, value);
    size_t first = 128 - parity / 2;
    for (size_t i = 0; i < n; i++) {
        size_t x = point[i];
        size_t log_value = x * first + LOG[value[x]] + FIELD_POINTS - LOG[odd[x]];
        symbols[at[i] * step] ^= EXP[log_value % FIELD_POINTS];
    }
    return errors;
}

static int64_t decode(const division *by_lanes, uint8_t *units, size_t count, size_t stride, size_t data_octets,
                      size_t parity, size_t interleave, int8_t *corrected)
{
    static const remainder_of NOTHING;
    remainder_of remainder[INTERLEAVE_MAX];
    size_t symbols = data_octets / interleave;
    int64_t uncorrectable = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t *unit = units + i * stride;
        divide_unit(by_lanes, unit, symbols, interleave, remainder);
        const uint8_t *check = unit + data_octets;
        for (size_t symbol = 0; symbol < parity; symbol++)
            for (size_t codeword = 0; codeword < interleave; codeword++)
                remainder[codeword][symbol] ^= *check++;
        for (size_t codeword = 0; codeword < interleave; codeword++) {
            int errors = 0;
            if (memcmp(remainder[codeword], NOTHING, parity) != 0)
                errors = correct(unit + codeword, symbols + parity, interleave, parity, remainder[codeword]);
            *corrected++ = (int8_t)errors;
            uncorrectable += errors < 0;
        }
    }
    return uncorrectable;
}

int64_t ob_rs_encode_portable(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets,
                              uint32_t parity, uint32_t interleave)
{
    if (!fits(octets, count, stride, data_octets, parity, interleave))
        return OB_E_LAYOUT;
    return encode(portable_divisions(parity), units, count, stride, data_octets, parity, interleave);
}

int64_t ob_rs_encode(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets, uint32_t parity,
                     uint32_t interleave)
{
    if (!fits(octets, count, stride, data_octets, parity, interleave))
        return OB_E_LAYOUT;
    return encode(divisions(parity), units, count, stride, data_octets, parity, interleave);
}

int64_t ob_rs_decode_portable(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets,
                              uint32_t parity, uint32_t interleave, int8_t *corrected, size_t corrected_count)
{
    if (!fits(octets, count, stride, data_octets, parity, interleave))
        return OB_E_LAYOUT;
    if (corrected_count / interleave < count)
        return OB_E_SPACE;
    return decode(portable_divisions(parity), units, count, stride, data_octets, parity, interleave, corrected);
}

int64_t ob_rs_decode(uint8_t *units, size_t octets, size_t count, size_t stride, size_t data_octets, uint32_t parity,
                     uint32_t interleave, int8_t *corrected, size_t corrected_count)
{
    if (!fits(octets, count, stride, data_octets, parity, interleave))
        return OB_E_LAYOUT;
    if (corrected_count / interleave < count)
        return OB_E_SPACE;
    return decode(divisions(parity), units, count, stride, data_octets, parity, interleave, corrected);
}
