/* SPDX-License-Identifier: Apache-2.0 */
/* The client: many connections, each with one thread that writes requests and one that reads and checks answers. */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "place.h"
#include "io.h"
#include "ledger.h"
#include "message.h"
#include "schedule.h"
#include "wire.h"

enum {
	TARGETS_MAX = 16,
	CLIENT_HEAD_BYTES = 64 * 1024,
	STUCK_MS = 10000, /* without any progress, beyond scheduled pauses */
	THREAD_STACK = 256 * 1024,
};

/* A host and path prefix, and who may answer there. */
struct target {
	char host[64];
	char prefix[64];
	char names[128]; /* v1+v2 */
	struct place place;
};

/* What was allowed although no (whole) answer came, by the reason. */
#define ALLOWANCES(F)                                                                     \
	F(server_fault, "server closed or reset by schedule")                             \
	F(client_fault, "client broke off by schedule")                                   \
	F(half_close, "half-closed by the client")                                        \
	F(early, "answered early, the rest of the request cut off")                       \
	F(raced, "raced with the close of an idle connection")                            \
	F(after_end, "behind an exchange that ended the connection")                      \
	F(eagain, "EAGAIN from a blocking read after a connect() without blocking, forgiven by --forgive-eagain")              \
	F(crash, "cut off or refused while what carries it is being killed")

enum allowance {
#define ALLOWANCE(name, text) ALLOW_##name,
	ALLOWANCES(ALLOWANCE)
#undef ALLOWANCE
	ALLOWANCE_COUNT,
	NOT_ALLOWED,
};

/* Shared by all processes of one run. */
struct stats {
	_Atomic uint64_t requests, connections, bytes_in, bytes_out;
	_Atomic uint64_t wrong, lost, stuck, error;
	_Atomic uint64_t allowed[ALLOWANCE_COUNT];
	_Atomic uint64_t unasked_close; /* answers that say Connection: close for no scheduled reason */
	_Atomic uint64_t reported;
	_Atomic bool is_stopping;
};

struct client {
	struct schedule schedule;
	struct target targets[TARGETS_MAX];
	unsigned int target_count;
	bool is_direct;
	bool forgives_eagain;
	bool reconnects; /* a new connection for each batch */
	bool has_crashes; /* what is tested is killed now and then: only wrong bytes, repetitions and standstill count */
	bool is_replay;
	uint64_t replay_conn, replay_batch;
	uint64_t max_batches; /* of each connection; 0: until told to stop */
	struct stats *stats;
	struct ledger *ledger;
};

enum outcome {
	OUTCOME_NONE,      /* nothing of an answer was seen */
	OUTCOME_COMPLETE,  /* a whole answer of a server, every byte right */
	OUTCOME_LOCAL,     /* a whole answer, but of no server of ours */
	OUTCOME_ENDED,     /* end of the stream before the answer was whole */
	OUTCOME_FAILED,    /* an error of the socket */
	OUTCOME_WRONG,
	OUTCOME_ABANDONED, /* the schedule made the client break off */
};

struct result {
	enum outcome outcome;
	int error;           /* OUTCOME_FAILED: -errno */
	unsigned int status;
	uint64_t got;        /* bytes of the body */
	uint64_t end_ms;
	bool has_begun;      /* any byte of the final answer's head was parsed */
	bool says_close;
	char detail[480];
};

struct connection {
	struct client *client;
	uint64_t conn;
	struct io io;
	struct beat beat;
	struct reader reader;
	struct sending sending;
	struct rng rng;
	char *heads[BATCH_MAX]; /* CLIENT_HEAD_BYTES each */
	bool is_open;
	unsigned int target;    /* in direct mode: where it goes */
	bool may_have_ended;    /* by what the last exchange did */
	uint64_t batch_no, next_req;

	/* the batch at work, and how the two threads tell each other; under `lock` */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct batch batch;
	struct result results[BATCH_MAX];
	int write_error;
	bool is_reading;        /* the reader has a batch */
	bool is_quitting;
	bool got_continue;
	unsigned int begun;     /* how many answers' heads were seen */
	bool is_over;           /* the reader saw the end of the connection */
	bool is_written;        /* the writer is done */
	uint64_t begun_ms;      /* when the batch began */
	bool skipped_body;

	/* for the watchdog */
	_Atomic bool is_busy;
	_Atomic bool is_stuck;
	_Atomic uint64_t allowed_ms;
	_Atomic unsigned int reading_idx;
	uint64_t server_moved; /* the watchdog's own: progress that only the server saw, last time */
};

/* connection.c: both run until the client is stopping */
void *connection_thread(void *arg);
void *reader_thread(void *arg);

/* answer.c: reads one answer; returns whether the connection can carry another one. */
bool read_answer(struct connection *c, unsigned int idx);
/* Reads to the end of the stream after an answer that announced it. */
void read_end(struct connection *c, struct result *result, bool is_error_wrong);

/* judge.c */
void judge_batch(struct connection *c);
void report(struct connection *c, unsigned int idx, _Atomic uint64_t *counter, const char *kind, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* request.c: the head of a request; its length */
size_t write_request_head(const struct client *client, const struct spec *spec, char *out, size_t len);

/* stall.c: measures what connections pin whose reader has stopped; exit status */
struct stall_options {
	unsigned int connections;
	unsigned int seconds;
	uint32_t kinds; /* bits; 0: all */
	uint64_t download_limit_bytes, upload_limit_bytes; /* each connection may pin; 0: only measure */
};
bool stall_kinds_parse(const char *words, uint32_t *out);
int stall_run(struct client *client, const struct stall_options *options);

/* connection.c, for stall.c too */
int connect_to(const struct place *place, const struct batch *batch);
