/* The control program of the journal benchmark: records of a fixed length, each with a header (length, CRC-32 over
 * length, number and content), one write(2) a record, one fdatasync(2) a group in a thread of its own.
 *
 *     journal_append FILE OCTETS GROUP GROUPS IN_FLIGHT
 *
 * At most IN_FLIGHT groups wait for their fdatasync; one that begins covers all that was written before it. Prints
 * the seconds from the first write to the end of the last fdatasync.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint32_t table[8][256];

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xEDB88320u & -(crc & 1));
        table[0][i] = crc;
    }
    for (int k = 1; k < 8; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xFF];
}

/* Eight octets per step, as zlib does it. */
static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t octets)
{
    crc = ~crc;
    for (; octets >= 8; data += 8, octets -= 8) {
        uint32_t low, high;
        memcpy(&low, data, 4);
        memcpy(&high, data + 4, 4);
        low ^= crc;
        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24]
            ^ table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^ table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    for (; octets; data++, octets--)
        crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xFF];
    return ~crc;
}

static void put(uint8_t *to, uint64_t value, int octets)
{
    for (int i = 0; i < octets; i++)
        to[i] = (uint8_t)(value >> 8 * (octets - 1 - i));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int descriptor;
static long wanted, done, groups;

static void *commit(void *unused)
{
    pthread_mutex_lock(&lock);
    while (done < groups) {
        while (wanted == done)
            pthread_cond_wait(&changed, &lock);
        const long covered = wanted;
        pthread_mutex_unlock(&lock);
        if (fdatasync(descriptor) != 0)
            exit(1);
        pthread_mutex_lock(&lock);
        done = covered;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return unused;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    const size_t octets = (size_t)atol(argv[2]);
    const long group = atol(argv[3]), in_flight = atol(argv[5]);
    groups = atol(argv[4]);
    descriptor = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    uint8_t *record = malloc(8 + octets);
    if (descriptor < 0 || record == NULL)
        return 1;
    make_table();
    memset(record + 8, 0x5A, octets);
    pthread_t thread;
    if (pthread_create(&thread, NULL, commit, NULL) != 0)
        return 1;
    const double start_s = now_s();
    uint64_t number = 0;
    for (long i = 0; i < groups; i++) {
        for (long j = 0; j < group; j++, number++) {
            uint8_t numbered[12];
            put(numbered, octets, 4);
            put(numbered + 4, number, 8);
            put(record, octets, 4);
            put(record + 4, crc32(crc32(0, numbered, sizeof numbered), record + 8, octets), 4);
            if (write(descriptor, record, 8 + octets) != (ssize_t)(8 + octets))
                return 1;
        }
        pthread_mutex_lock(&lock);
        wanted++;
        pthread_cond_broadcast(&changed);
        while (wanted - done >= in_flight)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
    }
    pthread_join(thread, NULL);
    printf("%.9f\n", now_s() - start_s);
    return 0;
}
