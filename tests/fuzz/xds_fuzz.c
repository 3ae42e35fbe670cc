/* SPDX-License-Identifier: Apache-2.0 */
/* What istiod sends, hostile: a sequence of DiscoveryResponses, each behind its size (4 bytes, the highest first), into a scope. Whatever they are, it
 * must not crash, leak or lose count, what serves must stay whole, and each response to a subscription must be answered. The corpus is recordings of a
 * real istiod. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "compile/compile.h"
#include "xds/scope.h"

struct end {
	struct ids *ids;
	size_t sent;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_send(void *arg, const void *bytes, size_t size)
{
	((struct end *)arg)->sent++;
}

static int on_publish(void *arg, const struct mesh *mesh, struct strbuf *why)
{
	struct image *routes = NULL, *endpoints = NULL;
	struct end *end = arg;

	/* Arrays are in the order of names, each name once. */
	for (size_t i = 1; i < mesh->cluster_count; i++)
		weft_assert(strcmp(mesh->clusters[i - 1]->resource.name, mesh->clusters[i]->resource.name) < 0);
	if (!compile_endpoints(mesh, NULL, end->ids, &endpoints, NULL))
		weft_assert(!image_check(endpoints->base, endpoints->size_bytes));
	if (!compile_routes(mesh, end->ids, &routes, NULL))
		weft_assert(!image_check(routes->base, routes->size_bytes));
	image_free(&routes);
	image_free(&endpoints);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct xds_scope_callbacks callbacks = { on_send, on_publish };
	static const struct ids_limits limits = { .clusters = 512, .endpoints = 2048, .rest_ms = 1000, .rest_generations = 1 };
	struct xds_store *store = NULL;
	struct xds_scope *scope = NULL;
	struct end end = { NULL, 0 };
	uint64_t now_ms = 1000;

	if (ids_new(&end.ids, &limits) || xds_store_new(&store) || xds_scope_new(store, "fuzz", NULL, 0, &callbacks, &end, &scope))
		abort();
	if (xds_scope_opened(scope, now_ms))
		abort();
	while (size >= 4) {
		size_t part = (size_t)data[0] << 24 | (size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3], before = end.sent;
		const struct xds_push *push = xds_scope_last_push(scope);
		uint64_t number = push->number;

		data += 4;
		size -= 4;
		part = part > size ? size : part;
		if (!xds_scope_response(scope, data, part, now_ms) && push->number > number && push->is_answered)
			weft_assert(end.sent > before);
		data += part;
		size -= part;
		now_ms += 700;
		(void)xds_scope_tick(scope, now_ms);
	}
	xds_scope_free(&scope);
	xds_store_free(&store);
	ids_free(&end.ids);
	return 0;
}
