/* Tables of linear functions of an octet, spanned by what the eight single-bit octets give. Private to the kernels.
 *
 * ROW(type, f(0x01), f(0x02), ... f(0x80)) is the initializer of a table of 256: constant expressions, so that a table
 * costs its source eight numbers and its reader no trust.
 */
#ifndef OB_SPAN_H
#define OB_SPAN_H

#define OB_SUM(type, i, a, b, c, d, e, f, g, h)                                                          \
    (type)(((i) & 1 ? a : 0) ^ ((i) & 2 ? b : 0) ^ ((i) & 4 ? c : 0) ^ ((i) & 8 ? d : 0) ^               \
           ((i) & 16 ? e : 0) ^ ((i) & 32 ? f : 0) ^ ((i) & 64 ? g : 0) ^ ((i) & 128 ? h : 0))
#define OB_SUM4(type, i, ...)                                                                            \
    OB_SUM(type, i, __VA_ARGS__), OB_SUM(type, (i) + 1, __VA_ARGS__), OB_SUM(type, (i) + 2, __VA_ARGS__), \
        OB_SUM(type, (i) + 3, __VA_ARGS__)
#define OB_SUM16(type, i, ...)                                                                               \
    OB_SUM4(type, i, __VA_ARGS__), OB_SUM4(type, (i) + 4, __VA_ARGS__), OB_SUM4(type, (i) + 8, __VA_ARGS__), \
        OB_SUM4(type, (i) + 12, __VA_ARGS__)
#define OB_SUM64(type, i, ...)                                                                                   \
    OB_SUM16(type, i, __VA_ARGS__), OB_SUM16(type, (i) + 16, __VA_ARGS__), OB_SUM16(type, (i) + 32, __VA_ARGS__), \
        OB_SUM16(type, (i) + 48, __VA_ARGS__)
#define ROW(type, ...)                                                                                          \
    {                                                                                                           \
        OB_SUM64(type, 0, __VA_ARGS__), OB_SUM64(type, 64, __VA_ARGS__), OB_SUM64(type, 128, __VA_ARGS__),      \
            OB_SUM64(type, 192, __VA_ARGS__)                                                                    \
    }

#endif
