/* SPDX-License-Identifier: Apache-2.0 */
/* What one pod may have; and tables that are full, or of which a pod has its share, are told of: what is left out then is correct, and slower or unmeshed,
 * so nobody would notice. */
#include <inttypes.h>

#include "base/log.h"
#include "datapath/datapath.h"
#include "keeper/options.h"
#include "worker/internal.h"

#define SAY_AGAIN_S 60u
#define SHARE_OF_CONNECTIONS 4u
#define SHARE_OF_POOLS 4u
#define SHARE_OF_UPSTREAMS 8u
/* A connection takes a descriptor of the proxy, which may need another one for its upstream, and the pool has its own. */
#define SHARE_OF_DESCRIPTORS 8u

static uint32_t share(uint32_t wanted, uint32_t all, uint32_t part, uint32_t descriptors)
{
	uint32_t each = WEFT_MIN(all / part, descriptors / SHARE_OF_DESCRIPTORS);

	return wanted ? wanted : WEFT_MAX(each, 1u);
}

void limits_share(struct pod_shares *out, const struct options_limits *limits, uint32_t descriptors)
{
	out->connections = share(limits->pod_connections, limits->connections, SHARE_OF_CONNECTIONS, descriptors);
	out->upstreams = share(limits->pod_upstreams, limits->upstreams, SHARE_OF_UPSTREAMS, descriptors);
	out->pools = share(limits->pod_pools, limits->pools, SHARE_OF_POOLS, UINT32_MAX);
}

static bool is_due(const struct worker *worker, uint64_t told_at)
{
	return !told_at || worker->seconds - told_at >= SAY_AGAIN_S;
}

static void watch_table(struct worker *worker, uint64_t left_out)
{
	if (left_out == worker->left_out_told || !is_due(worker, worker->left_out_told_at))
		return;
	log_warning("connections were left out of the mesh because the table of connections is full: %" PRIu64 " until now; it holds %" PRIu32
		    ", --limit connections=N allows for up to %u",
		    left_out, worker->config->options->limits.connections, WEFT_CONNECTIONS_MAX);
	worker->left_out_told = left_out;
	worker->left_out_told_at = worker->seconds;
}

static void watch_shares(struct worker *worker, uint64_t left_alone)
{
	if (left_alone == worker->left_alone_told || !is_due(worker, worker->left_alone_told_at))
		return;
	for (size_t i = 0; i < worker->pods.count; i++) {
		const struct node_pod *pod = worker->pods.items[i];
		struct weft_pod_usage usage;

		if (!pod->added || datapath_pod_usage(worker->datapath, pod->pod_id, &usage) || !usage.left_alone)
			continue;
		log_warning("pod %s/%s has as many connections as one pod may have: %" PRIu64 " of its connections were left out of the mesh until now; "
			    "--limit pod-connections=N allows for more than %" PRIu32,
			    pod->namespace_name, pod->name, (uint64_t)usage.left_alone, worker->shares.connections);
	}
	worker->left_alone_told = left_alone;
	worker->left_alone_told_at = worker->seconds;
}

void limits_watch(struct worker *worker)
{
	uint64_t counters[WEFT_COUNTERS];

	if (datapath_counters(worker->datapath, counters))
		return;
	watch_table(worker, counters[WEFT_COUNTER_CONNECTIONS_FULL]);
	watch_shares(worker, counters[WEFT_COUNTER_CONNECTIONS_QUOTA]);
}
