// SPDX-License-Identifier: Apache-2.0
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	ONE_WRITE_MAX = 4 << 20, /* above it even "one write" becomes several; well past the largest message that a mesh may bypass */
	SLOW_BYTES = 300,
	GAPS_MAX = 10,
};

void wire_begin(struct wire *wire, const char *head, size_t head_len, enum framing framing, uint64_t body_key, uint64_t body_len,
		uint64_t chunk_key)
{
	*wire = (struct wire){
		.head = head,
		.head_len = head_len,
		.framing = framing,
		.body_key = body_key,
		.body_len = body_len,
		.chunk_sizes = {.state = chunk_key},
	};
}

static bool is_chunked(const struct wire *wire)
{
	return wire->framing == FRAMING_CHUNKED || wire->framing == FRAMING_TRAILERS;
}

/* Sizes of every order, but not so many chunks that a large body takes for ever. */
static uint64_t chunk_size(struct wire *wire)
{
	static const uint64_t limits[] = {1, 16, 256, 4096, 4097, 16384, 65536, 262144};
	uint64_t left = wire->body_len - wire->body_done;
	uint64_t size = 1 + rng_below(&wire->chunk_sizes, limits[rng_below(&wire->chunk_sizes, 8)]);
	uint64_t least = wire->body_len >> 32 ? 0 : wire->body_len / 2000; /* an endless one has time */

	if (rng_permille(&wire->chunk_sizes, 100))
		size = left;
	if (size < least)
		size = least;
	return size < left ? size : left;
}

static void next_line(struct wire *wire)
{
	int n;

	wire->line_done = 0;
	if (wire->body_done < wire->body_len) {
		wire->chunk_left = chunk_size(wire);
		n = snprintf(wire->line, sizeof(wire->line), "%s%llx\r\n", wire->in_chunk ? "\r\n" : "", (unsigned long long)wire->chunk_left);
		wire->in_chunk = true;
	} else {
		n = snprintf(wire->line, sizeof(wire->line), "%s0\r\n%s\r\n", wire->in_chunk ? "\r\n" : "",
			     wire->framing == FRAMING_TRAILERS ? "X-Trailer: torture\r\n" : "");
		wire->ended = true;
	}
	wire->line_len = (size_t)n;
}

static size_t take_body(struct wire *wire, char *out, size_t len)
{
	uint64_t left = is_chunked(wire) ? wire->chunk_left : wire->body_len - wire->body_done;
	size_t n = left < len ? (size_t)left : len;

	bytes_fill(wire->body_key, wire->body_done, out, n);
	wire->body_done += n;
	if (is_chunked(wire))
		wire->chunk_left -= n;
	return n;
}

size_t wire_next(struct wire *wire, char *out, size_t len, bool head_only)
{
	size_t used = 0;

	while (used < len) {
		if (wire->head_done < wire->head_len) {
			size_t n = wire->head_len - wire->head_done;

			n = n < len - used ? n : len - used;
			memcpy(out + used, wire->head + wire->head_done, n);
			wire->head_done += n;
			used += n;
			if (head_only)
				break;
			continue;
		}
		if (head_only || wire->framing == FRAMING_NONE)
			break;
		if (!is_chunked(wire)) {
			used += take_body(wire, out + used, len - used);
			break;
		}
		if (wire->line_done < wire->line_len) {
			size_t n = wire->line_len - wire->line_done;

			n = n < len - used ? n : len - used;
			memcpy(out + used, wire->line + wire->line_done, n);
			wire->line_done += n;
			used += n;
			continue;
		}
		if (wire->chunk_left) {
			used += take_body(wire, out + used, len - used);
			continue;
		}
		if (wire->ended)
			break;
		next_line(wire);
	}
	return used;
}

static int grow(struct sending *sending, size_t len)
{
	char *buf;

	if (len <= sending->buf_len)
		return 0;
	buf = realloc(sending->buf, len);
	if (!buf)
		return -ENOMEM;
	sending->buf = buf;
	sending->buf_len = len;
	return 0;
}

/* How many bytes the next write may take, and whether it must end with the head. */
static size_t next_piece(struct sending *sending, const struct wire *wire, uint64_t done, bool *head_only)
{
	bool is_head = wire->head_done < wire->head_len;

	*head_only = false;
	switch (sending->split) {
	case SPLIT_HEAD:
		*head_only = is_head;
		return ONE_WRITE_MAX;
	case SPLIT_BREAK:
		return is_head && !wire->head_done ? 1 + rng_below(&sending->rng, wire->head_len - 1) : ONE_WRITE_MAX;
	case SPLIT_BYTES:
		return done < SLOW_BYTES ? 1 : sending->piece ? sending->piece : ONE_WRITE_MAX;
	case SPLIT_PIECES:
		return 1 + rng_below(&sending->rng, sending->piece ? sending->piece : 4096);
	case SPLIT_ONE:
	case SPLIT_EACH:
	case SPLITS:
	default:
		return ONE_WRITE_MAX;
	}
}

static bool is_over_boundaries(enum split split)
{
	return split == SPLIT_ONE || split == SPLIT_PIECES;
}

static uint64_t wire_left(const struct wire *wire)
{
	uint64_t body = wire->body_len - wire->body_done;

	/* A chunk of one byte takes six: an upper bound is enough to size a buffer. */
	return wire->head_len - wire->head_done + (wire->framing == FRAMING_NONE ? 0 : is_chunked(wire) ? body * 6 + 128 : body);
}

int wire_send(struct sending *sending, struct wire *wires, size_t count)
{
	uint64_t done = 0;
	size_t at = 0;
	bool has_stalled = !sending->stall_ms;

	atomic_store(&sending->written, 0);
	sending->gaps_done = 0;
	while (at < count) {
		uint64_t room = 0;
		size_t filled = 0, want;
		bool head_only;
		int r;

		want = next_piece(sending, &wires[at], done, &head_only);
		if (sending->cut_at - done < want)
			want = (size_t)(sending->cut_at - done);
		if (!has_stalled && sending->stall_at > done && sending->stall_at - done < want)
			want = (size_t)(sending->stall_at - done);
		for (size_t i = at; i < count && room < want; i++)
			room += wire_left(&wires[i]);
		r = grow(sending, room < want ? (size_t)room + 1 : want);
		if (r)
			return r;
		if (want > sending->buf_len)
			want = sending->buf_len;
		while (at < count && filled < want) {
			size_t n = wire_next(&wires[at], sending->buf + filled, want - filled, head_only);

			filled += n;
			if (filled == want || (head_only && n))
				break;
			at++;
			if (!filled || !is_over_boundaries(sending->split))
				break;
		}
		if (filled) {
			bool more = head_only && at < count && wires[at].framing != FRAMING_NONE && wires[at].body_len;

			r = io_write(sending->io, sending->buf, filled, sending->mode, more, &sending->written);
			if (r)
				return r;
			done += filled;
		}
		if (done >= sending->cut_at)
			return 1;
		if (!has_stalled && done >= sending->stall_at) {
			has_stalled = true;
			io_pause(sending->io, sending->stall_ms);
		}
		if (filled && sending->gap_ms && sending->gaps_done < GAPS_MAX && at < count) {
			sending->gaps_done++;
			io_pause(sending->io, rng_below(&sending->rng, sending->gap_ms + 1));
		}
	}
	return 0;
}
