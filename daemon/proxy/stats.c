/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of all threads, added up. */
#include "proxy/internal.h"

_Static_assert(sizeof(struct proxy_stats) % sizeof(u64) == 0, "nothing but u64 in it");

void proxy_stats(struct proxy *proxy, struct proxy_stats *out)
{
	u64 *sums = (u64 *)out;

	memset(out, 0, sizeof(*out));
	for (u32 i = 0; i < proxy->thread_count; i++) {
		const u64 *counters = (const u64 *)&proxy->threads[i].stats;

		for (size_t k = 0; k < sizeof(*out) / sizeof(u64); k++)
			sums[k] += __atomic_load_n(&counters[k], __ATOMIC_RELAXED);
	}
}

const char *proxy_reason_name(enum proxy_reason reason)
{
	static const char *const names[PROXY_REASON_COUNT] = {
		[PROXY_REASON_BAD_REQUEST] = "bad_request",
		[PROXY_REASON_HEAD_TOO_LARGE] = "head_too_large",
		[PROXY_REASON_VERSION] = "version",
		[PROXY_REASON_CODING] = "coding",
		[PROXY_REASON_PREFACE] = "http2_preface",
		[PROXY_REASON_NOT_HTTP] = "not_http",
		[PROXY_REASON_UPGRADE] = "upgrade_refused",
		[PROXY_REASON_NO_IMAGE] = "no_image",
		[PROXY_REASON_NO_LISTENER] = "no_listener",
		[PROXY_REASON_NO_FILTER_CHAIN] = "no_filter_chain",
		[PROXY_REASON_LISTENER_REFUSED] = "listener_refused",
		[PROXY_REASON_ROUTE_NOT_FOUND] = "route_not_found",
		[PROXY_REASON_ROUTE_REFUSED] = "route_refused",
		[PROXY_REASON_DIRECT_RESPONSE] = "direct_response",
		[PROXY_REASON_NO_CLUSTER] = "no_cluster",
		[PROXY_REASON_CLUSTER_REFUSED] = "cluster_refused",
		[PROXY_REASON_OVERFLOW] = "overflow",
		[PROXY_REASON_NO_HEALTHY_UPSTREAM] = "no_healthy_upstream",
		[PROXY_REASON_CONNECT_FAILURE] = "connect_failure",
		[PROXY_REASON_CONNECT_TIMEOUT] = "connect_timeout",
		[PROXY_REASON_UPSTREAM_CLOSED] = "upstream_closed",
		[PROXY_REASON_UPSTREAM_PROTOCOL] = "upstream_protocol",
		[PROXY_REASON_TIMEOUT] = "timeout",
		[PROXY_REASON_CUT_IN_BODY] = "cut_in_body",
		[PROXY_REASON_BLOCKED] = "blocked",
		[PROXY_REASON_BAD_BODY] = "bad_body",
		[PROXY_REASON_CLIENT_GONE] = "client_gone",
		[PROXY_REASON_NO_MEMORY] = "no_memory",
		[PROXY_REASON_ADOPTED_ERROR] = "adopted_error",
		[PROXY_REASON_KERNEL_ERROR] = "kernel_error",
		[PROXY_REASON_REDIRECT] = "redirect",
		[PROXY_REASON_PATTERN] = "pattern",
		[PROXY_REASON_FAULT] = "fault",
		[PROXY_REASON_PREFLIGHT] = "preflight",
		[PROXY_REASON_FLOOD] = "flood",
	};

	return reason < PROXY_REASON_COUNT ? names[reason] : "unknown";
}
