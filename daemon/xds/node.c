/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/node.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "envoy/config/core/v3/core.pb-c.h"

#define ISTIO_VERSION "1.31.0" /* whose proxy is imitated: istiod gates some features by it */
#define FIELDS_MAX 16

typedef Google__Protobuf__Struct__FieldsEntry Entry;
typedef Google__Protobuf__Value Value;

struct metadata {
	struct arena arena;
	Google__Protobuf__Struct message;
	int status;
};

static Value *new_value(struct metadata *m, Google__Protobuf__Struct *into, size_t capacity, const char *key)
{
	Entry *entry = arena_new(&m->arena, Entry);
	Value *value = arena_new(&m->arena, Value);

	if (!into->fields)
		into->fields = arena_new_array(&m->arena, Entry *, capacity);
	if (!entry || !value || !into->fields || into->n_fields == capacity) {
		m->status = -ENOMEM;
		return NULL;
	}
	*entry = (Entry)GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT;
	*value = (Value)GOOGLE__PROTOBUF__VALUE__INIT;
	entry->key = (char *)key;
	entry->value = value;
	into->fields[into->n_fields++] = entry;
	return value;
}

/* What istiod would take for true is the string, not the boolean. */
static void add_text(struct metadata *m, Google__Protobuf__Struct *into, size_t capacity, const char *key, const char *text)
{
	Value *value = *text ? new_value(m, into, capacity, key) : NULL;

	if (!value)
		return;
	value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
	value->string_value = (char *)text;
}

static void add_labels(struct metadata *m, const struct pod *pod)
{
	Google__Protobuf__Struct *labels = arena_new(&m->arena, Google__Protobuf__Struct);
	Value *value = labels && pod->label_count ? new_value(m, &m->message, FIELDS_MAX, "LABELS") : NULL;

	if (!value) {
		m->status = labels ? m->status : -ENOMEM;
		return;
	}
	*labels = (Google__Protobuf__Struct)GOOGLE__PROTOBUF__STRUCT__INIT;
	for (size_t i = 0; i < pod->label_count; i++)
		add_text(m, labels, pod->label_count, pod->labels[i].key, pod->labels[i].value);
	value->kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRUCT_VALUE;
	value->struct_value = labels;
}

static void fill(struct metadata *m, const struct xds_node *node, const char *ips)
{
	const struct {
		const char *key, *text;
	} texts[] = {
		{ "NAMESPACE", node->pod->namespace_name },
		{ "NAME", node->pod->name },
		{ "SERVICE_ACCOUNT", node->service_account },
		{ "CLUSTER_ID", node->cluster_id },
		{ "NODE_NAME", node->node_name },
		{ "INSTANCE_IPS", ips },
		{ "ISTIO_VERSION", ISTIO_VERSION },
		{ "INTERCEPTION_MODE", "REDIRECT" },
		{ "DISABLE_HBONE_SEND", "true" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		add_text(m, &m->message, FIELDS_MAX, texts[i].key, texts[i].text);
	add_labels(m, node->pod);
}

static int pack(const ProtobufCMessage *message, struct strbuf *out)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	int r = strbuf_reserve(out, size);

	if (r)
		return r;
	out->size += protobuf_c_message_pack(message, (uint8_t *)out->data + out->size);
	out->data[out->size] = 0;
	return 0;
}

int xds_node_make(const struct xds_node *node, struct strbuf *out)
{
	Envoy__Config__Core__V3__Node message = ENVOY__CONFIG__CORE__V3__NODE__INIT;
	struct metadata m = { .arena = ARENA_INIT, .message = GOOGLE__PROTOBUF__STRUCT__INIT };
	_cleanup_(strbuf_release) struct strbuf ips = STRBUF_INIT;
	const struct pod *pod = node->pod;
	int r;

	for (size_t i = 0; i < pod->ip_count; i++)
		strbuf_printf(&ips, "%s%s", i ? "," : "", pod->ips[i].text);
	fill(&m, node, strbuf_text(&ips));
	message.id = arena_printf(&m.arena, "sidecar~%s~%s.%s~%s.svc.cluster.local", pod->ips[0].text, pod->name, pod->namespace_name, pod->namespace_name);
	message.cluster = arena_printf(&m.arena, "%s.%s", pod->name, pod->namespace_name);
	message.metadata = &m.message;
	r = strbuf_status(&ips) || !message.id || !message.cluster ? -ENOMEM : m.status;
	if (!r)
		r = pack(&message.base, out);
	arena_release(&m.arena);
	return r;
}
