/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel side, as the proxy uses it. In a file of its own, so that a proxy with another backend links without a datapath. */
#include "datapath/datapath.h"
#include "proxy/internal.h"

static int find(void *arg, uint64_t netns_cookie, const struct weft_address *peer, uint16_t peer_port_be, uint64_t *cookie, struct weft_connection *out)
{
	return datapath_connection_find(arg, netns_cookie, peer, peer_port_be, cookie, out);
}

static int command(void *arg, struct weft_connection_command *own)
{
	return datapath_connection_command(arg, own);
}

int proxy_new(struct proxy **out, struct datapath *datapath, const struct proxy_options *options)
{
	const struct proxy_backend backend = {
		.arg = datapath,
		.connection_find = find,
		.connection_command = command,
		.clusters = datapath_clusters(datapath),
		.endpoints = datapath_endpoints(datapath),
	};

	return proxy_new_with_backend(out, &backend, options);
}
