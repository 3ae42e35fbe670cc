/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel side as a datapath gives it. */
#include <errno.h>

#include "base/log.h"
#include "datapath/datapath.h"
#include "pool/pool.h"

static int index_set(void *arg, uint32_t pod_id, uint32_t endpoint_id, uint32_t pool)
{
	return datapath_pool_index_set(arg, pod_id, endpoint_id, pool);
}

static int index_delete(void *arg, uint32_t pod_id, uint32_t endpoint_id)
{
	return datapath_pool_index_delete(arg, pod_id, endpoint_id);
}

static int mark(void *arg, int fd, uint32_t slot, uint32_t pod_id)
{
	return datapath_upstream_mark(arg, fd, slot, pod_id);
}

static int insert(void *arg, int fd, uint64_t cookie)
{
	return datapath_upstream_insert(arg, fd, cookie);
}

static int client_exchange(void *arg, uint64_t client_cookie, uint64_t *exchange)
{
	struct weft_connection connection;
	int r = datapath_connection_get(arg, client_cookie, &connection);

	if (r)
		return r;
	if (connection.flags & WEFT_CONNECTION_CLOSED)
		return -ENOENT;
	*exchange = connection.exchange;
	return 0;
}

static void count_owed(void *arg, uint64_t client_cookie, uint64_t exchange)
{
	struct weft_connection_command command = { .cookie = client_cookie, .commands = WEFT_COMMAND_COUNT_OWED, .exchange = exchange };
	int r = datapath_connection_command(arg, &command);

	if (r)
		log_warn(r, "counting what of a request has not gone out");
}

void pool_kernel_datapath(struct pool_kernel *out, struct datapath *dp)
{
	*out = (struct pool_kernel){
		.arg = dp,
		.upstreams = datapath_upstreams(dp),
		.pools = datapath_pools(dp),
		.endpoint_states = datapath_endpoints(dp),
		.upstream_count = WEFT_UPSTREAMS_MAX,
		.pool_count = WEFT_POOLS_MAX,
		.index_set = index_set,
		.index_delete = index_delete,
		.mark = mark,
		.insert = insert,
		.client_exchange = client_exchange,
		.count_owed = count_owed,
	};
}
