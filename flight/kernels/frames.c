/* Packets out of batches of TM and AOS transfer frames, and the account of what is missing.
 *
 * The rules are those of flight/link/tm/extract.py, which takes one frame at a time, and a property test holds the two
 * to each other (ADR 0016). A channel is either without a packet in hand or holds the beginning of one. A missing frame
 * and a contradiction between length and first header pointer drop what is in hand; the pointer leads on.
 *
 * The octets of whole packets go from the frame to the output in one run; only a packet that spans frames is kept in
 * between, in the channel's own block. Every octet of a good frame is counted in exactly one of the channel's sums, so
 * that a recording can be accounted for to the last octet.
 *
 * Idle packets are passed over, and so are encapsulation packets if the link has them. Of an encapsulation packet that
 * spans frames the header alone is kept: nobody takes what it holds, and it may be far longer than the block.
 */
#include <string.h>

#include "orbitnode_kernels.h"
#include "units.h"

#define FRAME_HEADER_OCTETS 6
#define M_PDU_HEADER_OCTETS 2
#define HEADER_CONTROL_OCTETS 2
#define OCF_OCTETS 4
#define FECF_OCTETS 2
#define TM_OCTETS_MIN (FRAME_HEADER_OCTETS + 1 + OCF_OCTETS + FECF_OCTETS)
#define NO_PACKET_START 0x7FF
#define IDLE_DATA 0x7FE
#define AOS_IDLE_CHANNEL 63

#define PACKET_HEADER_OCTETS 6
#define PACKET_OCTETS_MIN 7
#define ENCAPSULATION_VERSION 7
#define ENCAPSULATION_HEADER_OCTETS_MAX 8
/* Lengths that no frame has room for. */
#define NO_PACKET SIZE_MAX
#define NOT_KNOWN_YET (SIZE_MAX - 1)

_Static_assert(sizeof ((ob_link *)0)->verdicts == 8 * (OB_FRAME_POINTER + 1), "a counter for each verdict");
_Static_assert(sizeof ((ob_channel *)0)->hand >= OB_PACKET_OCTETS_MAX, "a packet in hand fits");

/* What a frame's header says. `data` is the packet zone, `count_mask` the greatest count of the virtual channel. */
typedef struct {
    const uint8_t *data;
    size_t data_octets;
    uint32_t pointer;
    uint32_t spacecraft_id;
    uint32_t vc_count;
    uint32_t count_mask;
    uint8_t vcid;
    uint8_t master_count;
} frame_header;

/* Where packets go: the caller's buffer and columns, and how far they are filled. */
typedef struct {
    uint8_t *out;
    uint64_t *offset;
    uint32_t *length;
    uint32_t *frame;
    uint16_t *apid;
    uint16_t *seq;
    uint8_t *flags;
    uint8_t *vcid;
    size_t octets;
    size_t packets;
} sink;

static inline uint32_t word_at(const uint8_t *data) { return (uint32_t)data[0] << 8 | data[1]; }

static inline int is_idle(const uint8_t *packet) { return packet[1] == 0xFF && (packet[0] & 7) == 7; }

static inline int is_encapsulation(const uint8_t *packet) { return packet[0] >> 5 == ENCAPSULATION_VERSION; }

/* Octets of the header that begins so: 133.0-B-2, 4.1.3; 133.1-B-3, 4.1.2. */
static inline size_t header_octets(const uint8_t *packet)
{
    return is_encapsulation(packet) ? (size_t)1 << (packet[0] & 3) : PACKET_HEADER_OCTETS;
}

/* The length of the packet of which `octets`, 1 or more, are there: NOT_KNOWN_YET if they end within its header,
 * NO_PACKET if no packet of this link begins so. */
static inline size_t packet_octets(const ob_link *link, const uint8_t *packet, size_t octets)
{
    unsigned version = packet[0] >> 5;
    if (version == 0)
        return octets < PACKET_HEADER_OCTETS ? NOT_KNOWN_YET : word_at(packet + 4) + PACKET_OCTETS_MIN;
    if (version != ENCAPSULATION_VERSION || !(link->flags & OB_LINK_ENCAPSULATION))
        return NO_PACKET;
    size_t header = header_octets(packet);
    if (header == 1) /* without a length field: an idle packet, and nothing else */
        return packet[0] >> 2 & 7 ? NO_PACKET : 1;
    if (octets < header)
        return NOT_KNOWN_YET;
    size_t length = 0;
    for (size_t i = header / 2; i < header; i++)
        length = length << 8 | packet[i];
    return header <= length && length <= OB_ENCAPSULATION_OCTETS_MAX ? length : NO_PACKET;
}

static inline int is_passed_over(const uint8_t *packet) { return is_encapsulation(packet) || is_idle(packet); }

static inline void note_passed_over(ob_channel *channel, const uint8_t *packet, size_t octets)
{
    unsigned protocol = is_encapsulation(packet) ? packet[0] >> 2 & 7 : 0;
    if (protocol == 0) { /* idle, of either kind */
        channel->idle_packets++;
        channel->idle_octets += octets;
    } else {
        channel->encapsulated[protocol]++;
        channel->encapsulated_octets += octets;
    }
}

static inline void note_packet(sink *to, const uint8_t *header, size_t offset, size_t octets, uint8_t vcid,
                               size_t frame)
{
    size_t n = to->packets++;
    to->offset[n] = offset;
    to->length[n] = (uint32_t)octets;
    to->frame[n] = (uint32_t)frame;
    to->apid[n] = (uint16_t)(word_at(header) & 0x7FF);
    to->seq[n] = (uint16_t)(word_at(header + 2) & 0x3FFF);
    to->flags[n] = (uint8_t)((header[0] >> 1 & 0xC) | header[2] >> 6);
    to->vcid[n] = vcid;
}

static inline void append(sink *to, const uint8_t *data, size_t octets)
{
    memcpy(to->out + to->octets, data, octets);
    to->octets += octets;
}

static void drop_hand(ob_channel *channel)
{
    channel->broken += channel->hand_octets > 0;
    channel->lost_octets += channel->hand_octets;
    channel->hand_octets = 0;
}

/* `octets` more in hand. */
static void keep(ob_channel *channel, const uint8_t *data, size_t octets)
{
    size_t have = channel->hand_octets, kept = octets;
    if (octets == 0)
        return;
    if (is_encapsulation(have > 0 ? channel->hand : data)) {
        size_t room = have < ENCAPSULATION_HEADER_OCTETS_MAX ? ENCAPSULATION_HEADER_OCTETS_MAX - have : 0;
        kept = octets < room ? octets : room;
    }
    if (kept > 0) /* else `have` may be beyond the block */
        memcpy(channel->hand + have, data, kept);
    channel->hand_octets += octets;
}

/* `octets` more of the packet in hand: deliver it if it is whole, drop it if it would run over. */
static void continue_hand(const ob_link *link, ob_channel *channel, const uint8_t *data, size_t octets, uint8_t vcid,
                          size_t frame, sink *to)
{
    size_t have = channel->hand_octets, header = header_octets(channel->hand);
    if (have < header) {
        /* The header comes first: only then is it known how much more to take. */
        size_t more = header - have;
        if (more > octets)
            more = octets;
        keep(channel, data, more);
        data += more;
        octets -= more;
        have += more;
        if (have < header)
            return;
    }
    size_t packet = packet_octets(link, channel->hand, have);
    if (have + octets > packet || packet == NO_PACKET) {
        channel->inconsistent++;
        channel->lost_octets += octets;
        drop_hand(channel);
        return;
    }
    if (have + octets < packet) {
        keep(channel, data, octets);
        return;
    }
    if (is_passed_over(channel->hand)) {
        note_passed_over(channel, channel->hand, packet);
    } else {
        channel->packets++;
        channel->packet_octets += packet;
        note_packet(to, channel->hand, to->octets, packet, vcid, frame);
        append(to, channel->hand, have);
        append(to, data, octets);
    }
    channel->hand_octets = 0;
}

/* The packets from octet `at` of a frame's data on; the beginning of one that does not end there is taken in hand. */
static void split_data(const ob_link *link, ob_channel *channel, const uint8_t *data, size_t at, size_t size,
                       uint8_t vcid, size_t frame, sink *to)
{
    size_t run = at; /* the place at which the packets start that are not yet in the output */
    while (at < size) {
        const uint8_t *header = data + at;
        size_t packet = packet_octets(link, header, size - at);
        if (size - at < packet) {
            if (packet != NO_PACKET)
                break;
            /* No packet starts like this: skip what follows in the frame, the next pointer leads on. */
            channel->inconsistent++;
            channel->lost_octets += size - at;
            append(to, data + run, at - run);
            return;
        }
        if (is_passed_over(header)) {
            note_passed_over(channel, header, packet);
            append(to, data + run, at - run);
            run = at + packet;
        } else {
            channel->packets++;
            channel->packet_octets += packet;
            note_packet(to, header, to->octets + (at - run), packet, vcid, frame);
        }
        at += packet;
    }
    append(to, data + run, at - run);
    keep(channel, data + at, size - at);
}

/* Frames missed before this one, and the packets that it completes. */
static uint32_t take_frame(const ob_link *link, ob_channel *channel, const frame_header *header, size_t frame,
                           sink *to)
{
    uint32_t missed = channel->counted ? (header->vc_count - channel->expected) & header->count_mask : 0;
    channel->counted = 1;
    channel->expected = (header->vc_count + 1) & header->count_mask;
    channel->frames++;
    if (missed > 0) {
        channel->missed += missed;
        drop_hand(channel);
    }
    if (header->pointer == IDLE_DATA) {
        channel->idle_octets += header->data_octets;
        return missed;
    }
    size_t start = header->pointer == NO_PACKET_START ? header->data_octets : header->pointer;
    if (channel->hand_octets > 0) {
        continue_hand(link, channel, header->data, start, header->vcid, frame, to);
        if (header->pointer != NO_PACKET_START && channel->hand_octets > 0) {
            /* A packet starts here, so the one in hand should have ended. */
            channel->inconsistent++;
            drop_hand(channel);
        }
    } else {
        /* The end of a packet whose beginning did not arrive. */
        channel->lost_octets += start;
    }
    if (header->pointer != NO_PACKET_START)
        split_data(link, channel, header->data, start, header->data_octets, header->vcid, frame, to);
    return missed;
}

/* Why a frame whose header is read so far does not belong to a packet channel of this link, or OB_FRAME_GOOD. */
static int channel_verdict(const ob_link *link, const frame_header *header)
{
    if (link->spacecraft_id != OB_SPACECRAFT_ANY && header->spacecraft_id != link->spacecraft_id)
        return OB_FRAME_SPACECRAFT;
    return link->vcids >> header->vcid & 1 ? OB_FRAME_GOOD : OB_FRAME_VCID;
}

static int pointer_verdict(const frame_header *header)
{
    return header->pointer >= header->data_octets && header->pointer < IDLE_DATA ? OB_FRAME_POINTER : OB_FRAME_GOOD;
}

/* 132.0-B-3, 4.1.2 and 4.1.3. */
static int read_tm(const ob_link *link, const uint8_t *frame, frame_header *header)
{
    uint32_t first = word_at(frame), status = word_at(frame + 4);
    header->spacecraft_id = first >> 4 & 0x3FF;
    header->vcid = (uint8_t)(first >> 1 & 7);
    header->master_count = frame[2];
    header->vc_count = frame[3];
    header->count_mask = 0xFF;
    header->pointer = status & 0x7FF;
    if (first >> 14 != 0)
        return OB_FRAME_VERSION;
    int verdict = channel_verdict(link, header);
    if (verdict != OB_FRAME_GOOD)
        return verdict;
    if (status & 0x4000)
        return OB_FRAME_STATUS;
    size_t start = FRAME_HEADER_OCTETS;
    size_t end = link->frame_octets;
    if (status & 0x8000) {
        if (frame[start] >> 6 != 0)
            return OB_FRAME_STATUS;
        start += 1 + (frame[start] & 0x3F);
    }
    start += link->security_header_octets;
    end -= link->security_trailer_octets;
    if (link->flags & OB_LINK_FECF)
        end -= FECF_OCTETS;
    if (first & 1)
        end -= OCF_OCTETS;
    if (start >= end)
        return OB_FRAME_LENGTH;
    header->data = frame + start;
    header->data_octets = end - start;
    return pointer_verdict(header);
}

/* Octets of an AOS frame before its packet zone and after it. */
static size_t aos_head(const ob_link *link)
{
    size_t control = link->flags & OB_LINK_HEADER_CONTROL ? HEADER_CONTROL_OCTETS : 0;
    return FRAME_HEADER_OCTETS + control + link->insert_octets + link->security_header_octets + M_PDU_HEADER_OCTETS;
}

static size_t aos_tail(const ob_link *link)
{
    return (link->flags & OB_LINK_OCF ? OCF_OCTETS : 0) + (link->flags & OB_LINK_FECF ? FECF_OCTETS : 0) +
           link->security_trailer_octets;
}

/* 732.0-B-4, 4.1.2 and 4.1.4.2. */
static int read_aos(const ob_link *link, const uint8_t *frame, frame_header *header)
{
    uint32_t first = word_at(frame), signalling = frame[5];
    int has_cycle = signalling >> 6 & 1;
    header->spacecraft_id = (signalling >> 4 & 3) << 8 | (first >> 6 & 0xFF);
    header->vcid = (uint8_t)(first & 0x3F);
    header->vc_count = (uint32_t)frame[2] << 16 | word_at(frame + 3) | (has_cycle ? (signalling & 0xF) << 24 : 0);
    header->count_mask = has_cycle ? 0xFFFFFFF : 0xFFFFFF;
    if (first >> 14 != 1)
        return OB_FRAME_VERSION;
    if (header->vcid == AOS_IDLE_CHANNEL) {
        header->pointer = IDLE_DATA;
        /* All of the zone is idle data: there is no M_PDU header. */
        header->data_octets = link->frame_octets - (aos_head(link) - M_PDU_HEADER_OCTETS) - aos_tail(link);
        return link->spacecraft_id == OB_SPACECRAFT_ANY || header->spacecraft_id == link->spacecraft_id
                   ? OB_FRAME_GOOD
                   : OB_FRAME_SPACECRAFT;
    }
    int verdict = channel_verdict(link, header);
    if (verdict != OB_FRAME_GOOD)
        return verdict;
    size_t head = aos_head(link);
    header->data = frame + head;
    header->data_octets = link->frame_octets - head - aos_tail(link);
    header->pointer = word_at(frame + head - M_PDU_HEADER_OCTETS) & 0x7FF;
    return pointer_verdict(header);
}

static int read_header(const ob_link *link, const uint8_t *frame, int is_marked, frame_header *header)
{
    *header = (frame_header){.data = frame};
    int verdict = link->service == OB_LINK_AOS ? read_aos(link, frame, header) : read_tm(link, frame, header);
    if (is_marked)
        return OB_FRAME_MARKED;
    if (link->flags & OB_LINK_FECF && ob_crc16(frame, link->frame_octets, 0xFFFF) != 0)
        return OB_FRAME_CRC;
    return verdict;
}

static void count_master(ob_link *link, uint8_t master_count)
{
    if (link->master_counted)
        link->master_missed += (master_count - link->master_expected) & 0xFF;
    link->master_counted = 1;
    link->master_expected = (master_count + 1u) & 0xFF;
}

static int has_meaning(const ob_link *link, size_t channels_count)
{
    if (link->frame_octets > OB_FRAME_OCTETS_MAX || link->insert_octets > OB_FRAME_OCTETS_MAX ||
        link->security_header_octets > OB_FRAME_OCTETS_MAX || link->security_trailer_octets > OB_FRAME_OCTETS_MAX)
        return 0;
    size_t security = (size_t)link->security_header_octets + link->security_trailer_octets;
    if (link->service == OB_LINK_TM)
        return channels_count == OB_TM_CHANNELS && link->frame_octets >= TM_OCTETS_MIN + security;
    return link->service == OB_LINK_AOS && channels_count == OB_AOS_CHANNELS &&
           link->frame_octets > aos_head(link) + aos_tail(link);
}

int64_t ob_extract_packets(ob_link *link, ob_channel *channels, size_t channels_count, const uint8_t *frames,
                           size_t octets, size_t count, size_t stride, const uint8_t *marks,
                           uint8_t *frame_columns, size_t frame_columns_octets, uint8_t *out, size_t out_octets,
                           uint8_t *packet_columns, size_t packet_columns_octets, size_t packets_max,
                           ob_extraction *result)
{
    if (!has_meaning(link, channels_count) || !units_fit(octets, count, stride, link->frame_octets))
        return OB_E_LAYOUT;
    size_t frame_octets = link->frame_octets;
    if (count > frame_columns_octets / OB_FRAME_COLUMN_OCTETS || out_octets < OB_PACKET_OCTETS_MAX + frame_octets ||
        packets_max > packet_columns_octets / OB_EXTRACTED_COLUMN_OCTETS ||
        packets_max < 1 + frame_octets / PACKET_OCTETS_MIN)
        return OB_E_SPACE;
    if (!is_aligned(frame_columns, 8) || !is_aligned(packet_columns, 8))
        return OB_E_ALIGNMENT;
    *result = (ob_extraction){0, 0};
    if (count == 0) /* pointers may be null */
        return 0;
    /* Widest column first: each then starts on a multiple of its own width. */
    uint32_t *vc_count = (uint32_t *)(void *)frame_columns;
    uint32_t *missed = (uint32_t *)(void *)(frame_columns + 4 * count);
    uint8_t *vcid = frame_columns + 8 * count;
    uint8_t *master_count = frame_columns + 9 * count;
    uint8_t *verdicts = frame_columns + 10 * count;
    sink to = {
        .out = out,
        .offset = (uint64_t *)(void *)packet_columns,
        .length = (uint32_t *)(void *)(packet_columns + 8 * packets_max),
        .frame = (uint32_t *)(void *)(packet_columns + 12 * packets_max),
        .apid = (uint16_t *)(void *)(packet_columns + 16 * packets_max),
        .seq = (uint16_t *)(void *)(packet_columns + 18 * packets_max),
        .flags = packet_columns + 20 * packets_max,
        .vcid = packet_columns + 21 * packets_max,
    };

    size_t n = 0;
    for (; n < count; n++) {
        frame_header header;
        int verdict = read_header(link, frames + n * stride, marks != NULL && marks[n] != 0, &header);
        ob_channel *channel = &channels[header.vcid];
        missed[n] = 0;
        if (verdict == OB_FRAME_GOOD) {
            /* What an encapsulation packet holds goes nowhere. */
            size_t held = is_encapsulation(channel->hand) ? 0 : channel->hand_octets;
            size_t most = held + header.data_octets;
            if (most > out_octets - to.octets ||
                1 + header.data_octets / PACKET_OCTETS_MIN > packets_max - to.packets)
                break;
            if (link->service == OB_LINK_AOS && header.vcid == AOS_IDLE_CHANNEL) {
                channel->frames++;
                channel->idle_octets += header.data_octets;
            } else {
                link->hand_octets -= channel->hand_octets;
                missed[n] = take_frame(link, channel, &header, n, &to);
                link->hand_octets += channel->hand_octets;
            }
            channel->overhead_octets += frame_octets - header.data_octets;
        }
        /* A frame of a channel that is not wanted is not missed. */
        if (link->service == OB_LINK_TM && (verdict == OB_FRAME_GOOD || verdict == OB_FRAME_VCID))
            count_master(link, header.master_count);
        link->verdicts[verdict]++;
        vc_count[n] = header.vc_count;
        vcid[n] = header.vcid;
        master_count[n] = header.master_count;
        verdicts[n] = (uint8_t)verdict;
    }
    result->packets = to.packets;
    result->octets = to.octets;
    return (int64_t)n;
}

void ob_restart_link(ob_link *link, ob_channel *channels, size_t channels_count)
{
    link->master_counted = 0;
    link->hand_octets = 0;
    for (size_t i = 0; i < channels_count; i++) {
        channels[i].counted = 0;
        drop_hand(&channels[i]);
    }
}
