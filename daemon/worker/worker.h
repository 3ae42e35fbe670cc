/* SPDX-License-Identifier: Apache-2.0 */
/* The worker: reads the configuration, compiles and publishes it, enrols pods, and wires datapath, pool and proxy together, in one event
 * loop. The keeper makes it; a further one takes over what the table says is open. */
#ifndef WEFT_WORKER_WORKER_H
#define WEFT_WORKER_WORKER_H

#include <stdbool.h>

#include "keeper/keeper.h"
#include "keeper/options.h"
#include "keeper/table.h"

struct worker_config {
	const struct options *options;
	uint32_t disabled;         /* features: what options->disable names */
	struct table *table;
	const char *cgroup2;       /* where cgroup v2 is mounted */
	const char *own_cgroup;    /* the worker's own folder in it */
	uint32_t descriptors;      /* that may be open at once */
	bool replaces;             /* `table` is another weftd's, and datapath_load_next() has been called */
	uint32_t pods_wanted;      /* is_beside: as many as that one served when it yielded */
	bool is_beside;            /* a weftd of another ABI is to drain: it is at the table's channel, and datapath_load_beside() has been called */
};

struct mesh;

/* Neither pods nor resources: a file that was cut short or is not the one that was meant. Such a one is refused. */
bool worker_config_is_empty(const struct mesh *mesh);

/* For keeper_job.work; `arg` is a struct worker_config. */
int worker_run(void *arg, struct keeper_state *state);

#endif
