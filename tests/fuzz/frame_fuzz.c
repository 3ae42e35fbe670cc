/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's framing on hostile bytes. The first byte says how they are cut (and whether this is gRPC-Web): however that is, the same frames come out,
 * and the same verdict at the end. What a frame of trailers and a head hold is read too. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xds/frame.h"
#include "xds/grpc.h"

#define LIMIT 300u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct strbuf all;
	struct xds_grpc_head head;
};

static int note(void *context, bool is_trailers, struct strbuf *body)
{
	struct seen *seen = context;

	assert(body->size <= (is_trailers ? XDS_TRAILERS_MAX : LIMIT));
	strbuf_printf(&seen->all, "%c%zu:", is_trailers ? 'T' : 'M', body->size);
	strbuf_append(&seen->all, body->data, body->size);
	return is_trailers ? xds_grpc_head_trailers(&seen->head, strbuf_text(body), body->size) : 0;
}

/* In pieces of `step` bytes, each in memory of its own: a byte too far is seen. */
static int read_in_steps(const uint8_t *data, size_t size, size_t step, bool is_web, struct seen *seen, bool *is_whole)
{
	struct xds_frames frames = { .is_web = is_web, .limit_bytes = LIMIT };
	int r = 0;

	for (size_t at = 0; at < size && r == 0; at += step) {
		size_t take = size - at < step ? size - at : step;
		uint8_t *piece = malloc(take);

		if (!piece)
			abort();
		memcpy(piece, data + at, take);
		r = xds_frames_feed(&frames, piece, take, note, seen);
		free(piece);
		assert(frames.body.size <= frames.wanted);
	}
	assert((r == 0) == (frames.problem[0] == '\0'));
	*is_whole = xds_frames_are_whole(&frames);
	xds_frames_reset(&frames);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen once = { .head = { .grpc_status = -1 } }, often = { .head = { .grpc_status = -1 } };
	bool is_whole[2];
	int r[2];

	if (size < 2)
		return 0;
	r[0] = read_in_steps(data + 1, size - 1, size, data[0] & 1, &once, &is_whole[0]);
	r[1] = read_in_steps(data + 1, size - 1, (size_t)(data[0] >> 1) + 1, data[0] & 1, &often, &is_whole[1]);
	assert(r[0] == r[1] && is_whole[0] == is_whole[1] && once.all.size == often.all.size);
	assert(!once.all.size || memcmp(once.all.data, often.all.data, once.all.size) == 0);
	assert(once.head.grpc_status == often.head.grpc_status);
	xds_grpc_head_line(&once.head, (const char *)data + 1, size - 1);
	strbuf_release(&once.all);
	strbuf_release(&often.all);
	xds_grpc_head_release(&once.head);
	xds_grpc_head_release(&often.head);
	return 0;
}
