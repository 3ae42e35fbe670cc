// SPDX-License-Identifier: Apache-2.0
/* Connections and upstreams by their records in the maps. Everything here may be called from any thread. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/internal.h"

int datapath_pool_index_set(struct datapath *dp, uint32_t pod_id, uint32_t endpoint_id, uint32_t pool)
{
	struct weft_pool_key key = {.pod_id = pod_id, .endpoint_id = endpoint_id};

	return bpf_map_update_elem(dp->maps[MAP_POOL_INDEX], &key, &pool, BPF_ANY) ? -errno : 0;
}

int datapath_pool_index_delete(struct datapath *dp, uint32_t pod_id, uint32_t endpoint_id)
{
	struct weft_pool_key key = {.pod_id = pod_id, .endpoint_id = endpoint_id};

	return bpf_map_delete_elem(dp->maps[MAP_POOL_INDEX], &key) ? -errno : 0;
}

int datapath_upstream_mark(struct datapath *dp, int fd, uint32_t slot, uint32_t pod_id)
{
	struct weft_socket socket = {.role = WEFT_ROLE_UPSTREAM, .slot = slot, .pod_id = pod_id};

	return bpf_map_update_elem(dp->maps[MAP_SOCKETS], &fd, &socket, BPF_ANY) ? -errno : 0;
}

int datapath_upstream_insert(struct datapath *dp, int fd, uint64_t cookie)
{
	uint64_t value = (uint64_t)fd;

	return bpf_map_update_elem(dp->maps[MAP_UPSTREAM_SOCKETS], &cookie, &value, BPF_NOEXIST) ? -errno : 0;
}

void datapath_upstream_close(int fd)
{
	const struct linger at_once = {.l_onoff = 1};
	char byte;

	if (recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) > 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

int datapath_connection_find(struct datapath *dp, uint64_t netns_cookie, const struct weft_address *peer, uint16_t peer_port_be,
			     uint64_t *cookie, struct weft_connection *out)
{
	struct weft_port_key key = {.netns_cookie = netns_cookie, .address = *peer, .port_be = peer_port_be};
	uint64_t found;

	if (bpf_map_lookup_elem(dp->maps[MAP_CONNECTION_PORTS], &key, &found))
		return -errno;
	if (bpf_map_lookup_elem(dp->maps[MAP_CONNECTIONS], &found, out))
		return -errno;
	*cookie = found;
	return 0;
}

int datapath_connection_get(struct datapath *dp, uint64_t cookie, struct weft_connection *out)
{
	return bpf_map_lookup_elem(dp->maps[MAP_CONNECTIONS], &cookie, out) ? -errno : 0;
}

int datapath_response_changes(struct datapath *dp, uint32_t slot, struct weft_response_changes *out)
{
	return bpf_map_lookup_elem(dp->maps[MAP_RESPONSE_CHANGES], &slot, out) ? -errno : 0;
}

int datapath_connections_each(struct datapath *dp, void (*fn)(void *arg, uint64_t cookie, const struct weft_connection *connection), void *arg)
{
	_cleanup_free_ uint64_t *cookies = malloc(WEFT_CONNECTIONS_MAX * sizeof(*cookies));
	uint32_t count = 0;

	if (!cookies)
		return -ENOMEM;
	/* All keys first: an entry that goes while it is the last one seen begins the walk anew. */
	while (count < WEFT_CONNECTIONS_MAX && !bpf_map_get_next_key(dp->maps[MAP_CONNECTIONS], count ? &cookies[count - 1] : NULL, &cookies[count]))
		count++;
	if (count < WEFT_CONNECTIONS_MAX && errno != ENOENT)
		return -errno;
	for (uint32_t i = 0; i < count; i++) {
		struct weft_connection connection;

		if (!datapath_connection_get(dp, cookies[i], &connection))
			fn(arg, cookies[i], &connection);
	}
	return 0;
}

int datapath_connection_command(struct datapath *dp, struct weft_connection_command *command)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = command, .ctx_size_in = sizeof(*command));
	int r = bpf_prog_test_run_opts(dp->programs[PROGRAM_COMMAND], &run);

	/* The context is copied back: ctx_out is not asked for by this program type. */
	return r ? -errno : (int)run.retval;
}

int datapath_traffic_each(struct datapath *dp, datapath_traffic_fn fn, void *arg)
{
	struct weft_traffic_key key, *former = NULL;
	struct weft_traffic record;

	while (!bpf_map_get_next_key(dp->maps[MAP_TRAFFIC], former, &key)) {
		if (!bpf_map_lookup_elem(dp->maps[MAP_TRAFFIC], &key, &record))
			fn(arg, &key, &record);
		former = &key;
	}
	return errno == ENOENT ? 0 : -errno;
}

int datapath_traffic_forget(struct datapath *dp, const struct weft_traffic_key *key, struct weft_traffic *last)
{
	return bpf_map_lookup_and_delete_elem(dp->maps[MAP_TRAFFIC], key, last) ? -errno : 0;
}
