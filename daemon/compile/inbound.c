/* SPDX-License-Identifier: Apache-2.0 */
/* Policy on what a pod receives. weft routes what pods send; a server whose sidecar would turn requests away must not lose that. */
#include <string.h>

#include "compile/routes.h"

static bool takes_plaintext(const struct mesh_filter_chain *chain)
{
	return chain->transport == MESH_TRANSPORT_RAW && strcmp(chain->match.transport_protocol, "tls");
}

/* Envoy looks at a chain's destination port first and never goes back: a port with chains of its own needs a plaintext one among them. */
static bool port_takes_plaintext(const struct mesh_listener *listener, uint16_t port)
{
	size_t i;

	for (i = 0; i < listener->filter_chain_count; i++)
		if (listener->filter_chains[i].match.destination_port == port && takes_plaintext(&listener->filter_chains[i]))
			return true;
	return !port && listener->default_filter_chain && takes_plaintext(listener->default_filter_chain);
}

static void judge_filters(const struct mesh_filter_chain *chain, const struct mesh_filters *filters, struct strbuf *reason)
{
	size_t i;

	for (i = 0; i < filters->count; i++)
		if (filters->items[i].kind == MESH_FILTER_POLICY || filters->items[i].kind == MESH_FILTER_UNKNOWN)
			reason_add(reason, "filter %s of chain %s is not enforced by weft", filters->items[i].name, chain->name);
}

static void judge_chain(const struct mesh_filter_chain *chain, struct strbuf *reason)
{
	judge_filters(chain, &chain->filters, reason);
	if (chain->http)
		judge_filters(chain, &chain->http->filters, reason);
}

static void judge_listener(const struct mesh_listener *listener, struct strbuf *reason)
{
	size_t i;

	for (i = 0; i < listener->filter_chain_count; i++) {
		const struct mesh_filter_chain *chain = &listener->filter_chains[i];

		if (!takes_plaintext(chain) && !port_takes_plaintext(listener, chain->match.destination_port))
			reason_add(reason, "chain %s takes TLS only (mTLS is mandatory%s)", chain->name,
				   chain->match.destination_port ? " on its port" : "");
		judge_chain(chain, reason);
	}
	if (listener->default_filter_chain)
		judge_chain(listener->default_filter_chain, reason);
	for (i = 0; i < listener->listener_filters.count; i++)
		if (listener->listener_filters.items[i].kind == MESH_FILTER_POLICY || listener->listener_filters.items[i].kind == MESH_FILTER_UNKNOWN)
			reason_add(reason, "listener filter %s is not enforced by weft", listener->listener_filters.items[i].name);
}

void compile_inbound_policy(const struct mesh *mesh, char *reason, size_t size)
{
	struct strbuf text = STRBUF_INIT;
	size_t i;

	for (i = 0; i < mesh->listener_count; i++)
		if (mesh->listeners[i]->direction == MESH_DIRECTION_INBOUND && !mesh->listeners[i]->is_internal)
			judge_listener(mesh->listeners[i], &text);
	/* Policy that can't be told is policy. */
	snprintf(reason, size, "%s", strbuf_status(&text) ? "out of memory" : strbuf_text(&text));
	strbuf_release(&text);
}
