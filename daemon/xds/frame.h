/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in a stream of bytes, as gRPC and gRPC-Web frame them: a byte of flags, the length in four bytes (big-endian), the message.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, PROTOCOL-WEB.md. In gRPC-Web a last frame with flag 0x80 holds the trailers. */
#ifndef WEFT_XDS_FRAME_H
#define WEFT_XDS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

#define XDS_FRAME_PREFIX 5
#define XDS_TRAILERS_MAX (64u << 10)

struct xds_frames {
	bool is_web;              /* trailers may come */
	bool has_trailers;        /* they came: nothing may follow */
	uint32_t limit_bytes;     /* of one message */
	uint8_t prefix[XDS_FRAME_PREFIX];
	uint32_t prefix_size;     /* of it was read */
	uint32_t wanted;          /* length of the message that is being read, once its prefix is there */
	struct strbuf body;       /* it grows with what comes, never with what is announced */
	char problem[120];        /* after an error */
};

/* Takes the body if it wants to keep it (leaves STRBUF_INIT). 0, or -errno that ends the reading. */
typedef int (*xds_frame_fn)(void *context, bool is_trailers, struct strbuf *body);

/* Calls `frame` for each frame that is whole with these bytes. -EMSGSIZE: a message over the limit is announced; -EPROTO: not gRPC's framing,
 * or compressed, which was not asked for: `problem` says it; -ENOMEM; what `frame` returned. Nothing may be fed after an error. */
int xds_frames_feed(struct xds_frames *frames, const void *bytes, size_t size, xds_frame_fn frame, void *context);

/* Were only whole frames read? */
bool xds_frames_are_whole(const struct xds_frames *frames);

/* Forgets what was read, for a new call. */
void xds_frames_reset(struct xds_frames *frames);

/* Appends a message with its prefix. */
int xds_frame_append(struct strbuf *out, const void *bytes, size_t size);

#endif
