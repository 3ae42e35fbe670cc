/* SPDX-License-Identifier: Apache-2.0 */
/* The main process: makes the worker, watches it, makes the next one. It serves nothing itself, opens no descriptor while workers run (they
 * share its table), and has one thread. */
#ifndef WEFT_KEEPER_KEEPER_H
#define WEFT_KEEPER_KEEPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "keeper/table.h"

/* Shared with every worker (MAP_SHARED); each field has one writer. */
struct keeper_state {
	uint32_t restarts;     /* keeper: workers after the first */
	uint32_t quick_deaths; /* keeper: workers in a row that lived for less than a second */
	uint32_t has_served;   /* worker: some worker got as far as serving, or of a replacement as taking over; from then on the keeper never gives up */
	uint64_t generation;   /* worker: configurations published since the keeper began */
	uint64_t started_ns;   /* keeper: CLOCK_MONOTONIC of the keeper's own start */
	pid_t keeper_pid;
	uint32_t is_replaced;  /* worker: another weftd has all that this one had; when the worker ends, so does the keeper, and clears nothing away.
	                          Set before that one is told, and taken back by a worker that knows that it will not serve */
	uint32_t is_draining;  /* worker: likewise, but the other one has an ABI of its own: this one keeps its pins, until it ends with its worker */
	uint32_t is_told_to_end; /* keeper: by a signal that it left alone, since one of these two was set. Set before it looks at them: a worker that takes one
	                            back and goes on looks at this one afterwards */
};

/* A worker's exit status. */
enum keeper_exit {
	KEEPER_EXIT_DONE = 0,
	KEEPER_EXIT_FAILED = 1,  /* could not begin: logged; before has_served the keeper then gives up too */
	KEEPER_EXIT_REPLACED = 3, /* of keeper_run() alone: what is attached and pinned is another weftd's now */
	KEEPER_EXIT_UNTAKEN = 4,  /* likewise: a replacement that ended before it took over, so that all is the other one's still */
	KEEPER_EXIT_DRAINED = 5,  /* likewise: its pins are all that is its own still */
	KEEPER_EXIT_DRAINED_STAYS = 6, /* likewise, and it is to wait until it is told to end */
};

struct keeper_job {
	const char *name;      /* the worker's, as ps shows it; at most 15 bytes */
	/* The worker's whole life, in its own process, with the signals of keeper_signals() blocked; its value is the exit status. */
	int (*work)(void *arg, struct keeper_state *state);
	void *arg;
	bool is_replacement;   /* `table` holds what another weftd handed over: the first worker follows that one's */
	uint64_t generation;   /* of that one's configuration */
	/* Replaced, the keeper waits for SIGTERM or SIGINT: whoever started it would start it again, and it would take everything back. The first of them
	 * lets the worker end what it still has. */
	bool stays_when_replaced;
	uint32_t stop_timeout_ms; /* after SIGTERM to the worker until SIGKILL; 0: 10000 */
};

/* Runs workers until SIGTERM or SIGINT. Every descriptor that `table` doesn't name is closed before a further worker is made. Returns the
 * process's exit status: 0 after a signal, KEEPER_EXIT_FAILED when no worker could begin. */
int keeper_run(struct table *table, const struct keeper_job *job);

/* Returns when SIGTERM or SIGINT comes, after a keeper_run() that says so. */
void keeper_wait_for_end(void);

/* Blocks the signals that keeper and worker read (SIGTERM, SIGINT, SIGHUP, SIGCHLD) and ignores SIGPIPE. Before any thread. */
int keeper_block_signals(void);

#endif
