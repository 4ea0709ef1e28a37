#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "orbitnode_kernels.h"

/* The input as frames of a link that random numbers choose, taken in calls with just the room that one frame needs. */
void try_frames(const uint8_t *data, size_t octets)
{
    size_t channels_count = next_random() % 2 ? OB_TM_CHANNELS : OB_AOS_CHANNELS;
    ob_link link = {
        .service = channels_count == OB_TM_CHANNELS ? OB_LINK_TM : OB_LINK_AOS,
        .frame_octets = (uint32_t)(13 + next_random() % 80),
        .spacecraft_id = next_random() % 4 ? OB_SPACECRAFT_ANY : (uint32_t)(next_random() % 1024),
        .flags = (uint32_t)(next_random() % 16 & (next_random() % 4 ? ~1u : ~0u)),
        .insert_octets = (uint32_t)(next_random() % 4),
        .security_header_octets = (uint32_t)(next_random() % 3),
        .security_trailer_octets = (uint32_t)(next_random() % 3),
        .vcids = next_random() % 4 ? ~0ull : next_random(),
    };
    size_t frame = link.frame_octets, stride = frame + next_random() % 5;
    size_t count = octets < frame ? 0 : (octets - frame) / stride + 1;
    ob_channel *channels = calloc(channels_count, sizeof *channels);
    uint8_t *marks = exact(NULL, count);
    for (size_t i = 0; i < count; i++)
        marks[i] = next_random() % 16 == 0;
    size_t packets_max = 1 + frame / 7, out_octets = OB_PACKET_OCTETS_MAX + frame;
    size_t room = packets_max * OB_EXTRACTED_COLUMN_OCTETS;
    uint8_t *out = exact(NULL, out_octets), *columns = exact(NULL, room);
    uint8_t *frame_columns = exact(NULL, count * OB_FRAME_COLUMN_OCTETS);
    ob_extraction got;
    size_t taken = 0;
    while (taken < count) {
        size_t left = count - taken;
        int64_t n = ob_extract_packets(&link, channels, channels_count, data + taken * stride, octets - taken * stride,
                                       left, stride, marks + taken, frame_columns, left * OB_FRAME_COLUMN_OCTETS, out,
                                       out_octets, columns, room, packets_max, &got);
        if (n == OB_E_LAYOUT) /* frames too short for what an AOS link has in each */
            break;
        check(n > 0 && (size_t)n <= left, "no frame was taken, or more than there were");
        check(got.packets <= packets_max && got.octets <= out_octets, "more than there was room for");
        taken += (size_t)n;
    }
    uint64_t verdicts = 0, hand_octets = 0, frames = 0, classed = 0;
    for (size_t i = 0; i <= OB_FRAME_POINTER; i++)
        verdicts += link.verdicts[i];
    for (size_t i = 0; i < channels_count; i++) {
        hand_octets += channels[i].hand_octets;
        frames += channels[i].frames;
        classed += channels[i].packet_octets + channels[i].idle_octets + channels[i].encapsulated_octets +
                   channels[i].lost_octets + channels[i].overhead_octets;
    }
    check(verdicts == taken, "the verdicts are not as many as the frames");
    check(hand_octets == link.hand_octets, "the octets in hand do not add up");
    check(classed + hand_octets == frames * frame, "the octets of good frames do not add up");
    ob_restart_link(&link, channels, channels_count);
    check(link.hand_octets == 0, "something is in hand after a restart");
    free(frame_columns);
    free(columns);
    free(out);
    free(marks);
    free(channels);
}
