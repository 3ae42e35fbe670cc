/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded random schedules: the same (seed, connection, batch) always gives the same exchanges. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bytes.h"
#include "spec.h"

/* Classes of behaviour, for --only and --no. What is left out is done the plain way. */
#define FEATURES(F)                                                                                                  \
	F(large, "bodies round 2 MiB")                                                                               \
	F(huge, "now and then a body of 8 to 64 MB")                                                                 \
	F(chunked, "chunked requests and answers, with trailers too")                                                \
	F(eof, "answers that end with the connection")                                                               \
	F(nobody, "HEAD, 204, 304")                                                                                  \
	F(bighead, "heads over 4096 bytes")                                                                          \
	F(bare, "requests as small as can be")                                                                       \
	F(expect, "Expect: 100-continue")                                                                            \
	F(interim, "1xx before the answer")                                                                          \
	F(upgrade, "an upgrade that nobody takes")                                                                   \
	F(split, "requests in several writes")                                                                       \
	F(resplit, "answers in several writes")                                                                      \
	F(delay, "pauses in requests and answers, servers that stop reading for a while")                            \
	F(stall, "clients that stop reading for a while")                                                            \
	F(readers, "byte by byte, edge-triggered, MSG_PEEK, vectors, and fionread if that is in")                    \
	F(fionread, "readers that ask FIONREAD how much there is, servers before each request too")                  \
	F(duplex, "a thread that blocks in a read while another one writes or shuts down")                           \
	F(writers, "edge-triggered, vectors, sendfile, splice, MSG_MORE")                                            \
	F(smallbuf, "small socket buffers")                                                                          \
	F(pipeline, "2 to 8 requests at once")                                                                       \
	F(early, "answers before the request's body was read")                                                       \
	F(serverclose, "servers that say Connection: close")                                                         \
	F(idleclose, "servers that close idle connections without a word")                                           \
	F(idlereset, "servers that reset idle connections")                                                          \
	F(serverfault, "servers that close or reset before or in an answer")                                         \
	F(clientclose, "clients that say Connection: close, or close between requests")                              \
	F(clientfault, "clients that close or reset in a request or in an answer")                                   \
	F(endinside, "ends of connections inside a pipeline, not only after it")                                     \
	F(halfclose, "clients that shut their direction down")

enum feature {
#define FEATURE(name, text) FEATURE_##name,
	FEATURES(FEATURE)
#undef FEATURE
	FEATURE_COUNT,
};

enum { BATCH_MAX = 8 };

/* What one connection does between two moments at which nothing is under way on it. */
struct batch {
	struct spec specs[BATCH_MAX];
	unsigned int count;
	bool starts_anew;      /* close the connection first (gracefully, or by a RST) */
	bool starts_by_reset;
	uint64_t think_ms;     /* before it */
	/* for the connection, if one has to be made */
	bool no_delay;
	uint64_t receive_buffer, send_buffer; /* 0: the system's */
	bool connect_nonblocking; /* also of those that sleep afterwards, as a connect() with a time-out does */
	bool sleeps;
};

struct schedule {
	uint64_t seed;
	uint32_t features; /* bits of enum feature */
	unsigned int target_count;
	bool is_direct;    /* no proxy between: one connection reaches one target */
};

/* `first_req` numbers its first exchange. */
void schedule_batch(const struct schedule *schedule, uint64_t conn, uint64_t batch_no, uint64_t first_req, struct batch *batch);

const char *feature_name(unsigned int feature);
const char *feature_text(unsigned int feature);

/* Comma-separated names to bits; false for an unknown one. */
bool features_parse(const char *names, uint32_t *out);
