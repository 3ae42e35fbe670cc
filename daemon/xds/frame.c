/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FLAG_COMPRESSED 0x01
#define FLAG_TRAILERS 0x80
#define FIRST_BYTES 4096

static bool is_trailers(const struct xds_frames *frames)
{
	return frames->prefix[0] & FLAG_TRAILERS;
}

static int check_prefix(struct xds_frames *frames)
{
	uint8_t flags = frames->prefix[0];
	uint32_t limit = is_trailers(frames) ? XDS_TRAILERS_MAX : frames->limit_bytes;

	if (flags & FLAG_COMPRESSED) {
		snprintf(frames->problem, sizeof(frames->problem), "a compressed message, which was not asked for");
		return -EPROTO;
	}
	if ((flags & ~FLAG_TRAILERS) || (is_trailers(frames) && !frames->is_web)) {
		snprintf(frames->problem, sizeof(frames->problem), "a message that begins with 0x%02x: this is not gRPC", flags);
		return -EPROTO;
	}
	frames->wanted = (uint32_t)frames->prefix[1] << 24 | (uint32_t)frames->prefix[2] << 16 | (uint32_t)frames->prefix[3] << 8 | frames->prefix[4];
	if (frames->wanted > limit) {
		snprintf(frames->problem, sizeof(frames->problem), "a message of %u bytes, the limit is %u", frames->wanted, limit);
		return -EMSGSIZE;
	}
	return 0;
}

/* Room for `size` more bytes: twice what there is, but never more than the message needs. */
static int reserve(struct xds_frames *frames, size_t size)
{
	size_t used = frames->body.size, needed = used + size, room = used < FIRST_BYTES / 2 ? FIRST_BYTES : used * 2;

	if (needed < frames->body.capacity)
		return 0;
	if (room < needed)
		room = needed;
	if (room > frames->wanted)
		room = frames->wanted;
	return strbuf_reserve(&frames->body, room - used);
}

static int finish(struct xds_frames *frames, xds_frame_fn frame, void *context)
{
	int r;

	frames->has_trailers = is_trailers(frames);
	r = frame(context, frames->has_trailers, &frames->body);
	strbuf_release(&frames->body);
	frames->prefix_size = 0;
	frames->wanted = 0;
	return r;
}

int xds_frames_feed(struct xds_frames *frames, const void *bytes, size_t size, xds_frame_fn frame, void *context)
{
	const uint8_t *at = bytes, *end = at + size;
	size_t take;
	int r;

	while (at < end) {
		if (frames->has_trailers) {
			snprintf(frames->problem, sizeof(frames->problem), "bytes after the trailers");
			return -EPROTO;
		}
		if (frames->prefix_size < XDS_FRAME_PREFIX) {
			frames->prefix[frames->prefix_size++] = *at++;
			if (frames->prefix_size < XDS_FRAME_PREFIX)
				continue;
			r = check_prefix(frames);
			if (r)
				return r;
		}
		take = frames->wanted - frames->body.size;
		if (take > (size_t)(end - at))
			take = (size_t)(end - at);
		r = reserve(frames, take);
		if (r == 0)
			r = strbuf_append(&frames->body, at, take);
		if (r) {
			snprintf(frames->problem, sizeof(frames->problem), "no memory for a message of %u bytes", frames->wanted);
			return r;
		}
		at += take;
		if (frames->body.size == frames->wanted) {
			r = finish(frames, frame, context);
			if (r)
				return r;
		}
	}
	return 0;
}

bool xds_frames_are_whole(const struct xds_frames *frames)
{
	return frames->prefix_size == 0;
}

void xds_frames_reset(struct xds_frames *frames)
{
	strbuf_release(&frames->body);
	frames->prefix_size = frames->wanted = 0;
	frames->has_trailers = false;
	frames->problem[0] = '\0';
}

int xds_frame_append(struct strbuf *out, const void *bytes, size_t size)
{
	const uint8_t prefix[XDS_FRAME_PREFIX] = { 0, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size };
	int r;

	if (size > UINT32_MAX)
		return -EMSGSIZE;
	r = strbuf_reserve(out, size + sizeof(prefix));
	if (r)
		return r;
	strbuf_append(out, prefix, sizeof(prefix));
	return strbuf_append(out, bytes, size);
}
