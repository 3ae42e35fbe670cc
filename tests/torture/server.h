/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted server: does with each request what the request's own X-T header says. One thread a connection. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "io.h"
#include "ledger.h"
#include "message.h"
#include "spec.h"
#include "wire.h"

enum { SERVER_HEAD_BYTES = 80 * 1024 };

struct server {
	const char *name;
	struct ledger *ledger;
	uint64_t patience_ms; /* how long an exchange may stand still */
	bool sleeps; /* see struct io */
	bool has_crashes; /* whoever carries the requests is killed now and then: cut ones need no reason */
	pthread_mutex_t lock; /* of the list of connections, for the watchdog */
	struct served *connections;
	_Atomic uint64_t accepted, executed;
};

/* One accepted connection. */
struct served {
	struct server *server;
	struct served *next;
	struct io io;
	struct beat beat;
	struct reader reader;
	struct sending sending;
	char *head_text; /* of the answer; SERVER_HEAD_BYTES */
	struct rng rng;
	_Atomic uint64_t conn, req; /* of the request at work, for the watchdog */
	_Atomic bool is_idle;       /* between requests */
	uint64_t idle_ms;           /* how long to wait for the next request before closing; UINT64_MAX: for ever */
	bool is_reported_stuck;     /* the watchdog's own */
	bool idle_reset;            /* close with a RST then */
	char spec_text[400];
};

/* What to do with the connection after an exchange. */
enum verdict { GO_ON, HANG_UP, HANG_UP_SILENTLY, RESET };

/* Reads, checks and answers one request whose head is in `head`. */
enum verdict serve(struct served *served, const struct head *head);

/* Prints and counts what no schedule explains. `counter` is one of the ledger's. */
void server_report(struct served *served, _Atomic uint64_t *counter, const char *what, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
