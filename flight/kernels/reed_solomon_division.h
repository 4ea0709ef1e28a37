/* Division by the generator polynomial: what `lanes` codewords of one interleave leave. reed_solomon.c includes this
 * once for each kind of register: KIND(x) is the name of x for it, TABLE the rows of REMAINDER_*.
 *
 * The register holds the remainder so far, first octet first. A step takes four symbols: they meet the four highest
 * octets, and each sum adds a row of its own table to the others, moved up by four. The four look-ups do not wait for
 * each other, but the next step waits for them; so several codewords go side by side, as many as the interleave has.
 * The first step takes what is left over of a multiple of four, as if zeros stood in front.
 */
#define ROW(slice, octet) (TABLE[slice][(uint8_t)(octet)])

KIND_TARGET static ALWAYS_INLINE void KIND(divide)(const uint8_t *at, size_t symbols, size_t step, size_t lanes,
                                                   remainder_of *remainder)
{
    KIND(register) state[LANES_MAX];
    for (size_t lane = 0; lane < lanes; lane++)
        state[lane] = KIND(zero)();
    for (size_t slice = symbols % 4; slice > 0; slice--, at += step)
        for (size_t lane = 0; lane < lanes; lane++)
            state[lane] = KIND(add)(state[lane], KIND(load)(ROW(slice - 1, at[lane])));
    for (symbols -= symbols % 4; symbols > 0; symbols -= 4, at += 4 * step)
        for (size_t lane = 0; lane < lanes; lane++) {
            uint32_t top = KIND(top)(state[lane]);
            KIND(register) a = KIND(load)(ROW(3, top ^ at[lane]));
            KIND(register) b = KIND(load)(ROW(2, top >> 8 ^ at[lane + step]));
            KIND(register) c = KIND(load)(ROW(1, top >> 16 ^ at[lane + 2 * step]));
            KIND(register) d = KIND(load)(ROW(0, top >> 24 ^ at[lane + 3 * step]));
            state[lane] = KIND(add)(KIND(add)(KIND(move_up)(state[lane]), KIND(add)(a, b)), KIND(add)(c, d));
        }
    for (size_t lane = 0; lane < lanes; lane++)
        KIND(store)(state[lane], remainder[lane]);
}

KIND_TARGET static void KIND(divide_1)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder)
{
    KIND(divide)(at, symbols, step, 1, remainder);
}

KIND_TARGET static void KIND(divide_2)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder)
{
    KIND(divide)(at, symbols, step, 2, remainder);
}

KIND_TARGET static void KIND(divide_3)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder)
{
    KIND(divide)(at, symbols, step, 3, remainder);
}

KIND_TARGET static void KIND(divide_4)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder)
{
    KIND(divide)(at, symbols, step, 4, remainder);
}

KIND_TARGET static void KIND(divide_5)(const uint8_t *at, size_t symbols, size_t step, remainder_of *remainder)
{
    KIND(divide)(at, symbols, step, 5, remainder);
}

static const division KIND(by_lanes)[LANES_MAX] = {KIND(divide_1), KIND(divide_2), KIND(divide_3), KIND(divide_4),
                                                   KIND(divide_5)};

#undef ROW
#undef KIND
#undef KIND_TARGET
#undef TABLE
