/* SPDX-License-Identifier: Apache-2.0 */
/* A file that all servers and clients of one run map: which request was executed how often and by whom it was seen too late. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	LEDGER_CONNECTIONS = 1024,
	LEDGER_REQUESTS = 1 << 20,
	LEDGER_RESETS = 256,

	LEDGER_COUNT = 0x0f, /* how often a server began to execute it */
	LEDGER_BEHIND = 0x20, /* it reached a server behind an answer that ended the connection: whoever sent it was told */
	LEDGER_DONE = 0x40,  /* a server wrote its answer to the end */
	LEDGER_RACED = 0x80, /* it reached a server that had already closed that connection by schedule */
};

struct ledger {
	_Atomic uint64_t wrong;     /* what servers found and could not, or not only, tell the client */
	_Atomic uint64_t lost;
	_Atomic uint64_t duplicate;
	_Atomic uint64_t error;
	_Atomic uint64_t stuck;
	_Atomic uint64_t stuck_at_ms;   /* when a client last found a connection stuck: servers then print what they know */
	_Atomic bool shuns_fionread;    /* set by the client before its first connection: no server asks FIONREAD of its own accord */
	_Atomic uint64_t idle_resets;
	/* When servers reset idle connections, the last ones, at idle_resets % LEDGER_RESETS: after the first of the two times, and before the other, which
	 * is 0 until it is over. */
	_Atomic uint64_t idle_reset_ms[LEDGER_RESETS], idle_reset_over_ms[LEDGER_RESETS];
	_Atomic uint64_t moved[LEDGER_CONNECTIONS];   /* changes while the server of the present request reads or writes */
	_Atomic uint64_t written[LEDGER_CONNECTIONS]; /* body bytes of the present answer that a server got rid of */
	_Atomic uint8_t requests[LEDGER_CONNECTIONS][LEDGER_REQUESTS];
};

/* Creates the file when it is missing; it is sparse: only what is used takes room. 0 or -errno. */
int ledger_open(const char *path, struct ledger **out);

/* Said before a server resets an idle connection, and after: it may be held up between. */
uint64_t ledger_idle_reset_begins(struct ledger *ledger, uint64_t now_ms);
void ledger_idle_reset_over(struct ledger *ledger, uint64_t number, uint64_t now_ms);
/* Whether one of the last idle connections that servers reset may have been reset between these times. */
bool ledger_idle_reset_between(struct ledger *ledger, uint64_t from_ms, uint64_t to_ms);

_Atomic uint8_t *ledger_entry(struct ledger *ledger, uint64_t conn, uint64_t req);
