/* What the processor can do, asked at run time: one build serves every board of its kind. Private to the kernels.
 *
 * OB_X86 and OB_ARM say which vector instructions the compiler may be asked for; a has_*() says whether this processor
 * has them. NEON needs no question: every aarch64 processor has it. Each vector path has a portable one that it must
 * equal, and a function `..._portable` by which tests reach that one on every processor.
 */
#ifndef OB_CPU_H
#define OB_CPU_H

#if defined(__x86_64__) && defined(__GNUC__)
#define OB_X86 1
#include <immintrin.h>

static inline int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
static inline int has_vpclmul(void) { return has_avx2() && __builtin_cpu_supports("vpclmulqdq"); }
static inline int has_pclmul(void) { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3"); }

#elif defined(__aarch64__) && defined(__linux__)
#define OB_ARM 1
#include <arm_neon.h>
#include <sys/auxv.h>

/* Functions that multiply without carry. Clang before 16 has the instruction only if the whole build asks for it. */
#if !defined(__AARCH64EL__)
#elif !defined(__clang__)
#define OB_PMULL __attribute__((target("+crypto")))
#elif __clang_major__ >= 16
#define OB_PMULL __attribute__((target("aes")))
#elif defined(__ARM_FEATURE_CRYPTO)
#define OB_PMULL
#endif

#define OB_HWCAP_PMULL (1ul << 4) /* arch/arm64/include/uapi/asm/hwcap.h */
static inline int has_pmull(void) { return (getauxval(AT_HWCAP) & OB_HWCAP_PMULL) != 0; }
#endif

#endif
