/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The chunked coding (RFC 9112 7.1), strictly: finds where a body ends, changes nothing. Refused: sizes that are not bounded
 * HEXDIG, bare CR or LF, control characters or unbalanced quotes in extensions, missing CRLF after data, malformed trailers. */
#ifndef WEFT_CHUNKED_H
#define WEFT_CHUNKED_H

#include "weft/base.h"
#include "weft/bytes.h"
#include "weft/fields.h"
#include "weft/head.h"
#include "weft/target.h"

#define WEFT_CHUNKED_KERNEL_CHUNKS_MAX 16u
#define WEFT_CHUNKED_ZEROS_MAX 64u        /* leading zeros of a size */
#define WEFT_CHUNKED_EXTENSIONS_MAX 16384u /* bytes of extensions on one chunk line */
#define WEFT_CHUNKED_TRAILERS_MAX 61440u  /* bytes of all trailers */

enum weft_chunked_result {
	WEFT_CHUNKED_DONE = 0, /* the body ends after `consumed` bytes */
	WEFT_CHUNKED_MORE = 1, /* all of it was consumed */
	WEFT_CHUNKED_BAD = 2,  /* 400 and close (a response: 502, or cut) */
};

#ifndef __bpf__
enum weft_chunked_state {
	WEFT_CHUNKED_SIZE_FIRST,       /* a digit must come */
	WEFT_CHUNKED_SIZE,             /* digits, white space, `;` or CR */
	WEFT_CHUNKED_SIZE_BLANK,       /* white space after the size: then `;` or CR (Envoy takes it) */
	WEFT_CHUNKED_EXTENSION,
	WEFT_CHUNKED_EXTENSION_QUOTED,
	WEFT_CHUNKED_EXTENSION_ESCAPE, /* after a backslash inside quotes */
	WEFT_CHUNKED_SIZE_LF,
	WEFT_CHUNKED_DATA,
	WEFT_CHUNKED_DATA_CR,
	WEFT_CHUNKED_DATA_LF,
	WEFT_CHUNKED_TRAILER_FIRST,    /* a trailer's first byte, or the CR of the last line */
	WEFT_CHUNKED_TRAILER_NAME,
	WEFT_CHUNKED_TRAILER_VALUE,
	WEFT_CHUNKED_TRAILER_LF,
	WEFT_CHUNKED_END_LF,
	WEFT_CHUNKED_ENDED,
	WEFT_CHUNKED_FAILED,
};

struct weft_chunked {
	u8 state; /* enum weft_chunked_state */
	u8 digits;
	u16 extension_len;
	u32 trailer_len;
	u64 remaining; /* bytes of the current chunk's data still to come */
	u64 data_len;  /* bytes of data so far, without framing */
};

static inline void weft_chunked_init(struct weft_chunked *chunked)
{
	memset(chunked, 0, sizeof(*chunked));
}

static inline u8 weft_chunked_size(struct weft_chunked *chunked, u8 byte)
{
	u32 digit = weft_hex(byte);

	if (digit == 16)
		return WEFT_CHUNKED_FAILED;
	if (chunked->remaining >> 60 || ++chunked->digits > WEFT_CHUNKED_ZEROS_MAX)
		return WEFT_CHUNKED_FAILED;
	chunked->remaining = chunked->remaining << 4 | digit;
	return WEFT_CHUNKED_SIZE;
}

/* One byte of framing. */
static inline u8 weft_chunked_step(struct weft_chunked *chunked, u8 byte)
{
	bool is_control = (byte < 0x20 && byte != '\t') || byte == 0x7f;

	switch (chunked->state) {
	case WEFT_CHUNKED_SIZE_FIRST:
		chunked->remaining = 0;
		chunked->digits = 0;
		chunked->extension_len = 0;
		return weft_chunked_size(chunked, byte);
	case WEFT_CHUNKED_SIZE:
		if (byte != '\r' && byte != ';' && !weft_is_blank(byte))
			return weft_chunked_size(chunked, byte);
		/* fall through */
	case WEFT_CHUNKED_SIZE_BLANK:
		if (++chunked->extension_len > WEFT_CHUNKED_EXTENSIONS_MAX)
			return WEFT_CHUNKED_FAILED;
		if (weft_is_blank(byte))
			return WEFT_CHUNKED_SIZE_BLANK;
		return byte == '\r' ? WEFT_CHUNKED_SIZE_LF : byte == ';' ? WEFT_CHUNKED_EXTENSION : WEFT_CHUNKED_FAILED;
	case WEFT_CHUNKED_EXTENSION:
		if (byte == '\r')
			return WEFT_CHUNKED_SIZE_LF;
		if (is_control || ++chunked->extension_len > WEFT_CHUNKED_EXTENSIONS_MAX)
			return WEFT_CHUNKED_FAILED;
		return byte == '"' ? WEFT_CHUNKED_EXTENSION_QUOTED : WEFT_CHUNKED_EXTENSION;
	case WEFT_CHUNKED_EXTENSION_QUOTED:
		if (is_control || ++chunked->extension_len > WEFT_CHUNKED_EXTENSIONS_MAX)
			return WEFT_CHUNKED_FAILED;
		return byte == '"' ? WEFT_CHUNKED_EXTENSION
				   : byte == '\\' ? WEFT_CHUNKED_EXTENSION_ESCAPE : WEFT_CHUNKED_EXTENSION_QUOTED;
	case WEFT_CHUNKED_EXTENSION_ESCAPE:
		if (is_control || ++chunked->extension_len > WEFT_CHUNKED_EXTENSIONS_MAX)
			return WEFT_CHUNKED_FAILED;
		return WEFT_CHUNKED_EXTENSION_QUOTED;
	case WEFT_CHUNKED_SIZE_LF:
		if (byte != '\n')
			return WEFT_CHUNKED_FAILED;
		return chunked->remaining ? WEFT_CHUNKED_DATA : WEFT_CHUNKED_TRAILER_FIRST;
	case WEFT_CHUNKED_DATA_CR:
		return byte == '\r' ? WEFT_CHUNKED_DATA_LF : WEFT_CHUNKED_FAILED;
	case WEFT_CHUNKED_DATA_LF:
		return byte == '\n' ? WEFT_CHUNKED_SIZE_FIRST : WEFT_CHUNKED_FAILED;
	}

	if (++chunked->trailer_len > WEFT_CHUNKED_TRAILERS_MAX)
		return WEFT_CHUNKED_FAILED;
	switch (chunked->state) {
	case WEFT_CHUNKED_TRAILER_FIRST:
		if (byte == '\r')
			return WEFT_CHUNKED_END_LF;
		return weft_in_set(byte, WEFT_TOKEN_LOW, WEFT_TOKEN_HIGH) ? WEFT_CHUNKED_TRAILER_NAME : WEFT_CHUNKED_FAILED;
	case WEFT_CHUNKED_TRAILER_NAME:
		if (byte == ':')
			return WEFT_CHUNKED_TRAILER_VALUE;
		return weft_in_set(byte, WEFT_TOKEN_LOW, WEFT_TOKEN_HIGH) ? WEFT_CHUNKED_TRAILER_NAME : WEFT_CHUNKED_FAILED;
	case WEFT_CHUNKED_TRAILER_VALUE:
		if (byte == '\r')
			return WEFT_CHUNKED_TRAILER_LF;
		return is_control ? WEFT_CHUNKED_FAILED : WEFT_CHUNKED_TRAILER_VALUE;
	case WEFT_CHUNKED_TRAILER_LF:
		return byte == '\n' ? WEFT_CHUNKED_TRAILER_FIRST : WEFT_CHUNKED_FAILED;
	case WEFT_CHUNKED_END_LF:
		return byte == '\n' ? WEFT_CHUNKED_ENDED : WEFT_CHUNKED_FAILED;
	}
	return WEFT_CHUNKED_FAILED;
}

/* Reads on. `consumed` (bytes of `data` that belong to the body) is set in every case; for MORE it is `len`. Once DONE or BAD it
 * stays so. */
static inline int weft_chunked_feed(struct weft_chunked *chunked, const u8 *data, size_t len, size_t *consumed)
{
	size_t at = 0;

	while (at < len && chunked->state < WEFT_CHUNKED_ENDED) {
		if (chunked->state == WEFT_CHUNKED_DATA) {
			u64 n = WEFT_MIN(chunked->remaining, (u64)(len - at));

			at += n;
			chunked->data_len += n;
			chunked->remaining -= n;
			if (!chunked->remaining)
				chunked->state = WEFT_CHUNKED_DATA_CR;
		} else {
			chunked->state = weft_chunked_step(chunked, data[at++]);
		}
	}
	*consumed = at;
	return chunked->state == WEFT_CHUNKED_ENDED ? WEFT_CHUNKED_DONE
						    : chunked->state == WEFT_CHUNKED_FAILED ? WEFT_CHUNKED_BAD : WEFT_CHUNKED_MORE;
}
#endif

struct weft_chunked_scan {
	const u8 *p;
	u32 off;
	u32 len;
	u32 is_whole;
};

WEFT_STEP weft_chunked_scan_step(u32 index, void *context)
{
	struct weft_chunked_scan *scan = context;
	u32 off = scan->off, len = scan->len, size = 0, i;

	for (i = 0; i < 4; i++) {
		u32 digit;

		if (off >= len)
			return 1;
		digit = weft_hex(scan->p[WEFT_OFFSET(off)]);
		if (digit == 16)
			break;
		size = size << 4 | digit;
		off++;
	}
	if (!i || size > len || off + 4 > len || weft_load2(scan->p + WEFT_OFFSET(off)) != ('\r' | '\n' << 8))
		return 1;
	off = WEFT_PLACE(off + 2 + size);
	if (off + 2 > len || weft_load2(scan->p + WEFT_OFFSET(off)) != ('\r' | '\n' << 8))
		return 1;
	scan->off = WEFT_PLACE(off + 2);
	if (size)
		return 0;
	scan->is_whole = scan->off == len;
	return 1;
}

/* 1 when a chunked body without extensions and trailers begins at `off` and ends exactly at `len`, in at most
 * WEFT_CHUNKED_KERNEL_CHUNKS_MAX chunks beside the last; else 0, which is no verdict: the proxy looks again. */
WEFT_STAGE int weft_chunked_whole(const struct weft_head_bytes *bytes, u32 off, u32 len)
{
	struct weft_chunked_scan scan = {.off = off, .len = len};

	if (!bytes || len > WEFT_KERNEL_HEAD_MAX)
		return 0;
	scan.p = bytes->data;
	WEFT_LOOP(WEFT_CHUNKED_KERNEL_CHUNKS_MAX + 1, weft_chunked_scan_step, &scan);
	return scan.is_whole;
}

#endif
