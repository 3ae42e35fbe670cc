/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "xds/internal.h"

#define NAMES_SHOWN 20u

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct slot *const *)a)->name, (*(const struct slot *const *)b)->name);
}

/* Sorted; to be freed. NULL without memory. */
static const struct slot **sorted(const struct subscription *type, size_t *count)
{
	const struct slot **slots = calloc(HASH_COUNT(type->slots) + 1, sizeof(const struct slot *));
	struct slot *slot, *next;

	*count = 0;
	if (!slots)
		return NULL;
	HASH_ITER(hh, type->slots, slot, next)
		slots[(*count)++] = slot;
	qsort(slots, *count, sizeof(const struct slot *), by_name);
	return slots;
}

/* "" for a name of which nothing is to be told. */
static const char *trouble_of(const struct slot *slot)
{
	if (slot->refused)
		return slot->live ? "refused, its former version serves" : "refused";
	if (slot->accepted && slot->accepted != slot->live)
		return slot->live ? "waits, its former version serves" : "waits";
	if (!slot->accepted && slot->live)
		return "removed, still named";
	return !slot->accepted && slot->is_wanted ? "asked for" : "";
}

/* Those of which something is to be told. */
static void print_troubles(const struct slot *const *slots, size_t count, FILE *stream)
{
	size_t found = 0;

	for (size_t i = 0; i < count; i++)
		if (*trouble_of(slots[i]) && found++ < NAMES_SHOWN)
			fprintf(stream, "    %s: %s\n", slots[i]->name, trouble_of(slots[i]));
	if (found > NAMES_SHOWN)
		fprintf(stream, "    and %zu more\n", found - NAMES_SHOWN);
}

void xds_scope_print(const struct xds_scope *scope, FILE *stream)
{
	for (unsigned i = 0; i < MESH_KINDS; i++) {
		const struct subscription *type = &scope->types[xds_order[i]];
		_cleanup_free_ const struct slot **slots = NULL;
		size_t count, live = 0;

		slots = sorted(type, &count);
		for (size_t j = 0; slots && j < count; j++)
			live += slots[j]->live != NULL;
		fprintf(stream, "  %s: %zu serve\n", mesh_kind_name(xds_order[i]), live);
		if (slots)
			print_troubles(slots, count, stream);
	}
}

static json_t *describe_type(const struct xds_scope *scope, enum mesh_kind kind, uint64_t now_ms)
{
	const struct subscription *type = &scope->types[kind];
	_cleanup_free_ const struct slot **slots = NULL;
	json_t *object, *troubles = json_object();
	size_t count, found = 0, live = 0;

	slots = sorted(type, &count);
	for (size_t i = 0; slots && i < count; i++) {
		live += slots[i]->live != NULL;
		if (*trouble_of(slots[i]) && found++ < NAMES_SHOWN)
			json_object_set_new(troubles, slots[i]->name, json_string(trouble_of(slots[i])));
	}
	object = json_pack("{s:s, s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "type", mesh_kind_name(kind), "subscribed", type->is_subscribed, "version",
			   type->version, "received", type->received, "nonce", type->nonce, "serving", (json_int_t)live, "responses",
			   (json_int_t)type->responses, "acks", (json_int_t)type->acks, "nacks", (json_int_t)type->nacks, "ignored",
			   (json_int_t)type->ignored);
	if (type->responses) {
		json_object_set_new(object, "last_bytes", json_integer((json_int_t)type->response_bytes));
		json_object_set_new(object, "last_resources", json_integer((json_int_t)type->response_count));
		json_object_set_new(object, "last_ago_ms", json_integer((json_int_t)(now_ms - type->response_ms)));
		json_object_set_new(object, "last_answer", json_string(type->is_nack ? "NACK" : "ACK"));
	}
	if (type->nacks) {
		json_object_set_new(object, "last_nack", json_string(type->detail));
		json_object_set_new(object, "last_nack_ago_ms", json_integer((json_int_t)(now_ms - type->nack_ms)));
	}
	if (json_object_size(troubles))
		json_object_set(object, "waiting", troubles);
	json_decref(troubles);
	return object;
}

json_t *xds_scope_describe(const struct xds_scope *scope, uint64_t now_ms)
{
	json_t *types = json_array();

	for (unsigned i = 0; i < MESH_KINDS; i++)
		json_array_append_new(types, describe_type(scope, xds_order[i], now_ms));
	return json_pack("{s:s, s:b, s:b, s:o}", "scope", scope->name, "open", scope->is_open, "ready", xds_scope_is_ready(scope), "types", types);
}
