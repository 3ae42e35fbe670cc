/* SPDX-License-Identifier: Apache-2.0 */
/* What would become of a request: asked of the same images with the same functions that kernel and proxy use. */
#ifndef WEFT_ADMIN_EXPLAIN_H
#define WEFT_ADMIN_EXPLAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "weft/abi.h"
#include "weft/lookup.h"

struct explain_world {
	struct weft_image_handle routes, endpoints;
	enum weft_fast_path fast_path;
	uint32_t redirect_limit_bytes;
	bool has_sockmap, has_sk_skb, has_push_pop;
	uint32_t pod_ip4_be;     /* the asking pod; 0: any */
	/* An enrolled pod of this node has the address. */
	bool (*is_served_pod)(const void *arg, uint32_t ip4_be);
	const void *arg;
};

/* The request: {"method": "GET", "url": "http://reviews/x", "headers": ["name: value", ...]}. The answer has, as far as the request gets:
 * request, listener, virtual_host, route, clusters, direct_response, status, path, reason, why; or "error". */
json_t *explain_request(const struct explain_world *world, const json_t *request);

#endif
