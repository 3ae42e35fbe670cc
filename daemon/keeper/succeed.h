/* SPDX-License-Identifier: Apache-2.0 */
/* The beginning of a weftd that replaces another one: what it says to that one before it has a worker (pass.h). */
#ifndef WEFT_KEEPER_SUCCEED_H
#define WEFT_KEEPER_SUCCEED_H

#include <stdbool.h>

#include "keeper/table.h"

/* -EINVAL: its pins are elsewhere; -EPROTONOSUPPORT: likewise, and it has another ABI. -EBUSY: it is about to end, or another one asks. Logged; it goes on in any case. `*is_beside`: it has another ABI, so that
 * it can only drain. */
int succeed_greet(int channel, const char *bpffs, bool *is_beside);

/* What one that is to drain says of itself. */
struct succeed_yielded {
	uint64_t generation; /* of its configuration */
	uint32_t pod_count;  /* that it serves */
};
/* Takes all that it has into the table, as a former worker's, and the channel with it; `*generation` is its configuration's. An error (logged): what came is open until this process ends, and
 * then the other one goes on. */
int succeed_take(int channel, struct table *table, uint64_t *generation);
/* Once more that this one serves, by a keeper that ends without a worker who could: one that died between making it so and saying it. */
void succeed_say_serving(struct table *table);
/* Of one that is to drain: the channel alone. Likewise; -EPROTONOSUPPORT: it does not know how to. */
int succeed_beside(int channel, struct table *table, struct succeed_yielded *yielded);

#endif
