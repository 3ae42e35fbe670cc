/* SPDX-License-Identifier: Apache-2.0 */
/* What an endpoint id means: read out of endpoint images. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "pool/internal.h"
#include "weft/image.h"

struct reader {
	const uint8_t *base;
	size_t size;
};

/* The object at `ref`, or NULL when it does not lie in the image as a whole. */
static const void *reader_at(const struct reader *r, weft_ref ref, size_t size)
{
	return ref && ref <= r->size && size <= r->size - ref ? r->base + ref : NULL;
}

static bool is_valid(const struct reader *r)
{
	const struct weft_image_header *header = (const void *)r->base;

	return r->size >= sizeof(*header) && header->magic == WEFT_IMAGE_MAGIC && header->version == WEFT_IMAGE_VERSION &&
	       header->kind == WEFT_IMAGE_ENDPOINTS && header->size_bytes <= r->size;
}

/* `known` is what the scopes say from now on; an id that two scopes explain differently is a bug of the compiler: the first stands. */
static void endpoint_note(struct endpoint *known, const struct weft_endpoint *e, uint32_t connect_timeout_ms, uint64_t scope_bit)
{
	if (known->scopes && (!weft_address_equals(&known->address, &e->address) || known->port_be != e->port_be)) {
		log_error("endpoint %u has two addresses; the one that came later is not dialled", e->id);
		return;
	}
	if (!weft_address_equals(&known->address, &e->address) || known->port_be != e->port_be)
		__atomic_store_n(&known->keeps, 0, __ATOMIC_RELAXED);
	known->address = e->address;
	known->port_be = e->port_be;
	/* Of several clusters with the same endpoint the most patient one counts: a request never waits for a dial. */
	if (connect_timeout_ms > known->connect_timeout_ms)
		known->connect_timeout_ms = connect_timeout_ms;
	known->scopes |= scope_bit;
}

static void cluster_read(struct pool *pool, const struct reader *r, weft_ref ref, uint64_t scope_bit)
{
	const struct weft_cluster *cluster = reader_at(r, ref, sizeof(*cluster));
	const struct weft_endpoint *e;

	if (!cluster || !cluster->endpoint_count)
		return;
	e = reader_at(r, cluster->endpoints, (size_t)cluster->endpoint_count * sizeof(*e));
	if (!e)
		return;
	for (uint32_t i = 0; i < cluster->endpoint_count; i++) {
		if (e[i].id < WEFT_ENDPOINTS_MAX)
			endpoint_note(&pool->endpoints[e[i].id], &e[i], cluster->connect_timeout_ms, scope_bit);
	}
}

/* Forgets what `scope` said before. Addresses stay readable until another one takes the id. */
static void scope_clear(struct pool *pool, uint64_t scope_bit)
{
	for (uint32_t i = 0; i < WEFT_ENDPOINTS_MAX; i++) {
		struct endpoint *e = &pool->endpoints[i];

		if (!(e->scopes & scope_bit))
			continue;
		e->scopes &= ~scope_bit;
		if (!e->scopes)
			e->connect_timeout_ms = 0;
	}
}

int pool_publish_endpoints(struct pool *pool, uint32_t scope, const void *image, size_t size)
{
	struct reader r = { .base = image, .size = size };
	const struct weft_image_header *header = image;
	uint64_t scope_bit;

	if (scope >= WEFT_SCOPES_MAX || !is_valid(&r))
		return -EINVAL;
	scope_bit = 1ull << scope;
	scope_clear(pool, scope_bit);
	for (uint32_t i = 0; i < header->cluster_count; i++) {
		const weft_ref *entry = reader_at(&r, header->cluster_directory + i * (uint32_t)sizeof(weft_ref), sizeof(weft_ref));

		if (entry && *entry)
			cluster_read(pool, &r, *entry, scope_bit);
	}
	pool_drop_stale(pool);
	return 0;
}
