/* libFuzzer: any octets as frames of one link. The first twelve choose the link; error control is made to fit where
 * they say so, or hardly a frame would pass. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "orbitnode_kernels.h"

#define CHOICE_OCTETS 12
#define FRAMES_MAX 512
#define INPUT_MAX 8192

static ob_channel channels[2][OB_AOS_CHANNELS];

static void require(int holds)
{
    if (!holds)
        abort();
}

typedef struct {
    uint8_t *out;
    uint8_t *columns;
    uint8_t *frame_columns;
    size_t out_octets;
    size_t packets_max;
    size_t octets;  /* of all packets so far */
    size_t packets;
    uint64_t sum;   /* over the octets of all packets, with their places */
} run;

static void take(ob_link *link, ob_channel *of, size_t channels_count, const uint8_t *frames, size_t octets,
                 size_t stride, size_t count, const uint8_t *marks, run *to)
{
    size_t done = 0;
    while (done < count) {
        size_t left = count - done, room = to->packets_max * OB_EXTRACTED_COLUMN_OCTETS;
        ob_extraction got;
        int64_t n = ob_extract_packets(link, of, channels_count, frames + done * stride, octets - done * stride, left,
                                       stride, marks + done, to->frame_columns, left * OB_FRAME_COLUMN_OCTETS, to->out,
                                       to->out_octets, to->columns, room, to->packets_max, &got);
        require(n > 0 && (size_t)n <= left);
        require(got.packets <= to->packets_max && got.octets <= to->out_octets);
        const uint64_t *offset = (const void *)to->columns;
        const uint32_t *length = (const void *)(to->columns + 8 * to->packets_max);
        const uint32_t *frame = length + to->packets_max;
        size_t at = 0;
        for (size_t i = 0; i < got.packets; i++) {
            /* One after the other, each as long as it says, in the order of frames, none of them idle. */
            const uint8_t *packet = to->out + at;
            require(offset[i] == at && length[i] == ((size_t)packet[4] << 8 | packet[5]) + 7u);
            require(packet[0] >> 5 == 0 && ((packet[0] & 7) != 7 || packet[1] != 0xFF));
            require(frame[i] < (uint64_t)n && (i == 0 || frame[i] >= frame[i - 1]));
            at += length[i];
        }
        require(at == got.octets);
        for (size_t i = 0; i < at; i++)
            to->sum = to->sum * 31 + to->out[i];
        to->octets += at;
        to->packets += got.packets;
        done += (size_t)n;
    }
}

static void check_account(const ob_link *link, const ob_channel *of, size_t channels_count, const run *to, size_t count)
{
    uint64_t verdicts = 0, hand_octets = 0, packets = 0, frames = 0, classed = 0;
    for (size_t i = 0; i <= OB_FRAME_POINTER; i++)
        verdicts += link->verdicts[i];
    for (size_t i = 0; i < channels_count; i++) {
        require(of[i].hand_octets < OB_ENCAPSULATION_OCTETS_MAX);
        require(of[i].hand_octets < OB_PACKET_OCTETS_MAX || link->flags & OB_LINK_ENCAPSULATION);
        hand_octets += of[i].hand_octets;
        packets += of[i].packets;
        frames += of[i].frames;
        classed += of[i].packet_octets + of[i].idle_octets + of[i].encapsulated_octets + of[i].lost_octets +
                   of[i].overhead_octets;
    }
    require(verdicts == count && hand_octets == link->hand_octets);
    require(packets == to->packets && frames == link->verdicts[OB_FRAME_GOOD]);
    require(classed + hand_octets == frames * link->frame_octets);
}

static run made(size_t packets_max, size_t out_octets, size_t count)
{
    run to = {.out_octets = out_octets, .packets_max = packets_max};
    to.out = malloc(out_octets);
    to.columns = malloc(packets_max * OB_EXTRACTED_COLUMN_OCTETS);
    to.frame_columns = malloc(count * OB_FRAME_COLUMN_OCTETS + 1);
    require(to.out != NULL && to.columns != NULL && to.frame_columns != NULL);
    return to;
}

static void released(run *to)
{
    free(to->out);
    free(to->columns);
    free(to->frame_columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
    if (octets < CHOICE_OCTETS || octets > INPUT_MAX)
        return 0;
    size_t channels_count = data[0] & 1 ? OB_AOS_CHANNELS : OB_TM_CHANNELS;
    ob_link link = {
        .service = data[0] & 1 ? OB_LINK_AOS : OB_LINK_TM,
        .frame_octets = 13u + data[1],
        .spacecraft_id = data[0] & 2 ? OB_SPACECRAFT_ANY : (uint32_t)data[2] << 2 | data[0] >> 6,
        .flags = (data[0] >> 2 & 7) | (data[11] & 2 ? OB_LINK_ENCAPSULATION : 0),
        .insert_octets = data[3] % 16,
        .security_header_octets = data[9] >> 5,
        .security_trailer_octets = data[10] >> 5,
        .vcids = data[0] & 32 ? ~0ull : (uint64_t)data[4] << 56 | (uint64_t)data[5] << 16 | data[6],
    };
    size_t frame = link.frame_octets, stride = frame + data[7] % 8;
    uint8_t marked = data[8];
    size_t cut = data[9], roomy = data[10] & 1, fits = data[11] & 1;
    data += CHOICE_OCTETS;
    octets -= CHOICE_OCTETS;
    size_t count = octets < frame ? 0 : (octets - frame) / stride + 1;
    if (count > FRAMES_MAX)
        count = FRAMES_MAX;
    uint8_t *frames = malloc(octets + 1), *marks = malloc(count + 1);
    require(frames != NULL && marks != NULL);
    memcpy(frames, data, octets);
    for (size_t i = 0; i < count; i++) {
        marks[i] = marked != 0 && i % marked == 0;
        if (fits && link.flags & OB_LINK_FECF) {
            uint8_t *end = frames + i * stride + frame - 2;
            int32_t crc = ob_crc16(end + 2 - frame, frame - 2, 0xFFFF);
            end[0] = (uint8_t)(crc >> 8);
            end[1] = (uint8_t)crc;
        }
    }
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < channels_count; i++)
            memset(&channels[side][i], 0, offsetof(ob_channel, hand));

    /* All at once, and cut in two with just the room that a frame needs: it must come to the same. */
    ob_link other = link;
    run whole = made(roomy ? count * (1 + frame / 7) + 1 + frame / 7 : 1 + frame / 7,
                     OB_PACKET_OCTETS_MAX + frame * (roomy ? count + 1 : 1), count);
    run parts = made(1 + frame / 7, OB_PACKET_OCTETS_MAX + frame, count);
    ob_extraction none;
    int64_t meaning = ob_extract_packets(&link, channels[0], channels_count, frames, 0, 0, stride, marks,
                                         whole.frame_columns, 0, whole.out, whole.out_octets, whole.columns,
                                         whole.packets_max * OB_EXTRACTED_COLUMN_OCTETS, whole.packets_max, &none);
    require(meaning == 0 || meaning == OB_E_LAYOUT);
    if (meaning == 0) {
        if (cut > count)
            cut = count;
        take(&link, channels[0], channels_count, frames, octets, stride, count, marks, &whole);
        take(&other, channels[1], channels_count, frames, octets, stride, cut, marks, &parts);
        take(&other, channels[1], channels_count, frames + cut * stride, octets - cut * stride, stride, count - cut,
             marks + cut, &parts);
        require(whole.packets == parts.packets && whole.octets == parts.octets && whole.sum == parts.sum);
        require(memcmp(&link, &other, sizeof link) == 0);
        check_account(&link, channels[0], channels_count, &whole, count);
        check_account(&other, channels[1], channels_count, &parts, count);
        ob_restart_link(&link, channels[0], channels_count);
        require(link.hand_octets == 0);
    }
    released(&whole);
    released(&parts);
    free(frames);
    free(marks);
    return 0;
}
