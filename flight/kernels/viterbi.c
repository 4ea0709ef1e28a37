/* Viterbi decoder of the convolutional code of CCSDS 131.0-B-5, 3.3: soft decisions, an endless stream.
 *
 * A state is the encoder's memory, the newest bit lowest. States i and i + 32 both lead to 2i (bit 0) and 2i + 1
 * (bit 1): a butterfly. Both generators have their first and their last tap, so the two branches into a state cost m
 * and 510 - m; taken from 255 they are +h and -h, and h has one of four values in each step.
 *
 * Metrics are 16 bits wide and exact. Every state is reached from every other in six steps, so metrics differ by at
 * most 6 * 510, from the start of a stream by at most START_COST + 6 * 510. A step moves them by at most 255. They are
 * taken relative to state 0 every 16 steps, so they stay within +-(7156 + 16 * 255).
 *
 * Paths: each state carries along its decisions of the last 16 steps (register exchange), the bit that fell out of
 * the memory at each step, the oldest highest. Tracing back is then one look-up for 16 bits: the path into a state,
 * with the state's own six bits behind it, is the 22 bits since six steps before; the first six are the state at the
 * start, the last sixteen are the data. A tie goes to the lower state, with every kind of instructions: so all paths
 * through this file give the same bits from the same symbols.
 *
 * The delay. Followed back from the newest step, the paths of all states run together within some five constraint
 * lengths, nearly always; 128 bits are eighteen of them. So a bit that is decided after as many later ones is nearly
 * always the one that the best path of the whole stream would give.
 */
#include <string.h>

#include "cpu.h"
#include "orbitnode_kernels.h"

#ifdef OB_X86
#define AVX2 __attribute__((target("avx2")))
#endif

#define STATES 64
#define BUTTERFLIES 32
#define GROUP_BITS 16 /* steps whose decisions fit a path */
#define WINDOW_BITS (OB_VITERBI_DELAY_BITS + OB_VITERBI_BLOCK_BITS)
#define WINDOW_GROUPS (WINDOW_BITS / GROUP_BITS)
#define DELAY_GROUPS (OB_VITERBI_DELAY_BITS / GROUP_BITS)
#define BLOCK_GROUPS (OB_VITERBI_BLOCK_BITS / GROUP_BITS)
#define WINDOW_SYMBOLS (2 * WINDOW_BITS)
#define DELAY_SYMBOLS (2 * OB_VITERBI_DELAY_BITS)
#define BLOCK_SYMBOLS (2 * OB_VITERBI_BLOCK_BITS)
#define BLOCK_OCTETS (OB_VITERBI_BLOCK_BITS / 8)
#define START_COST 4096 /* more than six steps can cost: no path from another state wins */

_Static_assert(sizeof((ob_viterbi *)0)->paths == WINDOW_GROUPS * STATES * sizeof(uint16_t), "the window's paths");
_Static_assert(sizeof((ob_viterbi *)0)->metrics == STATES * sizeof(int16_t), "a metric a state");
_Static_assert(sizeof((ob_viterbi *)0)->symbols == WINDOW_SYMBOLS, "the window's symbols");
_Static_assert(OB_VITERBI_FLUSH_OCTETS == (WINDOW_BITS - 1) / 8, "what a window less one symbol holds");

/* 2 * C1 + C2, as the encoder gives them for bit 0 in state i < 32. It says which h the butterfly has: the cost of the
 * symbols, each 0..255, that lead from i to 2i, less 255. The four are equal, mixed, -mixed and -equal, where
 * equal = first + second - 255 and mixed = first - second. */
#define TAP(i, n) ((i) >> ((n)-1) & 1)
#define KIND(i) (2 * (TAP(i, 1) ^ TAP(i, 2) ^ TAP(i, 3)) + !(TAP(i, 2) ^ TAP(i, 3) ^ TAP(i, 5)))

/* --- Portable: loops that compilers turn into vector instructions of any kind. --- */

#define ROW4(f, i) f(i), f((i) + 1), f((i) + 2), f((i) + 3)
#define ROW16(f, i) ROW4(f, i), ROW4(f, (i) + 4), ROW4(f, (i) + 8), ROW4(f, (i) + 12)
#define MIXED(i) (KIND(i) == 1 || KIND(i) == 2 ? -1 : 0)
#define NEGATIVE(i) (KIND(i) >= 2 ? -1 : 0)
static const int16_t IS_MIXED[BUTTERFLIES] = {ROW16(MIXED, 0), ROW16(MIXED, 16)};
static const int16_t IS_NEGATIVE[BUTTERFLIES] = {ROW16(NEGATIVE, 0), ROW16(NEGATIVE, 16)};

static inline void step(const uint8_t symbols[2], uint16_t bit, const int16_t *restrict metric,
                        const uint16_t *restrict path, int16_t *restrict next_metric, uint16_t *restrict next_path)
{
    int16_t equal = (int16_t)(symbols[0] + symbols[1] - 255);
    int16_t mixed = (int16_t)(symbols[0] - symbols[1]);
    int16_t change = (int16_t)(equal ^ mixed);
    for (size_t i = 0; i < BUTTERFLIES; i++) {
        int16_t h = (int16_t)(equal ^ (change & IS_MIXED[i]));
        h = (int16_t)((h ^ IS_NEGATIVE[i]) - IS_NEGATIVE[i]);
        int16_t low0 = (int16_t)(metric[i] + h);
        int16_t low1 = (int16_t)(metric[i] - h);
        int16_t high0 = (int16_t)(metric[i + BUTTERFLIES] - h);
        int16_t high1 = (int16_t)(metric[i + BUTTERFLIES] + h);
        uint16_t low_path = path[i];
        uint16_t high_path = (uint16_t)(path[i + BUTTERFLIES] | bit);
        next_metric[2 * i] = low0 > high0 ? high0 : low0;
        next_metric[2 * i + 1] = low1 > high1 ? high1 : low1;
        next_path[2 * i] = low0 > high0 ? high_path : low_path;
        next_path[2 * i + 1] = low1 > high1 ? high_path : low_path;
    }
}

/* Up to 16 steps, from `metrics` to `metrics` and the paths they took. */
static void walk_group(int16_t *metrics, uint16_t *paths, const uint8_t *symbols, size_t steps)
{
    int16_t metric[2][STATES];
    uint16_t path[2][STATES] = {{0}};
    for (size_t i = 0; i < STATES; i++)
        metric[0][i] = (int16_t)(metrics[i] - metrics[0]);
    for (size_t t = 0; t < steps; t++) {
        size_t from = t % 2;
        step(symbols + 2 * t, (uint16_t)(0x8000u >> t), metric[from], path[from], metric[!from], path[!from]);
    }
    memcpy(metrics, metric[steps % 2], sizeof metric[0]);
    memcpy(paths, path[steps % 2], sizeof path[0]);
}

#ifdef OB_X86
/* --- AVX2: four registers of sixteen states, their metrics and their paths. --- */

/* In a step the outputs for bit 0 and for bit 1 are to be woven into neighbours. Across a whole register that takes
 * twice the shuffles that it takes within its two lanes, so the order of the states is let go for three steps: in one
 * step of four the two outputs are joined lane by lane, in the other three they are woven within lanes, and then the
 * order is natural again. The lower states of the butterflies stand in registers j = 0 and 1; which bits of a state's
 * number say where:
 *
 *     step   register   lane   place in the lane, highest bit first
 *     0      4          3      2 1 0
 *     1      4          0      3 2 1
 *     2      4          1      3 2 0
 *     3      4          2      3 1 0
 */
#define HALF(i) 2 * KIND(i), 2 * KIND(i) + 1
#define LANE(a, b, c, d, e, f, g, h) HALF(a), HALF(b), HALF(c), HALF(d), HALF(e), HALF(f), HALF(g), HALF(h)
#define LANE0(j, k) \
    LANE(j + k, j + k + 1, j + k + 2, j + k + 3, j + k + 4, j + k + 5, j + k + 6, j + k + 7)
#define LANE1(j, k) \
    LANE(j + k, j + k + 2, j + k + 4, j + k + 6, j + k + 8, j + k + 10, j + k + 12, j + k + 14)
#define LANE2(j, k) \
    LANE(j + k, j + k + 1, j + k + 4, j + k + 5, j + k + 8, j + k + 9, j + k + 12, j + k + 13)
#define LANE3(j, k) \
    LANE(j + k, j + k + 1, j + k + 2, j + k + 3, j + k + 8, j + k + 9, j + k + 10, j + k + 11)

/* For each step of four, for each j, the places of the octets of h among the four costs. */
static const uint8_t H_AVX2[4][2][32] = {
    {{LANE0(0, 0), LANE0(0, 8)}, {LANE0(16, 0), LANE0(16, 8)}},
    {{LANE1(0, 0), LANE1(0, 1)}, {LANE1(16, 0), LANE1(16, 1)}},
    {{LANE2(0, 0), LANE2(0, 2)}, {LANE2(16, 0), LANE2(16, 2)}},
    {{LANE3(0, 0), LANE3(0, 4)}, {LANE3(16, 0), LANE3(16, 4)}},
};

AVX2 static inline __m256i load(const void *from) { return _mm256_loadu_si256((const __m256i *)from); }
AVX2 static inline void store(void *to, __m256i value) { _mm256_storeu_si256((__m256i *)to, value); }

/* The four costs of each of sixteen steps. */
AVX2 static inline void costs_avx2(const uint8_t *symbols, int16_t costs[GROUP_BITS][4])
{
    __m256i pairs = load(symbols);
    __m256i first = _mm256_and_si256(pairs, _mm256_set1_epi16(0xFF));
    __m256i second = _mm256_srli_epi16(pairs, 8);
    __m256i equal = _mm256_sub_epi16(_mm256_add_epi16(first, second), _mm256_set1_epi16(255));
    __m256i mixed = _mm256_sub_epi16(first, second);
    __m256i not_mixed = _mm256_sub_epi16(second, first);
    __m256i not_equal = _mm256_sub_epi16(_mm256_setzero_si256(), equal);
    __m256i low = _mm256_unpacklo_epi16(equal, mixed);
    __m256i high = _mm256_unpackhi_epi16(equal, mixed);
    __m256i not_low = _mm256_unpacklo_epi16(not_mixed, not_equal);
    __m256i not_high = _mm256_unpackhi_epi16(not_mixed, not_equal);
    __m256i fours[4] = {_mm256_unpacklo_epi32(low, not_low), _mm256_unpackhi_epi32(low, not_low),
                        _mm256_unpacklo_epi32(high, not_high), _mm256_unpackhi_epi32(high, not_high)};
    for (size_t k = 0; k < 4; k++) {
        _mm_storeu_si128((__m128i *)(void *)costs[2 * k], _mm256_castsi256_si128(fours[k]));
        _mm_storeu_si128((__m128i *)(void *)costs[2 * k + 8], _mm256_extracti128_si256(fours[k], 1));
    }
}

AVX2 static inline __m256i chosen(__m256i low, __m256i difference, __m256i high_wins)
{
    return _mm256_xor_si256(low, _mm256_and_si256(difference, high_wins));
}

/* The outputs for bit 0 and bit 1 to two registers of states: by lanes, or woven within lanes. */
AVX2 static inline void join(int by_lanes, __m256i for0, __m256i for1, __m256i *next)
{
    next[0] = by_lanes ? _mm256_permute2x128_si256(for0, for1, 0x20) : _mm256_unpacklo_epi16(for0, for1);
    next[1] = by_lanes ? _mm256_permute2x128_si256(for0, for1, 0x31) : _mm256_unpackhi_epi16(for0, for1);
}

AVX2 static inline void step_avx2(size_t turn, const int16_t costs[4], __m256i bit, __m256i metric[4], __m256i path[4])
{
    __m256i next_metric[4];
    __m256i next_path[4];
    int64_t four;
    memcpy(&four, costs, sizeof four);
    __m256i all = _mm256_set1_epi64x(four);
    for (size_t j = 0; j < 2; j++) {
        __m256i h = _mm256_shuffle_epi8(all, load(H_AVX2[turn][j]));
        __m256i low0 = _mm256_add_epi16(metric[j], h);
        __m256i low1 = _mm256_sub_epi16(metric[j], h);
        __m256i high0 = _mm256_sub_epi16(metric[j + 2], h);
        __m256i high1 = _mm256_add_epi16(metric[j + 2], h);
        __m256i difference = _mm256_xor_si256(path[j], _mm256_or_si256(path[j + 2], bit));
        __m256i path0 = chosen(path[j], difference, _mm256_cmpgt_epi16(low0, high0));
        __m256i path1 = chosen(path[j], difference, _mm256_cmpgt_epi16(low1, high1));
        join(turn == 0, _mm256_min_epi16(low0, high0), _mm256_min_epi16(low1, high1), next_metric + 2 * j);
        join(turn == 0, path0, path1, next_path + 2 * j);
    }
    for (size_t k = 0; k < 4; k++) {
        metric[k] = next_metric[k];
        path[k] = next_path[k];
    }
}

AVX2 static void walk_avx2(int16_t *metrics, uint16_t *paths, const uint8_t *symbols, size_t groups)
{
    int16_t costs[GROUP_BITS][4];
    __m256i metric[4];
    __m256i path[4];
    for (size_t k = 0; k < 4; k++)
        metric[k] = load(metrics + 16 * k);
    for (; groups > 0; groups--) {
        costs_avx2(symbols, costs);
        __m256i base = _mm256_broadcastw_epi16(_mm256_castsi256_si128(metric[0]));
        for (size_t k = 0; k < 4; k++) {
            metric[k] = _mm256_sub_epi16(metric[k], base);
            path[k] = _mm256_setzero_si256();
        }
        __m256i bit = _mm256_set1_epi16((int16_t)0x8000);
        for (size_t t = 0; t < GROUP_BITS; t += 4) {
            for (size_t turn = 0; turn < 4; turn++) {
                step_avx2(turn, costs[t + turn], bit, metric, path);
                bit = _mm256_srli_epi16(bit, 1);
            }
        }
        for (size_t k = 0; k < 4; k++)
            store(paths + 16 * k, path[k]);
        symbols += 2 * GROUP_BITS;
        paths += STATES;
    }
    for (size_t k = 0; k < 4; k++)
        store(metrics + 16 * k, metric[k]);
}
#endif

#ifdef OB_ARM
/* --- NEON: eight registers of eight states, woven into natural order at each step. --- */

#define HALF(i) 2 * KIND(i), 2 * KIND(i) + 1
static const uint8_t H_NEON[2 * BUTTERFLIES] = {ROW16(HALF, 0), ROW16(HALF, 16)};

/* The four costs of each of sixteen steps. */
static inline void costs_neon(const uint8_t *symbols, int16_t costs[GROUP_BITS][4])
{
    for (size_t t = 0; t < GROUP_BITS; t += 8) {
        uint8x8x2_t pairs = vld2_u8(symbols + 2 * t);
        int16x8_t equal = vsubq_s16(vreinterpretq_s16_u16(vaddl_u8(pairs.val[0], pairs.val[1])), vdupq_n_s16(255));
        int16x8_t mixed = vreinterpretq_s16_u16(vsubl_u8(pairs.val[0], pairs.val[1]));
        int16x8x4_t fours = {{equal, mixed, vnegq_s16(mixed), vnegq_s16(equal)}};
        vst4q_s16(costs[t], fours);
    }
}

static inline void step_neon(const int16_t costs[4], uint16x8_t bit, const uint8x16_t where[4], int16x8_t metric[8],
                             uint16x8_t path[8])
{
    int16x8_t next_metric[8];
    uint16x8_t next_path[8];
    uint8x16_t all = vreinterpretq_u8_s16(vcombine_s16(vld1_s16(costs), vdup_n_s16(0)));
    for (size_t j = 0; j < 4; j++) {
        int16x8_t h = vreinterpretq_s16_u8(vqtbl1q_u8(all, where[j]));
        int16x8_t low0 = vaddq_s16(metric[j], h);
        int16x8_t low1 = vsubq_s16(metric[j], h);
        int16x8_t high0 = vsubq_s16(metric[j + 4], h);
        int16x8_t high1 = vaddq_s16(metric[j + 4], h);
        uint16x8_t high_path = vorrq_u16(path[j + 4], bit);
        uint16x8_t path0 = vbslq_u16(vcgtq_s16(low0, high0), high_path, path[j]);
        uint16x8_t path1 = vbslq_u16(vcgtq_s16(low1, high1), high_path, path[j]);
        int16x8_t metric0 = vminq_s16(low0, high0);
        int16x8_t metric1 = vminq_s16(low1, high1);
        next_metric[2 * j] = vzip1q_s16(metric0, metric1);
        next_metric[2 * j + 1] = vzip2q_s16(metric0, metric1);
        next_path[2 * j] = vzip1q_u16(path0, path1);
        next_path[2 * j + 1] = vzip2q_u16(path0, path1);
    }
    for (size_t k = 0; k < 8; k++) {
        metric[k] = next_metric[k];
        path[k] = next_path[k];
    }
}

static void walk_neon(int16_t *metrics, uint16_t *paths, const uint8_t *symbols, size_t groups)
{
    int16_t costs[GROUP_BITS][4];
    int16x8_t metric[8];
    uint16x8_t path[8];
    uint8x16_t where[4];
    for (size_t j = 0; j < 4; j++)
        where[j] = vld1q_u8(H_NEON + 16 * j);
    for (size_t k = 0; k < 8; k++)
        metric[k] = vld1q_s16(metrics + 8 * k);
    for (; groups > 0; groups--) {
        costs_neon(symbols, costs);
        int16x8_t base = vdupq_laneq_s16(metric[0], 0);
        for (size_t k = 0; k < 8; k++) {
            metric[k] = vsubq_s16(metric[k], base);
            path[k] = vdupq_n_u16(0);
        }
        uint16x8_t bit = vdupq_n_u16(0x8000);
        for (size_t t = 0; t < GROUP_BITS; t++) {
            step_neon(costs[t], bit, where, metric, path);
            bit = vshrq_n_u16(bit, 1);
        }
        for (size_t k = 0; k < 8; k++)
            vst1q_u16(paths + 8 * k, path[k]);
        symbols += 2 * GROUP_BITS;
        paths += STATES;
    }
    for (size_t k = 0; k < 8; k++)
        vst1q_s16(metrics + 8 * k, metric[k]);
}
#endif

/* --- The stream. --- */

/* Walk so many groups by the vector instructions of this processor. Returns how many it walked: none without them. */
static size_t walk_vectors(int16_t *metrics, uint16_t *paths, const uint8_t *symbols, size_t groups)
{
#ifdef OB_X86
    if (has_avx2()) {
        walk_avx2(metrics, paths, symbols, groups);
        return groups;
    }
#endif
#ifdef OB_ARM
    walk_neon(metrics, paths, symbols, groups);
    return groups;
#endif
    (void)metrics, (void)paths, (void)symbols, (void)groups;
    return 0;
}

/* Walk the trellis from the end of the last walk up to step `steps` of the window. */
static void walk(ob_viterbi *decoder, size_t steps)
{
    size_t at = decoder->walked;
    uint16_t *paths = decoder->paths + at / GROUP_BITS * STATES;
    if (!decoder->portable) {
        size_t groups = walk_vectors(decoder->metrics, paths, decoder->symbols + 2 * at, (steps - at) / GROUP_BITS);
        at += groups * GROUP_BITS;
        paths += groups * STATES;
    }
    for (; at < steps; at += GROUP_BITS, paths += STATES) {
        size_t left = steps - at;
        walk_group(decoder->metrics, paths, decoder->symbols + 2 * at, left < GROUP_BITS ? left : GROUP_BITS);
    }
}

static uint32_t best_state(const int16_t *metrics)
{
    uint32_t best = 0;
    for (uint32_t state = 1; state < STATES; state++)
        if (metrics[state] < metrics[best])
            best = state;
    return best;
}

/* The data of the path that leads to `state` at `steps`, whole groups of bits; returns the state it came from. */
static uint32_t trace_back(const uint16_t *paths, size_t steps, uint32_t state, uint8_t *data)
{
    for (size_t group = (steps + GROUP_BITS - 1) / GROUP_BITS; group > 0; group--) {
        size_t at = (group - 1) * GROUP_BITS;
        size_t count = steps - at < GROUP_BITS ? steps - at : GROUP_BITS;
        uint32_t path = paths[(group - 1) * STATES + state];
        uint32_t bits = path >> (GROUP_BITS - count) << 6 | state;
        uint32_t word = bits << (GROUP_BITS - count);
        data[at / 8] = (uint8_t)(word >> 8);
        data[at / 8 + 1] = (uint8_t)word;
        state = bits >> count & (STATES - 1);
    }
    return state;
}

static inline uint64_t sum_of_octets(uint64_t counts)
{
    const uint64_t even = 0x00FF00FF00FF00FFu;
    return ((counts & even) + (counts >> 8 & even)) * 0x0001000100010001u >> 48;
}

/* Count the symbols that differ from `octets` of data encoded from `state`: eight at once, each place counting for
 * itself, at most 2 * OB_VITERBI_FLUSH_OCTETS times. */
static void compare(ob_viterbi *decoder, const uint8_t *data, size_t octets, uint32_t state)
{
    static const uint8_t PLACES[8] = {0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01};
    const uint64_t ones = 0x0101010101010101u;
    uint8_t encoded[WINDOW_SYMBOLS / 8];
    uint8_t memory = (uint8_t)state;
    (void)ob_convolve(data, octets, encoded, sizeof encoded, &memory);
    uint64_t places;
    uint64_t errors = 0;
    uint64_t erasures = 0;
    memcpy(&places, PLACES, sizeof places);
    for (size_t i = 0; i < 2 * octets; i++) {
        uint64_t symbols;
        memcpy(&symbols, decoder->symbols + 8 * i, sizeof symbols);
        uint64_t hard = symbols >> 7 & ones;
        uint64_t distance = symbols ^ hard * 0xFF; /* 0 surely so .. 127 an erasure */
        uint64_t erased = (distance + ones) >> 7 & ones;
        uint64_t sent = ((encoded[i] * ones & places) + 0x7F * ones) >> 7 & ones;
        errors += (hard ^ sent) & ~erased;
        erasures += erased;
    }
    decoder->symbols_compared += 16 * octets - sum_of_octets(erasures);
    decoder->symbol_errors += sum_of_octets(errors);
}

static void begin(ob_viterbi *decoder, int32_t from_zero)
{
    for (size_t state = 0; state < STATES; state++)
        decoder->metrics[state] = from_zero && state > 0 ? START_COST : 0;
    decoder->held = 0;
    decoder->walked = 0;
}

void ob_viterbi_start(ob_viterbi *decoder, int32_t from_zero)
{
    memset(decoder, 0, sizeof *decoder);
    begin(decoder, from_zero);
}

void ob_viterbi_start_portable(ob_viterbi *decoder, int32_t from_zero)
{
    ob_viterbi_start(decoder, from_zero);
    decoder->portable = 1;
}

/* A window is never full between calls, and a walk goes on only from the end of a block. */
static int is_sound(const ob_viterbi *decoder)
{
    if (decoder->walked == 0)
        return decoder->held < WINDOW_SYMBOLS;
    return decoder->walked == OB_VITERBI_DELAY_BITS && decoder->held >= DELAY_SYMBOLS &&
           decoder->held < WINDOW_SYMBOLS;
}

int64_t ob_viterbi_octets(const ob_viterbi *decoder, size_t symbols)
{
    if (!is_sound(decoder))
        return OB_E_LAYOUT;
    size_t room = WINDOW_SYMBOLS - decoder->held;
    return symbols < room ? 0 : (int64_t)((1 + (symbols - room) / BLOCK_SYMBOLS) * BLOCK_OCTETS);
}

/* Deliver the older part of a full window, and keep the newer. */
static void deliver_block(ob_viterbi *decoder, uint8_t *out)
{
    uint8_t data[WINDOW_BITS / 8];
    walk(decoder, WINDOW_BITS);
    uint32_t state = trace_back(decoder->paths, WINDOW_BITS, best_state(decoder->metrics), data);
    compare(decoder, data, BLOCK_OCTETS, state);
    memcpy(out, data, BLOCK_OCTETS);
    memmove(decoder->paths, decoder->paths + BLOCK_GROUPS * STATES, DELAY_GROUPS * STATES * sizeof decoder->paths[0]);
    memmove(decoder->symbols, decoder->symbols + BLOCK_SYMBOLS, DELAY_SYMBOLS);
    decoder->held = DELAY_SYMBOLS;
    decoder->walked = OB_VITERBI_DELAY_BITS;
}

int64_t ob_viterbi_decode(ob_viterbi *decoder, const uint8_t *symbols, size_t count, uint8_t *out, size_t out_octets)
{
    int64_t due = ob_viterbi_octets(decoder, count);
    if (due < 0)
        return due;
    if (out_octets < (size_t)due)
        return OB_E_SPACE;
    while (count > 0) {
        size_t room = WINDOW_SYMBOLS - decoder->held;
        size_t taken = count < room ? count : room;
        memcpy(decoder->symbols + decoder->held, symbols, taken);
        decoder->held += (uint32_t)taken;
        symbols += taken;
        count -= taken;
        if (decoder->held == WINDOW_SYMBOLS) {
            deliver_block(decoder, out);
            out += BLOCK_OCTETS;
        }
    }
    return due;
}

int64_t ob_viterbi_flush(ob_viterbi *decoder, int32_t to_zero, uint8_t *out, size_t out_octets)
{
    if (!is_sound(decoder))
        return OB_E_LAYOUT;
    size_t steps = decoder->held / 2;
    if (out_octets < steps / 8)
        return OB_E_SPACE;
    uint8_t data[WINDOW_BITS / 8];
    walk(decoder, steps);
    uint32_t state = trace_back(decoder->paths, steps, to_zero ? 0 : best_state(decoder->metrics), data);
    compare(decoder, data, steps / 8, state);
    if (steps >= 8)
        memcpy(out, data, steps / 8);
    begin(decoder, to_zero);
    return (int64_t)(steps / 8);
}
