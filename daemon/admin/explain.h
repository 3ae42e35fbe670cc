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
	struct weft_address pod_addresses[WEFT_FAMILIES]; /* the asking pod's; all 0: any */
	const struct weft_exceptions *exceptions; /* the asking pod's; NULL: none */
	/* An enrolled pod of this node has the address. */
	bool (*is_served_pod)(const void *arg, const struct weft_address *address);
	const void *arg;
};

/* The request: {"method": "GET", "url": "http://reviews/x", "headers": ["name: value", ...]}. The answer has, as far as the request gets:
 * request, listener, virtual_host, route, clusters, direct_response, status, path, reason, why; or "error". */
json_t *explain_request(const struct explain_world *world, const json_t *request);

#endif
