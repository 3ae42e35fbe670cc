/* SPDX-License-Identifier: Apache-2.0 */
#define WEFT_KERNEL_LIMITS

#include "admin/explain_kernel.h"

#include "weft/hash.h"
#include "weft/router.h"

enum weft_reason explain_kernel_route(const struct explain_kernel_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	const struct weft_route_query asked = {
		.image = *query->routes,
		.route_table = query->route_table,
		.target = query->target,
		.target_len = query->target_len,
		.path_len = query->path_len,
	};
	struct weft_route_result result = {};

	return weft_route(&asked, bytes, head, &result) == WEFT_ROUTE_PROXY ? (enum weft_reason)result.reason : WEFT_REASON_NONE;
}

bool explain_kernel_hashes(const struct weft_image_handle *routes, weft_ref policies, const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	const struct weft_hash_query query = { .image = *routes, .policies = policies };
	u64 hash;

	return weft_hash_request(&query, bytes, head, &hash) >= 0;
}
