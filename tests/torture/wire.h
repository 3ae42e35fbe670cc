/* SPDX-License-Identifier: Apache-2.0 */
/* A message as it goes over the wire, made piece by piece, and the writing of one or several of them as a schedule wants it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bytes.h"
#include "io.h"
#include "spec.h"

struct wire {
	const char *head;
	size_t head_len;
	enum framing framing;
	uint64_t body_key;
	uint64_t body_len;
	struct rng chunk_sizes;

	/* where it stands */
	size_t head_done;
	uint64_t body_done;
	uint64_t chunk_left;
	char line[80]; /* a chunk's size line or the end of the body */
	size_t line_len, line_done;
	bool in_chunk;
	bool ended;
};

void wire_begin(struct wire *wire, const char *head, size_t head_len, enum framing framing, uint64_t body_key, uint64_t body_len,
		uint64_t chunk_key);

/* The next bytes, at most `len`; 0 at the end. `head_only` stops at the end of the head. */
size_t wire_next(struct wire *wire, char *out, size_t len, bool head_only);

struct sending {
	struct io *io;
	struct rng rng;
	enum split split;
	enum write_mode mode;
	uint64_t piece;
	uint64_t gap_ms;   /* between pieces, the first few of them */
	uint64_t stall_at; /* once, at this position */
	uint64_t stall_ms;
	uint64_t cut_at;   /* stop there (a fault follows); UINT64_MAX: never */
	unsigned int gaps_done;
	char *buf;         /* grown on demand, kept over calls; the owner frees it */
	size_t buf_len;
	_Atomic uint64_t written; /* wire bytes accepted since wire_send() was called */
};

/* Writes `count` messages one after the other. 0, 1 when cut_at was reached, or -errno. */
int wire_send(struct sending *sending, struct wire *wires, size_t count);
