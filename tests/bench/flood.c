/* Sends datagrams at a rate, as somebody would who knows the node's port.
 *
 *     flood PORT RATE SECONDS FILE
 *
 * FILE holds the datagrams, each behind its length in two octets, most significant first; they are sent in turn to
 * 127.0.0.1. Prints how many were sent and in how many seconds. Those that are late are made up for within 20 ms.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NANO 1000000000
#define TURN_NS 500000
#define MAX 65536
#define BATCH 256

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NANO + now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    const double rate = atof(argv[2]);
    const int64_t length_ns = (int64_t)(atof(argv[3]) * NANO);
    FILE *file = fopen(argv[4], "rb");
    static struct iovec all[MAX];
    size_t count = 0;
    for (int high; file != NULL && count < MAX && (high = fgetc(file)) != EOF; count++) {
        all[count].iov_len = (size_t)(high << 8 | fgetc(file));
        all[count].iov_base = malloc(all[count].iov_len);
        if (all[count].iov_base == NULL || fread(all[count].iov_base, 1, all[count].iov_len, file) != all[count].iov_len)
            return 1;
    }
    struct sockaddr_in node = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    node.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int port = socket(AF_INET, SOCK_DGRAM, 0);
    if (count == 0 || port < 0 || connect(port, (struct sockaddr *)&node, sizeof node) != 0)
        return 1;
    static struct mmsghdr batch[BATCH];
    int64_t sent = 0, shift = 0;
    const int64_t begin_ns = now_ns();
    for (int64_t at_ns = begin_ns; at_ns - begin_ns < length_ns; at_ns = now_ns()) {
        int64_t due = (int64_t)((double)(at_ns - begin_ns) * rate / NANO) - shift;
        if (due - sent > (int64_t)(rate / 50)) { /* without the processor for longer: no burst of it all */
            shift += due - sent - (int64_t)(rate / 50);
            due = sent + (int64_t)(rate / 50);
        }
        while (sent < due) {
            int wanted = due - sent < BATCH ? (int)(due - sent) : BATCH;
            for (int i = 0; i < wanted; i++)
                batch[i].msg_hdr = (struct msghdr){.msg_iov = &all[(size_t)(sent + i) % count], .msg_iovlen = 1};
            int done = sendmmsg(port, batch, (unsigned)wanted, 0);
            if (done <= 0)
                return 1;
            sent += done;
        }
        struct timespec next = {.tv_sec = (at_ns + TURN_NS) / NANO, .tv_nsec = (at_ns + TURN_NS) % NANO};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    }
    printf("%" PRId64 " %.6f\n", sent, (double)(now_ns() - begin_ns) / NANO);
    return 0;
}
