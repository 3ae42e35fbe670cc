/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning of a weftd that replaces another one: what it says to that one before it has a worker (pass.h). */
#ifndef WEFT_KEEPER_SUCCEED_H
#define WEFT_KEEPER_SUCCEED_H

#include "keeper/table.h"

/* -EPROTONOSUPPORT: it has another version of the ABI. -EINVAL: its pins are elsewhere. -EBUSY: it is about to end, or another one asks. Logged; it goes on
 * in any case. */
int succeed_greet(int channel, const char *bpffs);

struct succeed_kept {
	int lock_fd, control_fd; /* named in the table, too */
	uint64_t generation;     /* of its configuration */
};
/* Takes all that it has into the table, as a former worker's, and the channel with it. An error (logged): what came is open until this process ends, and
 * then the other one goes on. */
int succeed_take(int channel, struct table *table, struct succeed_kept *kept);

#endif
