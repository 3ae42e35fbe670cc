/* SPDX-License-Identifier: Apache-2.0 */
/* Tables that are full are told of: what is left out then is correct, and slower or unmeshed, so nobody would notice. */
#include <inttypes.h>

#include "base/log.h"
#include "datapath/datapath.h"
#include "keeper/options.h"
#include "worker/internal.h"

#define SAY_AGAIN_S 60u

void limits_watch(struct worker *worker)
{
	uint64_t counters[WEFT_COUNTERS], left_out;

	if (datapath_counters(worker->datapath, counters))
		return;
	left_out = counters[WEFT_COUNTER_CONNECTIONS_FULL];
	if (left_out == worker->left_out_told || (worker->left_out_told_at && worker->seconds - worker->left_out_told_at < SAY_AGAIN_S))
		return;
	log_warning("connections were left out of the mesh because the table of connections is full: %" PRIu64 " until now; it holds %" PRIu32
		    ", --limit connections=N allows for up to %u",
		    left_out, worker->config->options->limits.connections, WEFT_CONNECTIONS_MAX);
	worker->left_out_told = left_out;
	worker->left_out_told_at = worker->seconds;
}
