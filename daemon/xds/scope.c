/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/scope.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "mesh/yaml_scalar.h"
#include "xds/internal.h"

#define DETAIL_MAX 4000u /* bytes of a NACK's message */

const enum mesh_kind xds_order[MESH_KINDS] = { MESH_CLUSTER, MESH_LOAD_ASSIGNMENT, MESH_LISTENER, MESH_ROUTE_CONFIG };

bool type_is_wildcard(enum mesh_kind kind)
{
	return kind == MESH_CLUSTER || kind == MESH_LISTENER;
}

struct slot *slot_find(const struct xds_scope *scope, enum mesh_kind kind, const char *name)
{
	struct slot *slot;

	HASH_FIND(hh, scope->types[kind].slots, name, strlen(name), slot);
	return slot;
}

void slot_set(struct xds_scope *scope, struct xds_resource **place, struct xds_resource *resource)
{
	struct xds_resource *former = *place;

	*place = resource ? xds_resource_ref(resource) : NULL;
	xds_resource_put(scope->store, &former);
}

struct slot *slot_make(struct xds_scope *scope, enum mesh_kind kind, const char *name)
{
	struct slot *slot = slot_find(scope, kind, name);

	if (slot)
		return slot;
	slot = calloc(1, sizeof(*slot));
	if (slot)
		slot->name = strdup(name);
	if (slot && slot->name)
		HASH_ADD_KEYPTR(hh, scope->types[kind].slots, slot->name, strlen(slot->name), slot);
	if (slot && slot->hh.tbl)
		return slot;
	if (slot)
		free(slot->name);
	free(slot);
	scope->status = -ENOMEM;
	return NULL;
}

static void type_release(struct xds_scope *scope, struct subscription *type)
{
	struct slot *slot, *next;

	HASH_ITER(hh, type->slots, slot, next)
	{
		HASH_DEL(type->slots, slot);
		slot_set(scope, &slot->accepted, NULL);
		slot_set(scope, &slot->refused, NULL);
		slot_set(scope, &slot->live, NULL);
		free(slot->name);
		free(slot);
	}
	free(type->version);
	free(type->received);
	free(type->nonce);
	free(type->detail);
}

void xds_scope_free(struct xds_scope **scope)
{
	if (!*scope)
		return;
	for (unsigned kind = 0; kind < MESH_KINDS; kind++)
		type_release(*scope, &(*scope)->types[kind]);
	mesh_free(&(*scope)->mesh);
	free((*scope)->name);
	free((*scope)->node);
	free(*scope);
	*scope = NULL;
}

static int type_init(struct subscription *type)
{
	type->version = strdup("");
	type->received = strdup("");
	type->nonce = strdup("");
	type->detail = strdup("");
	return type->version && type->received && type->nonce && type->detail ? 0 : -ENOMEM;
}

int xds_scope_set_node(struct xds_scope *scope, const void *node, size_t node_size)
{
	uint8_t *copy = malloc(node_size + 1);

	if (!copy)
		return -ENOMEM;
	if (node_size)
		memcpy(copy, node, node_size);
	free(scope->node);
	scope->node = copy;
	scope->node_size = node_size;
	return 0;
}

bool xds_scope_has_node(const struct xds_scope *scope, const void *node, size_t node_size)
{
	return scope->node_size == node_size && memcmp(scope->node, node, node_size) == 0;
}

int xds_scope_new(struct xds_store *store, const char *name, const void *node, size_t node_size, const struct xds_scope_callbacks *callbacks, void *arg,
		  struct xds_scope **out)
{
	_cleanup_(xds_scope_free) struct xds_scope *scope = calloc(1, sizeof(*scope));
	int r;

	if (!scope)
		return -ENOMEM;
	scope->store = store;
	scope->callbacks = *callbacks;
	scope->arg = arg;
	scope->name = strdup(name);
	r = scope->name ? xds_scope_set_node(scope, node, node_size) : -ENOMEM;
	if (!r)
		r = mesh_new_sorted(&scope->mesh);
	for (unsigned kind = 0; !r && kind < MESH_KINDS; kind++)
		r = type_init(&scope->types[kind]);
	if (r)
		return r;
	scope->push.version = scope->push.detail = "";
	*out = TAKE_PTR(scope);
	return 0;
}

void xds_scope_require_mtls(struct xds_scope *scope, bool is_required)
{
	mesh_require_mtls(scope->mesh, is_required);
}

const char *xds_scope_name(const struct xds_scope *scope)
{
	return scope->name;
}

const struct mesh *xds_scope_mesh(const struct xds_scope *scope)
{
	return scope->mesh;
}

bool xds_scope_is_ready(const struct xds_scope *scope)
{
	return scope->is_ready && scope->was_published;
}

bool xds_scope_is_confirmed(const struct xds_scope *scope)
{
	const struct subscription *clusters = &scope->types[MESH_CLUSTER], *listeners = &scope->types[MESH_LISTENER];

	return clusters->responses && listeners->responses && !scope->is_unsettled;
}

uint64_t xds_scope_changes(const struct xds_scope *scope)
{
	return scope->changes;
}

const struct xds_push *xds_scope_last_push(const struct xds_scope *scope)
{
	return &scope->push;
}

void xds_scope_each_live(const struct xds_scope *scope, void (*fn)(void *arg, const struct xds_resource *resource), void *arg)
{
	struct slot *slot, *next;

	for (unsigned i = 0; i < MESH_KINDS; i++)
		HASH_ITER(hh, scope->types[xds_order[i]].slots, slot, next)
			if (slot->live)
				fn(arg, slot->live);
}

static int set_text(char **place, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return -ENOMEM;
	free(*place);
	*place = copy;
	return 0;
}

/* ---- publishing -------------------------------------------------------------------------------------------------------------------- */

/* Nothing serves before all of it can: half a mesh would send traffic astray. */
static bool is_complete(const struct xds_scope *scope)
{
	return scope->types[MESH_CLUSTER].was_applied && scope->types[MESH_LISTENER].was_applied && !scope->is_unsettled;
}

static int publish_once(struct xds_scope *scope, struct strbuf *why)
{
	int r;

	if (!scope->is_ready || (!scope->is_dirty && scope->was_published))
		return 0;
	r = scope->callbacks.publish(scope->arg, scope->mesh, why);
	if (r)
		return r;
	scope->is_dirty = false;
	scope->was_published = true;
	return 0;
}

/* What is new first, what it replaces goes after: no route that serves names a cluster that doesn't. */
static int publish(struct xds_scope *scope, struct strbuf *why, uint64_t now_ms)
{
	bool was_unsettled = scope->is_unsettled;
	int r;

	if (was_unsettled)
		settle(scope, now_ms);
	if (is_complete(scope))
		scope->is_ready = true;
	r = scope->status ? scope->status : publish_once(scope, why);
	if (!r && was_unsettled && settle_removals(scope, now_ms))
		r = publish_once(scope, why);
	if (!r)
		r = scope->status;
	if (r)
		scope->is_unsettled = was_unsettled;
	return r;
}

/* ---- one response ------------------------------------------------------------------------------------------------------------------ */

/* Its resources, decoded, before any of them is believed. */
struct taken {
	struct xds_resource **items;
	size_t count;
};

static void taken_release(struct xds_scope *scope, struct taken *taken)
{
	for (size_t i = 0; i < taken->count; i++)
		xds_resource_put(scope->store, &taken->items[i]);
	free(taken->items);
}

static enum mesh_kind kind_of(const char *type_url)
{
	unsigned kind;

	for (kind = 0; kind < MESH_KINDS; kind++)
		if (strcmp(type_url, mesh_kind_type_url(kind)) == 0)
			break;
	return kind;
}

static void add_detail(struct strbuf *detail, enum mesh_kind kind, const char *name, const char *text)
{
	if (detail->size < DETAIL_MAX)
		strbuf_printf(detail, "%s%s %s: %s", detail->size ? "; " : "", mesh_kind_name(kind), name, text);
}

/* What the server sent under that name before: most of a push is that, byte for byte. */
static struct xds_resource *known_as(const struct xds_scope *scope, enum mesh_kind kind, const struct xds_response_item *item)
{
	const struct slot *slot = NULL;

	HASH_FIND(hh, scope->types[kind].slots, item->name.at, item->name.size, slot);
	return !slot ? NULL : slot->refused ? slot->refused : slot->accepted;
}

/* 0 and a detail: the push as a whole is no good, and nothing of it is taken. That is what Envoy does with bytes that it can't read. */
static int take_all(struct xds_scope *scope, enum mesh_kind kind, const struct xds_response *response, struct taken *taken, struct strbuf *detail)
{
	const char *type_url = mesh_kind_type_url(kind);

	taken->items = calloc(response->count + 1, sizeof(*taken->items));
	if (!taken->items)
		return -ENOMEM;
	for (size_t i = 0; i < response->count; i++) {
		const struct xds_response_item *item = &response->items[i];
		int r;

		if (item->type_url.size != strlen(type_url) || memcmp(item->type_url.at, type_url, item->type_url.size) != 0) {
			strbuf_printf(detail, "a resource is of type %.*s", (int)item->type_url.size, (const char *)item->type_url.at);
			return 0;
		}
		r = xds_store_take(scope->store, kind, item, known_as(scope, kind, item), &taken->items[i]);
		if (r)
			return r;
		taken->count++;
		if (taken->items[i]->is_broken) {
			add_detail(detail, kind, taken->items[i]->name, taken->items[i]->refusal);
			return 0;
		}
	}
	return 0;
}

/* Known as Envoy's cluster manager knows it: accepted, whether it serves already or warms. */
static bool is_accepted(void *arg, const char *name)
{
	const struct slot *slot = slot_find(arg, MESH_CLUSTER, name);

	return slot && slot->accepted;
}

/* What the server said before is not looked at again: clusters may go after it was taken. */
static bool lacks_cluster(struct xds_scope *scope, const struct slot *slot, const struct xds_resource *resource, struct strbuf *detail)
{
	const struct mesh_named_cluster *named = NULL;
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	if (slot->accepted != resource)
		named = mesh_unknown_cluster(mesh_item_resource(resource->item), is_accepted, scope);
	if (!named)
		return false;
	strbuf_printf(&text, "%s: ", named->path);
	if (mesh_unknown_cluster_text(named, &text))
		scope->status = -ENOMEM;
	add_detail(detail, resource->kind, resource->name, strbuf_text(&text));
	return true;
}

static void apply_one(struct xds_scope *scope, enum mesh_kind kind, struct xds_resource *resource, struct strbuf *detail)
{
	struct xds_push *push = &scope->push;
	struct slot *slot = type_is_wildcard(kind) ? slot_make(scope, kind, resource->name) : slot_find(scope, kind, resource->name);

	if (!slot && scope->status)
		return;
	if (!slot || (!type_is_wildcard(kind) && !slot->is_wanted)) {
		push->ignored++;
		return;
	}
	if (slot->is_seen) {
		push->refused++;
		add_detail(detail, kind, resource->name, "the push has two of that name");
		return;
	}
	slot->is_seen = true;
	if (resource->refusal) {
		push->refused++;
		slot_set(scope, &slot->refused, resource);
		add_detail(detail, kind, resource->name, resource->refusal);
		return;
	}
	if (lacks_cluster(scope, slot, resource, detail)) {
		push->refused++;
		slot_set(scope, &slot->refused, resource);
		return;
	}
	slot_set(scope, &slot->refused, NULL);
	if (slot->accepted == resource) {
		push->unchanged++;
		return;
	}
	*(slot->accepted ? &push->changed : &push->added) += 1;
	if (!slot->accepted)
		slot->waits_since_ms = 0; /* for the answer, until now */
	slot_set(scope, &slot->accepted, resource);
	/* Endpoints of what serves are the one thing that changes all the time. */
	if (kind == MESH_LOAD_ASSIGNMENT && slot->live)
		settle_assignment(scope, slot);
	else
		scope->is_unsettled = true;
}

/* A push of these types is all there is: what it lacks is gone. */
static void remove_unseen(struct xds_scope *scope, enum mesh_kind kind)
{
	struct slot *slot, *next;

	HASH_ITER(hh, scope->types[kind].slots, slot, next)
	{
		if (slot->is_seen || (!slot->accepted && !slot->refused))
			continue;
		scope->push.removed += slot->accepted != NULL;
		slot_set(scope, &slot->accepted, NULL);
		slot_set(scope, &slot->refused, NULL);
		scope->is_unsettled = true;
	}
}

static void forget_seen(struct xds_scope *scope, enum mesh_kind kind)
{
	struct slot *slot, *next;

	HASH_ITER(hh, scope->types[kind].slots, slot, next)
		slot->is_seen = false;
}

static int apply_all(struct xds_scope *scope, enum mesh_kind kind, const struct taken *taken, struct strbuf *detail)
{
	forget_seen(scope, kind);
	for (size_t i = 0; i < taken->count; i++)
		apply_one(scope, kind, taken->items[i], detail);
	if (scope->status)
		return scope->status;
	if (type_is_wildcard(kind))
		remove_unseen(scope, kind);
	if (type_is_wildcard(kind) && scope->is_unsettled)
		return demand_update(scope, kind);
	return 0;
}

static int send_what_is_owed(struct xds_scope *scope)
{
	int r = 0;

	for (unsigned i = 0; !r && scope->is_open && i < MESH_KINDS; i++) {
		struct subscription *type = &scope->types[xds_order[i]];
		bool is_named = type_is_wildcard(xds_order[i]) || demand_count(type) > 0;

		/* An answer without names would read as the end of the subscription; and that, once said, needs no answers. */
		if (!is_named && !type->is_subscribed)
			type->owes_answer = type->names_changed = type->asks_again = false;
		/* What ended begins anew: the server has forgotten it. */
		if (is_named && !type->is_subscribed)
			r = set_text(&type->nonce, "");
		if (!r && (type->owes_answer || type->names_changed || type->asks_again || (is_named && !type->is_subscribed)))
			r = request_send(scope, xds_order[i]);
	}
	return r;
}

/* A string of protobuf is UTF-8: a server may take one that isn't for a broken stream. Names and types came as they came. */
static void make_utf8(struct strbuf *text)
{
	if (text_is_utf8(text->data, text->size))
		return;
	for (size_t i = 0; i < text->size; i++)
		if ((unsigned char)text->data[i] >= 0x80)
			text->data[i] = '?';
}

static int finish(struct xds_scope *scope, struct subscription *type, const char *version, struct strbuf *detail, uint64_t now_ms)
{
	_cleanup_(strbuf_release) struct strbuf why = STRBUF_INIT;
	int r = publish(scope, &why, now_ms);

	if (r == -ENOMEM)
		return r;
	if (r)
		strbuf_printf(detail, "%sit can't be published: %s", detail->size ? "; " : "", why.size ? strbuf_text(&why) : strerror(-r));
	r = strbuf_status(detail);
	make_utf8(detail);
	type->is_nack = detail->size > 0;
	if (!r && type->is_nack) {
		type->nack_ms = now_ms;
		r = set_text(&type->detail, strbuf_text(detail));
		scope->push.detail = type->detail;
	} else if (!r) {
		r = set_text(&type->version, version);
	}
	return r;
}

/* Endpoints of clusters that serve, all of them good: nothing else waits for them, and the next ones may be here already. */
static bool may_gather(const struct xds_scope *scope, enum mesh_kind kind, const struct strbuf *detail)
{
	return scope->gathers && kind == MESH_LOAD_ASSIGNMENT && scope->was_published && !scope->is_unsettled && !detail->size;
}

static void count_response(struct xds_scope *scope, enum mesh_kind kind, const struct xds_response *response, size_t size, uint64_t now_ms)
{
	struct subscription *type = &scope->types[kind];

	type->responses++;
	type->response_ms = now_ms;
	type->response_bytes = size;
	type->response_count = response->count;
	scope->push = (struct xds_push){ .number = scope->push.number + 1, .kind = kind, .version = type->received, .resources = response->count, .bytes = size, .detail = "" };
}

static int answer(struct xds_scope *scope, enum mesh_kind kind, const struct xds_response *response, size_t size, uint64_t now_ms)
{
	struct subscription *type = &scope->types[kind];
	_cleanup_(strbuf_release) struct strbuf detail = STRBUF_INIT;
	struct taken taken = { NULL, 0 };
	int r = set_text(&type->received, response->version);

	if (!r)
		r = set_text(&type->nonce, response->nonce);
	if (r)
		return r;
	count_response(scope, kind, response, size, now_ms);
	type->owes_answer = type->is_subscribed;
	if (!type->is_subscribed) {
		scope->push.ignored = response->count;
		type->ignored += response->count;
		return 0;
	}
	scope->push.is_answered = true;
	r = take_all(scope, kind, response, &taken, &detail);
	if (!r && detail.size) {
		scope->push.refused = response->count;
	} else if (!r) {
		r = apply_all(scope, kind, &taken, &detail);
		type->was_applied = true;
		type->ignored += scope->push.ignored;
	}
	taken_release(scope, &taken);
	if (!r && may_gather(scope, kind, &detail)) {
		scope->has_gathered = true;
		return 0;
	}
	scope->has_gathered = false;
	if (!r)
		r = finish(scope, type, response->version, &detail, now_ms);
	return r ? r : send_what_is_owed(scope);
}

void xds_scope_gather(struct xds_scope *scope)
{
	scope->gathers = true;
}

bool xds_scope_has_gathered(const struct xds_scope *scope)
{
	return scope->has_gathered;
}

int xds_scope_flush(struct xds_scope *scope, uint64_t now_ms)
{
	_cleanup_(strbuf_release) struct strbuf detail = STRBUF_INIT;
	struct subscription *type = &scope->types[MESH_LOAD_ASSIGNMENT];
	int r;

	if (!scope->has_gathered)
		return 0;
	scope->has_gathered = false;
	scope->status = 0;
	r = finish(scope, type, type->received, &detail, now_ms);
	return r ? r : send_what_is_owed(scope);
}

int xds_scope_response(struct xds_scope *scope, const void *bytes, size_t size, uint64_t now_ms)
{
	struct xds_response response;
	const char *problem;
	enum mesh_kind kind;
	int r = xds_response_parse(bytes, size, &response, &problem);

	scope->status = 0;
	if (r) {
		log_warning("scope %s: a message of %zu bytes: %s", scope->name, size, r == -EBADMSG ? problem : strerror(-r));
	} else {
		kind = kind_of(response.type_url);
		if (kind == MESH_KINDS)
			log_warning("scope %s: a response of type %s, which nobody asked for, is ignored", scope->name, response.type_url);
		else
			r = kind == MESH_LOAD_ASSIGNMENT ? 0 : xds_scope_flush(scope, now_ms);
		if (!r && kind != MESH_KINDS)
			r = answer(scope, kind, &response, size, now_ms);
	}
	xds_response_release(&response);
	return r;
}

/* ---- the stream -------------------------------------------------------------------------------------------------------------------- */

int xds_scope_opened(struct xds_scope *scope, uint64_t now_ms)
{
	int r = 0;

	scope->is_open = true;
	scope->sent_node = false;
	for (unsigned kind = 0; !r && kind < MESH_KINDS; kind++) {
		struct subscription *type = &scope->types[kind];

		/* Nonces belong to a stream. Versions don't: they say what we have. */
		r = set_text(&type->nonce, "");
		type->is_subscribed = type->owes_answer = type->asks_again = false;
		type->names_changed = false;
	}
	(void)now_ms;
	return r ? r : send_what_is_owed(scope);
}

void xds_scope_closed(struct xds_scope *scope)
{
	scope->is_open = false;
	for (unsigned kind = 0; kind < MESH_KINDS; kind++)
		scope->types[kind].is_subscribed = scope->types[kind].owes_answer = false;
}

int xds_scope_tick(struct xds_scope *scope, uint64_t now_ms)
{
	_cleanup_(strbuf_release) struct strbuf why = STRBUF_INIT;
	int r;

	r = xds_scope_flush(scope, now_ms);
	scope->status = 0;
	if (r || !scope->is_unsettled)
		return r;
	r = publish(scope, &why, now_ms);
	if (r)
		log_error("scope %s: what waited can't be published: %s", scope->name, why.size ? strbuf_text(&why) : strerror(-r));
	return send_what_is_owed(scope);
}

/* ---- cache ------------------------------------------------------------------------------------------------------------------------- */

int xds_scope_restore(struct xds_scope *scope, enum mesh_kind kind, const void *bytes, size_t size)
{
	struct xds_resource *resource = NULL;
	struct xds_response_item item;
	struct slot *slot = NULL;
	int r = xds_response_item_of(bytes, size, &item);

	if (!r)
		r = xds_store_take(scope->store, kind, &item, NULL, &resource);
	if (r)
		return r;
	scope->status = 0;
	if (!resource->refusal)
		slot = slot_make(scope, kind, resource->name);
	if (slot) {
		slot_set(scope, &slot->accepted, resource);
		slot->is_wanted = !type_is_wildcard(kind);
		scope->is_unsettled = scope->types[kind].was_applied = true;
	}
	xds_resource_put(scope->store, &resource);
	return scope->status;
}

int xds_scope_restored(struct xds_scope *scope, uint64_t now_ms)
{
	_cleanup_(strbuf_release) struct strbuf why = STRBUF_INIT;
	int r = demand_update(scope, MESH_CLUSTER);

	if (!r)
		r = demand_update(scope, MESH_LISTENER);
	if (r)
		return r;
	return publish(scope, &why, now_ms);
}
