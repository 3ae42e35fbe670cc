/* SPDX-License-Identifier: Apache-2.0 */
/* A request, behind its size (2 bytes, the higher first), and a RouteConfiguration as istiod would send it: the compiler takes or refuses what the
 * mesh took, its image is whole, and the engine finds its way through it with any bytes. The corpus is the configurations and requests of the conformance test. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "compile/compile.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

#define TYPE "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
#define TARGET_ROOM (128u << 10)

static const char listener[] =
	"resources:\n"
	"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: l, address: {socket_address: {address: 0.0.0.0, port_value: 80}},\n"
	"   filter_chains: [{filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,\n"
	"   stat_prefix: x, normalize_path: true, rds: {route_config_name: \"80\", config_source: {ads: {}, resource_api_version: V3}},\n"
	"   http_filters: [{name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void route(const uint8_t *base, uint32_t size, const uint8_t *request, size_t len, uint32_t random)
{
	static u8 bytes[WEFT_PROXY_HEAD_MAX + 64], target[TARGET_ROOM];
	struct weft_image_handle image = {.base = base, .size = size};
	struct weft_route_query query = {.image = image, .random = random};
	struct weft_route_result result;
	static struct weft_head head;
	const struct weft_listener *found;
	struct weft_cursor cursor = {0};
	weft_ref ref = 0;

	if (len > WEFT_PROXY_HEAD_MAX)
		len = WEFT_PROXY_HEAD_MAX;
	memset(bytes, 0, sizeof(bytes));
	memcpy(bytes, request, len);
	if (weft_parse_request((const struct weft_head_bytes *)bytes, (u32)len, &head) != WEFT_PARSE_DONE)
		return;
	if (weft_find_listener(&image, &WEFT_IP4(0x0100000a), htons(80), &ref) || !ref)
		return;
	found = WEFT_OBJECT(weft_listener, &image, &cursor, ref);
	if (!found || found->kind != WEFT_LISTENER_HTTP)
		return;
	query.route_table = found->route_table;
	query.target = bytes + head.path.off;
	query.target_len = (u32)head.target.off + head.target.len - head.path.off;
	query.path_len = head.path.len;
	if (!query.target_len || *query.target != '/')
		return;
	if (weft_target_changes(head.flags, found->flags)) {
		if (WEFT_PATH_ROOM(query.target_len) > TARGET_ROOM ||
		    weft_path_normalize(query.target, query.target_len, found->flags, target, TARGET_ROOM, &query.target_len, &query.path_len))
			return;
		query.target = target;
	}
	switch (weft_route(&query, (const struct weft_head_bytes *)bytes, &head, &result)) {
	case WEFT_ROUTE_CLUSTER:
	case WEFT_ROUTE_DIRECT:
	case WEFT_ROUTE_NOT_FOUND:
	case WEFT_ROUTE_PROXY:
	case WEFT_ROUTE_REFUSED:
	case WEFT_ROUTE_REDIRECT:
		return;
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mesh_report report = MESH_REPORT_INIT;
	struct image *routes = NULL, *again = NULL;
	struct mesh *mesh = NULL;
	struct ids *ids = NULL;
	size_t len;

	if (size < 2)
		return 0;
	len = (size_t)data[0] << 8 | data[1];
	data += 2;
	size -= 2;
	len = len > size ? size : len;
	if (mesh_load_text("fuzz", listener, sizeof(listener) - 1, &mesh, &report) || ids_new(&ids, NULL))
		abort();
	(void)mesh_add_resource(mesh, TYPE, data + len, size - len, &report);
	if (!compile_routes(mesh, ids, &routes, NULL)) {
		weft_assert(!image_check(routes->base, routes->size_bytes));
		/* Equal meshes give equal bytes. */
		weft_assert(!compile_routes(mesh, ids, &again, NULL));
		weft_assert(again->size_bytes == routes->size_bytes && !memcmp(again->base, routes->base, routes->size_bytes));
		for (uint32_t random = 0; random < 3; random++)
			route(routes->base, routes->size_bytes, data, len, random * 0x55555555u);
	}
	image_free(&routes);
	image_free(&again);
	mesh_free(&mesh);
	mesh_report_release(&report);
	ids_free(&ids);
	return 0;
}
