/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh as a container: resources by kind and name, each with an arena of its own so that it can be replaced alone. */
#include "mesh/mesh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, size, hash) ((hash) = (unsigned)content_hash(key, size))
#include <uthash.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "mesh/mesh_internal.h"
#include "mesh/model.h"
#include "mesh/registry.h"
#include "mesh/wire.h"

/* A decoded resource; may stand in several meshes. */
struct mesh_item {
	struct arena arena;
	const struct mesh_resource *resource; /* first member of its struct: also the listener, cluster ... itself */
	enum mesh_kind kind;
	uint32_t references;
};

/* Its place in one of them. */
struct entry {
	struct mesh_item *item;
	const struct mesh_resource *resource; /* the item's */
	size_t index;                         /* in the array of its kind; not kept in a sorted mesh */
	UT_hash_handle hh;
};

struct refusal {
	struct mesh_refused refused;          /* first: the public arrays point here */
	struct arena arena;
};

struct mesh_owner {
	struct mesh mesh;                     /* first */
	struct entry *tables[MESH_KINDS];
	struct pods *pods;
	size_t refused_capacity;
	size_t capacities[MESH_KINDS];
	bool is_sorted;                       /* arrays are in the order of names */
};

static const struct {
	const char *type_url;
	const char *name;
	const ProtobufCMessageDescriptor *descriptor;
} kinds[MESH_KINDS] = {
	[MESH_LISTENER] = { "type.googleapis.com/envoy.config.listener.v3.Listener", "listener", &envoy__config__listener__v3__listener__descriptor },
	[MESH_ROUTE_CONFIG] = { "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "route configuration",
				&envoy__config__route__v3__route_configuration__descriptor },
	[MESH_CLUSTER] = { "type.googleapis.com/envoy.config.cluster.v3.Cluster", "cluster", &envoy__config__cluster__v3__cluster__descriptor },
	[MESH_LOAD_ASSIGNMENT] = { "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "load assignment",
				   &envoy__config__endpoint__v3__cluster_load_assignment__descriptor },
};

const char *mesh_kind_type_url(enum mesh_kind kind)
{
	return kind < MESH_KINDS ? kinds[kind].type_url : "";
}

const char *mesh_kind_name(enum mesh_kind kind)
{
	return kind < MESH_KINDS ? kinds[kind].name : "resource";
}

static enum mesh_kind kind_of(const char *type_url)
{
	for (unsigned kind = 0; kind < MESH_KINDS; kind++)
		if (strcmp(type_url_name(type_url), kinds[kind].descriptor->name) == 0)
			return kind;
	return MESH_KINDS;
}

static struct mesh_owner *owner_of(const struct mesh *mesh)
{
	return (struct mesh_owner *)mesh;
}

/* The public array of a kind. All four are arrays of pointers to structs that begin with a struct mesh_resource. */
static const struct mesh_resource ***array_of(struct mesh *mesh, enum mesh_kind kind, size_t **count)
{
	switch (kind) {
	case MESH_LISTENER:
		*count = &mesh->listener_count;
		return (const struct mesh_resource ***)&mesh->listeners;
	case MESH_ROUTE_CONFIG:
		*count = &mesh->route_config_count;
		return (const struct mesh_resource ***)&mesh->route_configs;
	case MESH_CLUSTER:
		*count = &mesh->cluster_count;
		return (const struct mesh_resource ***)&mesh->clusters;
	default:
		weft_assert(kind == MESH_LOAD_ASSIGNMENT);
		*count = &mesh->load_assignment_count;
		return (const struct mesh_resource ***)&mesh->load_assignments;
	}
}

struct mesh_item *mesh_item_ref(struct mesh_item *item)
{
	item->references++;
	return item;
}

void mesh_item_unref(struct mesh_item **item)
{
	struct mesh_item *former = *item;

	*item = NULL;
	if (!former || --former->references)
		return;
	arena_release(&former->arena);
	free(former);
}

const struct mesh_resource *mesh_item_resource(const struct mesh_item *item)
{
	return item->resource;
}

static void entry_free(struct entry **entry)
{
	if (!*entry)
		return;
	mesh_item_unref(&(*entry)->item);
	free(*entry);
	*entry = NULL;
}

static void refusal_free(struct refusal **refusal)
{
	if (!*refusal)
		return;
	arena_release(&(*refusal)->arena);
	free(*refusal);
	*refusal = NULL;
}

int mesh_new(struct mesh **out)
{
	struct mesh_owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return -ENOMEM;
	if (pods_new(&owner->pods)) {
		free(owner);
		return -ENOMEM;
	}
	owner->mesh.pods = owner->pods;
	*out = &owner->mesh;
	return 0;
}

int mesh_new_sorted(struct mesh **out)
{
	int r = mesh_new(out);

	if (!r)
		owner_of(*out)->is_sorted = true;
	return r;
}

void mesh_free(struct mesh **mesh)
{
	struct mesh_owner *owner;

	if (!*mesh)
		return;
	owner = owner_of(*mesh);
	for (unsigned kind = 0; kind < MESH_KINDS; kind++) {
		struct entry *entry, *next;
		size_t *count;

		HASH_ITER(hh, owner->tables[kind], entry, next) {
			HASH_DEL(owner->tables[kind], entry);
			entry_free(&entry);
		}
		free(*array_of(*mesh, kind, &count));
	}
	for (size_t i = 0; i < (*mesh)->refused_count; i++) {
		struct refusal *refusal = (struct refusal *)(*mesh)->refused[i];

		refusal_free(&refusal);
	}
	free((*mesh)->refused);
	pods_free(&owner->pods);
	free(owner);
	*mesh = NULL;
}

void mesh_require_mtls(struct mesh *mesh, bool is_required)
{
	mesh->requires_mtls = is_required;
}

struct pods *mesh_pods(struct mesh *mesh)
{
	return owner_of(mesh)->pods;
}

static const struct entry *find(const struct mesh *mesh, enum mesh_kind kind, const char *name)
{
	struct entry *entry;

	HASH_FIND(hh, owner_of(mesh)->tables[kind], name, strlen(name), entry);
	return entry;
}

static const void *find_resource(const struct mesh *mesh, enum mesh_kind kind, const char *name)
{
	const struct entry *entry = find(mesh, kind, name);

	return entry ? entry->resource : NULL;
}

const struct mesh_listener *mesh_find_listener(const struct mesh *mesh, const char *name)
{
	return find_resource(mesh, MESH_LISTENER, name);
}

const struct mesh_route_config *mesh_find_route_config(const struct mesh *mesh, const char *name)
{
	return find_resource(mesh, MESH_ROUTE_CONFIG, name);
}

const struct mesh_cluster *mesh_find_cluster(const struct mesh *mesh, const char *name)
{
	return find_resource(mesh, MESH_CLUSTER, name);
}

const struct mesh_load_assignment *mesh_find_load_assignment(const struct mesh *mesh, const char *name)
{
	return find_resource(mesh, MESH_LOAD_ASSIGNMENT, name);
}

const struct mesh_load_assignment *mesh_cluster_endpoints(const struct mesh *mesh, const struct mesh_cluster *cluster)
{
	return cluster->kind == MESH_CLUSTER_EDS ? mesh_find_load_assignment(mesh, cluster->eds_name) : cluster->load_assignment;
}

const struct mesh_route_config *mesh_http_routes(const struct mesh *mesh, const struct mesh_http *http)
{
	return http->route_config ? http->route_config : mesh_find_route_config(mesh, http->route_config_name);
}

/* Room for one more. */
static int array_reserve(struct mesh *mesh, enum mesh_kind kind)
{
	size_t *count, *capacity = &owner_of(mesh)->capacities[kind], wanted;
	const struct mesh_resource ***array = array_of(mesh, kind, &count), **items;

	if (*count < *capacity)
		return 0;
	wanted = *capacity ? *capacity * 2 : 16;
	items = reallocarray(*array, wanted, sizeof(*items));
	if (!items)
		return -ENOMEM;
	*array = items;
	*capacity = wanted;
	return 0;
}

/* Where a name stands, or would, in a sorted array. */
static size_t sorted_index(const struct mesh_resource *const *items, size_t count, const char *name)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(items[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t index_of(const struct mesh *mesh, enum mesh_kind kind, const struct entry *entry)
{
	const struct mesh_resource **array;
	size_t *count;

	if (!owner_of(mesh)->is_sorted)
		return entry->index;
	array = *array_of((struct mesh *)mesh, kind, &count);
	return sorted_index(array, *count, entry->resource->name);
}

/* Clusters and assignments mostly come in one order, that of their names. */
const struct mesh_load_assignment *mesh_next_endpoints(const struct mesh *mesh, const struct mesh_cluster *cluster, size_t *at)
{
	const struct mesh_load_assignment *expected = *at < mesh->load_assignment_count ? mesh->load_assignments[*at] : NULL;
	const struct entry *entry;

	if (cluster->kind != MESH_CLUSTER_EDS)
		return cluster->load_assignment;
	if (expected && strcmp(expected->resource.name, cluster->eds_name) == 0) {
		++*at;
		return expected;
	}
	entry = find(mesh, MESH_LOAD_ASSIGNMENT, cluster->eds_name);
	if (!entry)
		return NULL;
	*at = index_of(mesh, MESH_LOAD_ASSIGNMENT, entry) + 1;
	return (const struct mesh_load_assignment *)entry->resource;
}

/* Takes the place of a resource of its name, or a new one: at the end, or by its name. */
static int put(struct mesh *mesh, enum mesh_kind kind, struct entry *entry)
{
	struct mesh_owner *owner = owner_of(mesh);
	struct entry **table = &owner->tables[kind], *old;
	const char *name = entry->resource->name;
	const struct mesh_resource ***array;
	size_t *count;
	int r = array_reserve(mesh, kind);

	if (r)
		return r;
	array = array_of(mesh, kind, &count);
	HASH_FIND(hh, *table, name, strlen(name), old);
	if (owner->is_sorted)
		entry->index = sorted_index(*array, *count, name);
	else
		entry->index = old ? old->index : *count;
	if (old)
		HASH_DEL(*table, old);
	HASH_ADD_KEYPTR(hh, *table, name, strlen(name), entry);
	if (!entry->hh.tbl) {
		if (old)
			HASH_ADD_KEYPTR(hh, *table, old->resource->name, strlen(old->resource->name), old);
		return -ENOMEM;
	}
	if (!old) {
		memmove(*array + entry->index + 1, *array + entry->index, (*count - entry->index) * sizeof(**array));
		++*count;
	}
	(*array)[entry->index] = entry->resource;
	entry_free(&old);
	return 0;
}

int mesh_put(struct mesh *mesh, struct mesh_item *item)
{
	_cleanup_(entry_free) struct entry *entry = calloc(1, sizeof(*entry));
	int r;

	if (!entry)
		return -ENOMEM;
	entry->item = mesh_item_ref(item);
	entry->resource = item->resource;
	r = put(mesh, item->kind, entry);
	if (!r)
		(void)TAKE_PTR(entry);
	return r;
}

int mesh_remove_resource(struct mesh *mesh, enum mesh_kind kind, const char *name)
{
	struct entry *entry = (struct entry *)find(mesh, kind, name), *other, *next;
	struct mesh_owner *owner = owner_of(mesh);
	const struct mesh_resource **array;
	size_t *count, index;

	if (!entry)
		return -ENOENT;
	array = *array_of(mesh, kind, &count);
	index = index_of(mesh, kind, entry);
	memmove(array + index, array + index + 1, (*count - index - 1) * sizeof(*array));
	--*count;
	if (!owner->is_sorted)
		HASH_ITER(hh, owner->tables[kind], other, next)
			if (other->index > index)
				other->index--;
	HASH_DEL(owner->tables[kind], entry);
	entry_free(&entry);
	return 0;
}

static void forget_refusal(struct mesh *mesh, enum mesh_kind kind, const char *name)
{
	for (size_t i = 0; i < mesh->refused_count; i++) {
		struct refusal *refusal = (struct refusal *)mesh->refused[i];

		if (refusal->refused.kind != kind || strcmp(refusal->refused.name, name) != 0)
			continue;
		memmove(mesh->refused + i, mesh->refused + i + 1, (mesh->refused_count - i - 1) * sizeof(*mesh->refused));
		mesh->refused_count--;
		refusal_free(&refusal);
		return;
	}
}

static int keep_refusal(struct mesh *mesh, enum mesh_kind kind, const char *name, const char *path, const char *text, struct mesh_place place)
{
	_cleanup_(refusal_free) struct refusal *refusal = calloc(1, sizeof(*refusal));
	struct mesh_owner *owner = owner_of(mesh);

	if (!refusal)
		return -ENOMEM;
	forget_refusal(mesh, kind, name);
	if (mesh->refused_count == owner->refused_capacity) {
		size_t wanted = owner->refused_capacity ? owner->refused_capacity * 2 : 8;
		const struct mesh_refused **items = reallocarray(mesh->refused, wanted, sizeof(*items));

		if (!items)
			return -ENOMEM;
		mesh->refused = items;
		owner->refused_capacity = wanted;
	}
	refusal->refused.kind = kind;
	refusal->refused.type_url = mesh_kind_type_url(kind);
	refusal->refused.name = arena_text(&refusal->arena, name);
	refusal->refused.path = arena_text(&refusal->arena, path);
	refusal->refused.text = arena_text(&refusal->arena, text);
	refusal->refused.place = place;
	refusal->refused.place.file = arena_text(&refusal->arena, place.file);
	if (!refusal->refused.name || !refusal->refused.path || !refusal->refused.text || !refusal->refused.place.file)
		return -ENOMEM;
	mesh->refused[mesh->refused_count++] = &TAKE_PTR(refusal)->refused;
	return 0;
}

int mesh_refuse(struct mesh *mesh, const struct mesh_resource *resource, const char *path, const char *text)
{
	int r = keep_refusal(mesh, resource->kind, resource->name, path, text, resource->place);

	return r ? r : mesh_remove_resource(mesh, resource->kind, resource->name);
}

static struct mesh_resource *build_kind(struct build *b, enum mesh_kind kind, const ProtobufCMessage *message)
{
	switch (kind) {
	case MESH_LISTENER:
		return (struct mesh_resource *)model_listener(b, (const PbListener *)message);
	case MESH_ROUTE_CONFIG:
		return (struct mesh_resource *)model_route_config(b, (const PbRouteConfig *)message);
	case MESH_CLUSTER:
		return (struct mesh_resource *)model_cluster(b, (const PbCluster *)message);
	default:
		return (struct mesh_resource *)model_load_assignment(b, (const PbAssignment *)message, false);
	}
}

/* Unpacks and builds. Gives NULL (and 0) when the resource is refused: `b` says why. */
static int build_resource(struct build *b, enum mesh_kind kind, const void *bytes, size_t size, struct mesh_resource **out)
{
	ProtobufCMessage *message = NULL;
	const char *problem;
	int r;

	*out = NULL;
	r = wire_unpack(kinds[kind].descriptor, bytes, size, b->scratch, &message, &problem);
	if (r == -ENOMEM)
		return r;
	if (r) {
		build_refuse(b, "broken %s: %s", kinds[kind].descriptor->name, problem);
		return b->status;
	}
	*out = build_kind(b, kind, message);
	if (*out)
		(*out)->content_hash = keyed_hash(bytes, size);
	if (*out && kind == MESH_ROUTE_CONFIG && !*(*out)->name)
		build_refuse(b, "a name is needed");
	return b->status ? b->status : strbuf_status(&b->path);
}

/* Into the arena of the item, which is that of `b`. Refused: `b` says so. */
static int build_item(struct build *b, struct mesh_item *item, enum mesh_kind kind, const void *bytes, size_t size)
{
	struct mesh_resource *resource;
	int r = build_resource(b, kind, bytes, size, &resource);

	item->resource = resource;
	item->kind = kind;
	return r;
}

static struct mesh_item *item_new(void)
{
	struct mesh_item *item = calloc(1, sizeof(*item));

	if (item)
		item->references = 1;
	return item;
}

int mesh_add(struct mesh *mesh, const char *type_url, const void *bytes, size_t size, const struct mesh_source *source,
	     struct mesh_report *report)
{
	_cleanup_(arena_release) struct arena scratch = ARENA_INIT;
	_cleanup_(mesh_item_unref) struct mesh_item *item = NULL;
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	struct mesh_reasons stray = { NULL, 0 };
	enum mesh_kind kind = kind_of(type_url);
	struct build b;
	int r;

	if (kind == MESH_KINDS)
		return -EPROTONOSUPPORT;
	item = item_new();
	if (!item)
		return -ENOMEM;
	b = (struct build){ .arena = &item->arena, .scratch = &scratch, .report = report, .source = source, .path = path, .reasons = &stray };
	r = build_item(&b, item, kind, bytes, size);
	path = b.path; /* it grew: released here */
	if (r)
		return r;
	if (b.refused_text) {
		const char *name = item->resource ? item->resource->name : "";

		strbuf_truncate(&b.path, 0);
		r = keep_refusal(mesh, kind, name, b.refused_path, b.refused_text, build_place(&b));
		return r ? r : -EINVAL;
	}
	r = mesh_put(mesh, item);
	if (!r)
		forget_refusal(mesh, kind, item->resource->name);
	return r;
}

int mesh_item_decode(enum mesh_kind kind, const void *bytes, size_t size, struct mesh_item **out, struct strbuf *refusal)
{
	static const struct mesh_source wire = { "", NULL, "" };
	_cleanup_(arena_release) struct arena scratch = ARENA_INIT;
	_cleanup_(mesh_item_unref) struct mesh_item *item = item_new();
	struct mesh_reasons stray = { NULL, 0 };
	struct build b;
	int r;

	if (!item)
		return -ENOMEM;
	b = (struct build){ .arena = &item->arena, .scratch = &scratch, .source = &wire, .path = STRBUF_INIT, .reasons = &stray };
	r = build_item(&b, item, kind, bytes, size);
	strbuf_release(&b.path);
	if (r)
		return r;
	if (b.refused_text) {
		r = strbuf_printf(refusal, "%s%s%s", b.refused_path, *b.refused_path ? ": " : "", b.refused_text);
		return r ? r : item->resource ? -EINVAL : -EBADMSG;
	}
	*out = TAKE_PTR(item);
	return 0;
}

int mesh_add_resource(struct mesh *mesh, const char *type_url, const void *bytes, size_t size, struct mesh_report *report)
{
	struct mesh_source source = { "", NULL, "" };

	return mesh_add(mesh, type_url, bytes, size, &source, report);
}
