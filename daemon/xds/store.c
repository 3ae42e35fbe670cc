/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define uthash_fatal(message) ((void)0) /* not reached: HASH_NONFATAL_OOM */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/strbuf.h"

struct held {
	struct xds_resource resource; /* first */
	struct held *next;            /* of the same hash */
	uint32_t references;
	UT_hash_handle hh;
};

struct xds_store {
	struct held *by_hash;
	struct xds_store_stats stats;
};

int xds_store_new(struct xds_store **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void xds_store_free(struct xds_store **store)
{
	if (!*store)
		return;
	weft_assert(!(*store)->by_hash);
	free(*store);
	*store = NULL;
}

static bool is_equal(const struct xds_resource *resource, enum mesh_kind kind, struct xds_bytes bytes)
{
	return resource->kind == kind && resource->bytes.size == bytes.size &&
	       (bytes.size == 0 || memcmp(resource->bytes.at, bytes.at, bytes.size) == 0);
}

static void held_free(struct held **held)
{
	if (!*held)
		return;
	mesh_item_unref(&(*held)->resource.item);
	free((char *)(*held)->resource.name);
	free((char *)(*held)->resource.refusal);
	free((uint8_t *)(*held)->resource.bytes.at);
	free(*held);
	*held = NULL;
}

static int decode(struct xds_resource *resource)
{
	_cleanup_(strbuf_release) struct strbuf refusal = STRBUF_INIT;
	int r = mesh_item_decode(resource->kind, resource->bytes.at, resource->bytes.size, &resource->item, &refusal);

	if (r != -EINVAL && r != -EBADMSG)
		return r;
	resource->is_broken = r == -EBADMSG;
	resource->refusal = strdup(strbuf_text(&refusal));
	return resource->refusal ? 0 : -ENOMEM;
}

static int held_new(enum mesh_kind kind, const struct xds_response_item *item, uint64_t hash, struct held **out)
{
	_cleanup_(held_free) struct held *held = calloc(1, sizeof(*held));
	uint8_t *bytes = NULL;
	int r;

	if (!held)
		return -ENOMEM;
	held->references = 1;
	held->resource.kind = kind;
	held->resource.hash = hash;
	held->resource.name = strndup((const char *)item->name.at, item->name.size);
	bytes = malloc(item->value.size + 1);
	held->resource.bytes = (struct xds_bytes){ bytes, item->value.size };
	if (!held->resource.name || !bytes)
		return -ENOMEM;
	if (item->value.size)
		memcpy(bytes, item->value.at, item->value.size);
	r = decode(&held->resource);
	if (r)
		return r;
	*out = TAKE_PTR(held);
	return 0;
}

struct xds_resource *xds_resource_ref(struct xds_resource *resource)
{
	((struct held *)resource)->references++;
	return resource;
}

static int insert(struct xds_store *store, struct held *first, struct held *held)
{
	if (first) {
		held->next = first->next;
		first->next = held;
		return 0;
	}
	HASH_ADD(hh, store->by_hash, resource.hash, sizeof(held->resource.hash), held);
	return held->hh.tbl ? 0 : -ENOMEM;
}

int xds_store_take(struct xds_store *store, enum mesh_kind kind, const struct xds_response_item *item, struct xds_resource *known,
		   struct xds_resource **out)
{
	_cleanup_(held_free) struct held *new = NULL;
	struct held *first = NULL, *held;
	uint64_t hash;
	int r;

	if (known && is_equal(known, kind, item->value)) {
		*out = xds_resource_ref(known);
		return 0;
	}
	hash = content_hash(item->value.at, item->value.size);
	HASH_FIND(hh, store->by_hash, &hash, sizeof(hash), first);
	for (held = first; held; held = held->next) {
		if (!is_equal(&held->resource, kind, item->value))
			continue;
		store->stats.shared++;
		*out = xds_resource_ref(&held->resource);
		return 0;
	}
	r = held_new(kind, item, hash, &new);
	if (!r)
		r = insert(store, first, new);
	if (r)
		return r;
	store->stats.resources++;
	store->stats.decoded++;
	store->stats.bytes += item->value.size;
	*out = &TAKE_PTR(new)->resource;
	return 0;
}

static void take_out(struct xds_store *store, struct held *held)
{
	struct held *first, *before;

	HASH_FIND(hh, store->by_hash, &held->resource.hash, sizeof(held->resource.hash), first);
	weft_assert(first);
	if (first == held) {
		HASH_DEL(store->by_hash, held);
		if (held->next)
			HASH_ADD(hh, store->by_hash, resource.hash, sizeof(held->resource.hash), held->next);
		return;
	}
	for (before = first; before->next != held; before = before->next)
		;
	before->next = held->next;
}

void xds_resource_put(struct xds_store *store, struct xds_resource **resource)
{
	struct held *held = (struct held *)*resource;

	*resource = NULL;
	if (!held || --held->references)
		return;
	take_out(store, held);
	store->stats.resources--;
	store->stats.bytes -= held->resource.bytes.size;
	held_free(&held);
}

void xds_store_stats(const struct xds_store *store, struct xds_store_stats *out)
{
	*out = store->stats;
}
