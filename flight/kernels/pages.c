/* Large pages for large results: a hint to the operating system, without which fresh memory costs more than filling it.
 *
 * The first write to each page of 4 KiB is a fault of its own; Linux may give 2 MiB at once if it is asked to. Only
 * whole pages within the block are asked for. The answer is of no interest: without large pages it is only slower.
 */
#define _DEFAULT_SOURCE
#include "orbitnode_kernels.h"

#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

void ob_prefer_large_pages(uint8_t *block, size_t octets)
{
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t start = ((uintptr_t)block + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)block + octets) / page * page;
    if (start < end)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)block;
    (void)octets;
#endif
}
