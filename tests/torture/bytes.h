/* SPDX-License-Identifier: Apache-2.0 */
/* Predictable bytes: every byte of every message follows from (run, connection, request, what it is, offset), so that either
 * side can check a byte without having seen another one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bytes_of {
	BYTES_REQUEST_BODY = 1,
	BYTES_REPLY_BODY,
	BYTES_REQUEST_PAD,
	BYTES_REPLY_PAD,
	BYTES_QUERY,
	BYTES_REQUEST_CHUNKS,
	BYTES_REPLY_CHUNKS,
	BYTES_SCHEDULE,
};

struct rng {
	uint64_t state;
};

uint64_t mix64(uint64_t x);
uint64_t bytes_key(uint64_t run, uint64_t conn, uint64_t req, enum bytes_of what);

void bytes_fill(uint64_t key, uint64_t offset, void *out, size_t len);

/* The index of the first byte of `data` that is not what stands at `offset`, or `len`. */
size_t bytes_check(uint64_t key, uint64_t offset, const void *data, size_t len);

/* Where in the first `limit` bytes of the stream `data` (at least 8 bytes) stands, or -1: tells a gap from a repetition. */
int64_t bytes_find(uint64_t key, uint64_t limit, const void *data, size_t len);

/* The same for header values and queries: unreserved characters only. */
void text_fill(uint64_t key, uint64_t offset, char *out, size_t len);
bool text_check(uint64_t key, uint64_t offset, const char *data, size_t len);

uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit); /* 0 .. limit-1; 0 for limit 0 */
bool rng_permille(struct rng *rng, unsigned int permille);
