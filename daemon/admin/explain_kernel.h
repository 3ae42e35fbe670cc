/* SPDX-License-Identifier: Apache-2.0 */
/* The engine once more, with the limits that it has in the kernel: a value, a host or a list there may be longer than the programs follow. */
#ifndef WEFT_ADMIN_EXPLAIN_KERNEL_H
#define WEFT_ADMIN_EXPLAIN_KERNEL_H

#include <stdbool.h>

#include "weft/head.h"
#include "weft/image.h"
#include "weft/reason.h"

struct explain_kernel_query {
	const struct weft_image_handle *routes;
	weft_ref route_table;
	const uint8_t *target; /* normalised */
	uint32_t target_len, path_len;
};

/* Of a head for which weft_head_reason() has none: NONE, or why the look-up of its route ends in the kernel. */
enum weft_reason explain_kernel_route(const struct explain_kernel_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head);
/* Does the kernel work out what these policies make of such a head? */
bool explain_kernel_hashes(const struct weft_image_handle *routes, weft_ref policies, const struct weft_head_bytes *bytes, const struct weft_head *head);

#endif
