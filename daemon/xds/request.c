/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: a subscription, a change of its names, an answer to a response; often all in one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "envoy/service/discovery/v3/discovery.pb-c.h"
#include "xds/internal.h"

#define GRPC_INVALID_ARGUMENT 3
#define NODE_FIELD 2

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int collect_names(const struct subscription *type, char ***out, size_t *count)
{
	char **names = calloc(demand_count(type) + 1, sizeof(*names));
	struct slot *slot, *next;

	if (!names)
		return -ENOMEM;
	*count = 0;
	HASH_ITER(hh, type->slots, slot, next)
		if (slot->is_wanted)
			names[(*count)++] = slot->name;
	qsort(names, *count, sizeof(*names), by_name);
	*out = names;
	return 0;
}

/* The node lies ready in its serialized form, and the order of fields does not matter. */
static int append_node(const struct xds_scope *scope, struct strbuf *out)
{
	size_t size = scope->node_size;

	strbuf_append_byte(out, (char)(NODE_FIELD << 3 | 2));
	for (; size >= 0x80; size >>= 7)
		strbuf_append_byte(out, (char)(size | 0x80));
	strbuf_append_byte(out, (char)size);
	return strbuf_append(out, scope->node, scope->node_size);
}

static int pack(const struct xds_scope *scope, const Envoy__Service__Discovery__V3__DiscoveryRequest *request, struct strbuf *out)
{
	size_t size = protobuf_c_message_get_packed_size(&request->base);
	int r = strbuf_reserve(out, size);

	if (r)
		return r;
	out->size += protobuf_c_message_pack(&request->base, (uint8_t *)out->data + out->size);
	out->data[out->size] = 0;
	return scope->sent_node ? 0 : append_node(scope, out);
}

int request_send(struct xds_scope *scope, enum mesh_kind kind)
{
	struct subscription *type = &scope->types[kind];
	Google__Rpc__Status error = GOOGLE__RPC__STATUS__INIT;
	Envoy__Service__Discovery__V3__DiscoveryRequest request = ENVOY__SERVICE__DISCOVERY__V3__DISCOVERY_REQUEST__INIT;
	_cleanup_(strbuf_release) struct strbuf bytes = STRBUF_INIT;
	_cleanup_free_ char **names = NULL;
	int r = 0;

	request.type_url = (char *)mesh_kind_type_url(kind);
	if (!type->asks_again) {
		request.version_info = type->version;
		request.response_nonce = type->nonce;
	}
	if (type->owes_answer && type->is_nack) {
		error.code = GRPC_INVALID_ARGUMENT;
		error.message = type->detail;
		request.error_detail = &error;
	}
	if (!type_is_wildcard(kind))
		r = collect_names(type, &names, &request.n_resource_names);
	if (r)
		return r;
	request.resource_names = names;
	r = pack(scope, &request, &bytes);
	if (r)
		return r;
	scope->callbacks.send(scope->arg, bytes.data, bytes.size);
	scope->sent_node = true;
	type->acks += type->owes_answer && !type->is_nack;
	type->nacks += type->owes_answer && type->is_nack;
	type->is_subscribed = type_is_wildcard(kind) || request.n_resource_names > 0;
	type->owes_answer = type->names_changed = type->asks_again = false;
	return 0;
}
