/* The control loop of the lateness benchmark: absolute ticks by clock_nanosleep(2), nothing else.
 *
 *     nanosleep PERIOD_NS TICKS
 *
 * prints the lateness of every tick in nanoseconds, one a line, after the last one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NANO 1000000000

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NANO + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    const int64_t period_ns = atoll(argv[1]);
    const long ticks = atol(argv[2]);
    int64_t *late_ns = calloc((size_t)ticks, sizeof *late_ns);
    if (late_ns == NULL)
        return 1;
    int64_t due_ns = now_ns();
    for (long i = 0; i < ticks; i++) {
        due_ns += period_ns;
        const struct timespec due = {.tv_sec = due_ns / NANO, .tv_nsec = due_ns % NANO};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
            ;
        late_ns[i] = now_ns() - due_ns;
    }
    for (long i = 0; i < ticks; i++)
        printf("%" PRId64 "\n", late_ns[i]);
    free(late_ns);
    return 0;
}
