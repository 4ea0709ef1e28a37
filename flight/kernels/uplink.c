/* The way up in two calls for whatever has arrived: all CLTUs of a stretch of octets (CCSDS 231.0-B-4, 3 and 5), then
 * all frames in them, of which those that cannot be meant for this link are refused (232.0-B-4, 4.3.4; 355.0-B-2).
 *
 * It is here because anybody may send to a receiver: what is refused must cost less than what is taken. No key comes
 * near these functions. They refuse by what everybody can read; all else is left to the caller, who decides.
 */
#include <string.h>

#include "orbitnode_kernels.h"

#define INFORMATION_OCTETS 7
#define CODEBLOCK_OCTETS 8
#define START_OCTETS 2
#define CODEBLOCKS_MAX (OB_CLTU_INFORMATION_MAX / INFORMATION_OCTETS)
#define HEADER_OCTETS 5
#define FRAME_OCTETS_MIN 8
#define SPI_OCTETS 2

static const uint8_t START[START_OCTETS] = {0xEB, 0x90};
static const uint8_t TAIL[CODEBLOCK_OCTETS] = {0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0xC5, 0x79};

int64_t ob_receive_cltus(ob_cltu_receiver *receiver, const uint8_t *data, size_t octets, uint8_t *out,
                         size_t out_octets, uint8_t *ends, size_t ends_octets, ob_cltus *result)
{
    int32_t mode = (int32_t)receiver->mode;
    if (receiver->mode > OB_BCH_TED || receiver->open > 1 || receiver->held > OB_CLTU_INFORMATION_MAX ||
        receiver->held % INFORMATION_OCTETS != 0 || octets > UINT32_MAX - OB_CLTU_INFORMATION_MAX)
        return OB_E_LAYOUT;
    if (out_octets < OB_CLTU_INFORMATION_MAX + octets || ends_octets / sizeof(uint32_t) < octets / 10 + 1)
        return OB_E_SPACE;
    size_t at = 0;
    size_t written = 0;
    uint32_t units = 0;
    for (;;) {
        if (!receiver->open) {
            /* The usual case needs no search: units follow each other. */
            if (octets - at < START_OCTETS || memcmp(data + at, START, START_OCTETS) != 0) {
                int64_t skipped = ob_find_start(data + at, octets - at, mode);
                receiver->skipped += (uint64_t)skipped;
                at += (size_t)skipped;
            }
            if (octets - at < START_OCTETS)
                break;
            receiver->open = 1;
            receiver->held = 0;
            at += START_OCTETS;
        }
        /* One more than there is room for: if it is not the tail, the unit is too long. */
        size_t room = CODEBLOCKS_MAX - receiver->held / INFORMATION_OCTETS;
        size_t left = octets - at;
        if (left > (room + 1) * CODEBLOCK_OCTETS)
            left = (room + 1) * CODEBLOCK_OCTETS;
        ob_codeblocks run;
        size_t taken = (size_t)ob_decode_codeblocks(data + at, left, mode, receiver->frames + receiver->held,
                                                    sizeof receiver->frames - receiver->held, &run);
        receiver->codeblocks += taken;
        receiver->corrected += run.corrected;
        at += taken * CODEBLOCK_OCTETS;
        if (taken > room) {
            receiver->aborted++;
            receiver->open = 0;
            at -= CODEBLOCK_OCTETS; /* the codeblock too many was taken: look into it as well */
            continue;
        }
        receiver->held += (uint32_t)(taken * INFORMATION_OCTETS);
        if (run.stop != OB_STOP_CODEBLOCK)
            break;
        receiver->open = 0;
        if (receiver->held == 0) {
            receiver->aborted++;
            continue;
        }
        if (receiver->randomized)
            ob_randomize_tc(receiver->frames, receiver->held, out + written, receiver->held);
        else
            memcpy(out + written, receiver->frames, receiver->held);
        written += receiver->held;
        uint32_t end = (uint32_t)written;
        memcpy(ends + units * sizeof end, &end, sizeof end);
        units++;
        receiver->units++;
        /* At least a codeblock is there: the one that ended the unit. */
        if (memcmp(data + at, TAIL, sizeof TAIL) == 0)
            at += sizeof TAIL;
        else
            receiver->broken++;
    }
    result->consumed = at;
    result->octets = written;
    return units;
}

/* What the header and the security header of a whole frame say against it. */
static uint8_t judge(const ob_tc_rules *rules, const uint8_t *frame, size_t octets)
{
    int bypass = frame[0] >> 5 & 1;
    int control = frame[0] >> 4 & 1;
    if (frame[0] >> 6 != 0 || (control && !bypass) || (frame[0] & 0x0C) != 0)
        return OB_TC_FRAME;
    if ((uint32_t)((frame[0] & 3) << 8 | frame[1]) != rules->spacecraft_id)
        return OB_TC_SPACECRAFT;
    if ((uint32_t)(frame[2] >> 2) != rules->vcid)
        return OB_TC_VCID;
    if (!rules->secured)
        return OB_TC_LOOK;
    /* The segment header stands ahead of the security header. Control commands have none. */
    size_t ahead = HEADER_OCTETS + (control ? 0 : rules->segment_octets);
    if (octets - 2 <= ahead + rules->overhead_octets)
        return OB_TC_LENGTH;
    uint32_t spi = (uint32_t)frame[ahead] << 8 | frame[ahead + 1];
    for (size_t i = 0; i < rules->associations; i++)
        if (spi == rules->spi[i])
            return rules->ordered[i] && memcmp(frame + ahead + SPI_OCTETS, rules->spent + i * OB_TC_NUMBER_OCTETS_MAX,
                                               rules->number_octets) <= 0 ? OB_TC_REPLAY : OB_TC_LOOK;
    return OB_TC_SPI;
}

static int are_rules(const ob_tc_rules *rules)
{
    return rules->associations <= OB_TC_ASSOCIATIONS_MAX && rules->segment_octets <= 1 &&
           rules->number_octets <= OB_TC_NUMBER_OCTETS_MAX &&
           (!rules->secured || rules->overhead_octets >= SPI_OCTETS + rules->number_octets) &&
           rules->overhead_octets <= 1024;
}

int64_t ob_sift_frames(const ob_tc_rules *rules, const uint8_t *data, size_t octets, const uint8_t *ends, size_t units,
                       uint8_t *columns, size_t columns_octets, size_t frames_max)
{
    if ((uintptr_t)columns % 8 != 0)
        return OB_E_ALIGNMENT;
    if (!are_rules(rules))
        return OB_E_LAYOUT;
    if (units > frames_max || octets / FRAME_OCTETS_MIN > frames_max - units || columns_octets / OB_TC_COLUMN_OCTETS < frames_max)
        return OB_E_SPACE;
    uint32_t begin = 0;
    for (size_t unit = 0; unit < units; unit++) {
        uint32_t end;
        memcpy(&end, ends + unit * sizeof end, sizeof end);
        if (end < begin || end > octets)
            return OB_E_LAYOUT;
        begin = end;
    }
    uint8_t *verdicts = columns + frames_max * sizeof(uint32_t);
    size_t count = 0;
    uint32_t at = 0;
    for (size_t unit = 0; unit < units; unit++) {
        uint32_t end;
        memcpy(&end, ends + unit * sizeof end, sizeof end);
        /* One frame as a rule. What is shorter than a codeblock at the end is fill. */
        while (end - at >= INFORMATION_OCTETS) {
            const uint8_t *frame = data + at;
            uint32_t length = end - at < FRAME_OCTETS_MIN ? 0 : (uint32_t)((frame[2] & 3) << 8 | frame[3]) + 1;
            uint8_t verdict = OB_TC_FRAME;
            if (length >= FRAME_OCTETS_MIN && length <= end - at && ob_crc16(frame, length, 0xFFFF) == 0)
                verdict = judge(rules, frame, length);
            memcpy(columns + count * sizeof at, &at, sizeof at);
            verdicts[count] = verdict;
            count++;
            /* Its length may be wrong as well, so nothing tells at which octet another frame would begin. */
            if (verdict == OB_TC_FRAME)
                break;
            at += length;
        }
        at = end;
    }
    return (int64_t)count;
}
