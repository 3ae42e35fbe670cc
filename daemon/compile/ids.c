/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/ids.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define uthash_fatal(message) ((void)0) /* not reached: HASH_NONFATAL_OOM */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_unhashed = true)
#define HASH_FUNCTION(key, size, hash) ((hash) = (unsigned)content_hash(key, size))
#include <uthash.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"

/* One owner of an id. `key` is a cluster's name, or an endpoint's address and port as text of bytes. */
struct entry {
	UT_hash_handle hh;
	struct entry *older, *newer; /* among the resting ones, by the time they began to rest */
	uint64_t rests_since_ms;
	uint64_t rests_since_generation;
	uint32_t id;
	bool is_unhashed;
	uint32_t key_size;
	char key[];                  /* and a NUL byte */
};

/* One kind of id. */
struct space {
	struct entry *by_key;
	struct entry **by_id;
	uint32_t *claims;            /* by id; apart from the entries, because most compiles only count them */
	struct entry *oldest, *newest; /* resting */
	uint32_t limit;
	uint32_t next;               /* never given so far: [next, limit) */
};

struct ids {
	struct ids_limits limits;
	struct space clusters, endpoints;
	uint64_t now_ms;
	uint64_t generation;
};

struct held {
	uint32_t *ids;
	size_t count, capacity;
};

struct ids_claim {
	struct ids *ids;
	struct held clusters, endpoints;
	/* Clusters that come as they came before have ids one after the other: the name is looked up only where that does not hold. */
	uint32_t expected;
	bool has_missed;
};

static int space_new(struct space *space, uint32_t limit)
{
	space->limit = limit;
	space->next = 1;
	space->by_id = calloc((size_t)limit + 1, sizeof(*space->by_id));
	space->claims = calloc((size_t)limit + 1, sizeof(*space->claims));
	return space->by_id && space->claims ? 0 : -ENOMEM;
}

int ids_new(struct ids **out, const struct ids_limits *limits)
{
	static const struct ids_limits defaults = IDS_LIMITS_DEFAULT;
	struct ids *ids = calloc(1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	ids->limits = limits ? *limits : defaults;
	if (space_new(&ids->clusters, ids->limits.clusters) || space_new(&ids->endpoints, ids->limits.endpoints)) {
		ids_free(&ids);
		return -ENOMEM;
	}
	*out = ids;
	return 0;
}

static void space_release(struct space *space)
{
	struct entry *entry, *next;

	HASH_ITER(hh, space->by_key, entry, next)
	{
		HASH_DEL(space->by_key, entry);
		free(entry);
	}
	free(space->by_id);
	free(space->claims);
}

void ids_free(struct ids **ids)
{
	if (!*ids)
		return;
	space_release(&(*ids)->clusters);
	space_release(&(*ids)->endpoints);
	free(*ids);
	*ids = NULL;
}

void ids_set_time(struct ids *ids, uint64_t now_ms)
{
	struct entry *entry;

	/* What was adopted before anybody told the time rests from now on. */
	for (entry = ids->now_ms ? NULL : ids->clusters.oldest; entry; entry = entry->newer)
		entry->rests_since_ms = now_ms;
	for (entry = ids->now_ms ? NULL : ids->endpoints.oldest; entry; entry = entry->newer)
		entry->rests_since_ms = now_ms;
	ids->now_ms = now_ms;
}

/* ---- resting --------------------------------------------------------------------------------------------------------------------- */

static void rest_begin(struct ids *ids, struct space *space, struct entry *entry)
{
	entry->rests_since_ms = ids->now_ms;
	entry->rests_since_generation = ids->generation;
	entry->older = space->newest;
	entry->newer = NULL;
	if (space->newest)
		space->newest->newer = entry;
	else
		space->oldest = entry;
	space->newest = entry;
}

static void rest_end(struct space *space, struct entry *entry)
{
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		space->oldest = entry->newer;
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		space->newest = entry->older;
	entry->older = entry->newer = NULL;
}

static bool has_rested(const struct ids *ids, const struct entry *entry)
{
	return ids->now_ms - entry->rests_since_ms >= ids->limits.rest_ms &&
	       ids->generation - entry->rests_since_generation >= ids->limits.rest_generations;
}

/* An id without an owner: one that has rested long enough, else one that was never given. */
static int take_id(struct ids *ids, struct space *space, uint32_t *id)
{
	struct entry *oldest = space->oldest;

	if (oldest && has_rested(ids, oldest)) {
		*id = oldest->id;
		rest_end(space, oldest);
		space->by_id[*id] = NULL;
		HASH_DEL(space->by_key, oldest);
		free(oldest);
		return 0;
	}
	/* Adopted ids may lie anywhere. */
	while (space->next < space->limit && space->by_id[space->next])
		space->next++;
	if (space->next >= space->limit)
		return -ENOSPC;
	*id = space->next++;
	return 0;
}

static int entry_add(struct space *space, const void *key, size_t key_size, uint32_t id, struct entry **out)
{
	struct entry *entry = calloc(1, sizeof(*entry) + key_size + 1);

	if (!entry)
		return -ENOMEM;
	memcpy(entry->key, key, key_size);
	entry->key_size = (uint32_t)key_size;
	entry->id = id;
	HASH_ADD(hh, space->by_key, key, key_size, entry);
	if (entry->is_unhashed) {
		free(entry);
		return -ENOMEM;
	}
	space->by_id[id] = entry;
	*out = entry;
	return 0;
}

static int held_reserve(struct held *held, size_t count)
{
	size_t capacity = held->capacity ? held->capacity : 64;
	uint32_t *grown;

	if (held->capacity - held->count >= count)
		return 0;
	while (capacity - held->count < count)
		capacity *= 2;
	grown = reallocarray(held->ids, capacity, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	held->ids = grown;
	held->capacity = capacity;
	return 0;
}

static int hold(struct space *space, struct held *held, struct entry *entry)
{
	int r = held_reserve(held, 1);

	if (r)
		return r;
	held->ids[held->count++] = entry->id;
	if (!space->claims[entry->id]++)
		rest_end(space, entry);
	return 0;
}

static int claim_key(struct ids *ids, struct space *space, struct held *held, const void *key, size_t key_size, uint32_t *id)
{
	struct entry *entry;
	int r;

	HASH_FIND(hh, space->by_key, key, key_size, entry);
	if (!entry) {
		uint32_t fresh;

		r = take_id(ids, space, &fresh);
		if (r)
			return r;
		r = entry_add(space, key, key_size, fresh, &entry);
		if (r)
			return r;
		rest_begin(ids, space, entry);
	}
	r = hold(space, held, entry);
	if (r)
		return r;
	*id = entry->id;
	return 0;
}

/* ---- claims ---------------------------------------------------------------------------------------------------------------------- */

int ids_claim_new(struct ids *ids, struct ids_claim **out)
{
	struct ids_claim *claim = calloc(1, sizeof(*claim));

	if (!claim)
		return -ENOMEM;
	claim->ids = ids;
	claim->expected = 1;
	ids->generation++;
	*out = claim;
	return 0;
}

static void release_held(struct ids *ids, struct space *space, struct held *held)
{
	size_t i;

	for (i = 0; i < held->count; i++) {
		uint32_t id = held->ids[i];

		weft_assert(space->claims[id]);
		if (!--space->claims[id])
			rest_begin(ids, space, space->by_id[id]);
	}
	free(held->ids);
}

void ids_claim_release(struct ids_claim **claim)
{
	struct ids_claim *c = *claim;

	if (!c)
		return;
	release_held(c->ids, &c->ids->clusters, &c->clusters);
	release_held(c->ids, &c->ids->endpoints, &c->endpoints);
	free(c);
	*claim = NULL;
}

int ids_cluster(struct ids_claim *claim, const char *name, uint32_t *id)
{
	struct space *space = &claim->ids->clusters;
	size_t size = strlen(name);
	struct entry *entry = space->by_id[claim->expected];
	int r;

	if (entry && entry->key_size == size && memcmp(entry->key, name, size) == 0) {
		r = hold(space, &claim->clusters, entry);
		if (r)
			return r;
		*id = claim->expected;
	} else {
		r = claim_key(claim->ids, space, &claim->clusters, name, size, id);
		if (r)
			return r;
		/* One newcomer does not end a run. */
		claim->has_missed = !claim->has_missed;
		if (claim->has_missed)
			return 0;
	}
	claim->expected = *id + 1;
	claim->has_missed = false;
	return 0;
}

static void endpoint_key(const struct weft_address *address, uint16_t port_be, uint8_t key[18])
{
	memcpy(key, address->be, 16);
	memcpy(key + 16, &port_be, 2);
}

int ids_endpoint(struct ids_claim *claim, const struct weft_address *address, uint16_t port_be, uint32_t *id)
{
	uint8_t key[18];

	endpoint_key(address, port_be, key);
	return claim_key(claim->ids, &claim->ids->endpoints, &claim->endpoints, key, sizeof(key), id);
}

int ids_hold_endpoints(struct ids_claim *claim, const struct weft_endpoint *endpoints, uint32_t count)
{
	struct space *space = &claim->ids->endpoints;
	struct held *held = &claim->endpoints;
	uint32_t i;
	int r = held_reserve(held, count);

	for (i = 0; !r && i < count; i++) {
		weft_assert(space->claims[endpoints[i].id]);
		space->claims[endpoints[i].id]++;
		held->ids[held->count++] = endpoints[i].id;
	}
	return r;
}

const char *ids_cluster_name(const struct ids *ids, uint32_t cluster_id)
{
	if (cluster_id >= ids->clusters.limit || !ids->clusters.by_id[cluster_id])
		return NULL;
	return ids->clusters.by_id[cluster_id]->key;
}

int ids_endpoint_address(const struct ids *ids, uint32_t endpoint_id, struct weft_address *address, uint16_t *port_be)
{
	const struct entry *entry = endpoint_id < ids->endpoints.limit ? ids->endpoints.by_id[endpoint_id] : NULL;

	if (!entry)
		return -ENOENT;
	memcpy(address->be, entry->key, 16);
	memcpy(port_be, entry->key + 16, 2);
	return 0;
}

uint32_t ids_cluster_find(const struct ids *ids, const char *name)
{
	struct entry *entry;

	HASH_FIND(hh, ids->clusters.by_key, name, strlen(name), entry);
	return entry ? entry->id : 0;
}

/* ---- adoption -------------------------------------------------------------------------------------------------------------------- */

static int adopt_key(struct ids *ids, struct space *space, const void *key, size_t key_size, uint32_t id)
{
	struct entry *entry;
	int r;

	if (!id || id >= space->limit)
		return -EINVAL;
	HASH_FIND(hh, space->by_key, key, key_size, entry);
	if (entry)
		return entry->id == id ? 0 : -EEXIST;
	if (space->by_id[id])
		return -EEXIST;
	r = entry_add(space, key, key_size, id, &entry);
	if (r)
		return r;
	rest_begin(ids, space, entry);
	return 0;
}

static int adopt_cluster(struct ids *ids, const uint8_t *base, const struct weft_cluster *cluster)
{
	const struct weft_text *name = (const void *)(base + cluster->name);
	const struct weft_endpoint *endpoints = (const void *)(base + cluster->endpoints);
	uint32_t i;
	int r;

	r = adopt_key(ids, &ids->clusters, name->bytes, name->len, cluster->id);
	for (i = 0; !r && i < cluster->endpoint_count; i++) {
		uint8_t key[18];

		endpoint_key(&endpoints[i].address, endpoints[i].port_be, key);
		r = adopt_key(ids, &ids->endpoints, key, sizeof(key), endpoints[i].id);
	}
	return r;
}

int ids_adopt(struct ids *ids, const uint8_t *base, uint32_t size_bytes)
{
	const struct weft_image_header *header = (const void *)base;
	const weft_ref *directory;
	uint32_t i;
	int r;

	r = image_check(base, size_bytes);
	if (r)
		return r;
	if (header->kind != WEFT_IMAGE_ENDPOINTS)
		return -EINVAL;
	directory = (const void *)(base + header->cluster_directory);
	for (i = 0; i < header->cluster_count; i++) {
		if (!directory[i])
			continue;
		r = adopt_cluster(ids, base, (const void *)(base + directory[i]));
		if (r)
			return r;
	}
	return 0;
}
