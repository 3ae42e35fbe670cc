// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The engine on requests that are taken in turn: parsed alone, parsed and routed, and all the way to an endpoint, as bpf/request.h does it. */
#include "weft/base.h"
#include "bench_io.h"
#include "weft/balance.h"
#include "weft/fast.h"
#include "weft/http1.h"
#include "weft/router.h"

struct bench_io io;
struct weft_head head;
/* Not on the stack: the balancer needs what is left of that. */
struct weft_route_query query;
struct weft_endpoint endpoint;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_STATES);
	__type(key, u32);
	__type(value, struct weft_cluster_state);
} clusters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BENCH_STATES);
	__type(key, u32);
	__type(value, struct weft_endpoint_state);
} endpoints SEC(".maps");

WEFT_INLINE struct weft_cluster_state *weft_cluster_state(u32 cluster_id)
{
	return bpf_map_lookup_elem(&clusters, &cluster_id);
}

WEFT_INLINE struct weft_endpoint_state *weft_endpoint_state(u32 endpoint_id)
{
	return bpf_map_lookup_elem(&endpoints, &endpoint_id);
}

static __always_inline u32 turn_next(void)
{
	return io.turn++ & (BENCH_REQUESTS - 1);
}

#define BYTES(turn) ((struct weft_head_bytes *)io.requests[turn].data)

SEC("tc")
int bench_nothing(struct __sk_buff *skb)
{
	io.decided += io.lengths[turn_next()] != 0;
	return 0;
}

SEC("tc")
int bench_parse(struct __sk_buff *skb)
{
	u32 turn = turn_next();

	io.decided += weft_parse_request(BYTES(turn), io.lengths[turn], &head) == WEFT_PARSE_DONE;
	return 0;
}

static __always_inline int route(u32 turn, struct weft_route_result *result)
{
	query.image.slot = io.routes_slot;
	query.route_table = io.route_table;
	if (weft_parse_request(BYTES(turn), io.lengths[turn], &head) != WEFT_PARSE_DONE)
		return WEFT_ROUTE_PROXY;
	if (weft_head_reason(&head, WEFT_LISTENER_NORMALIZE_PATH))
		return WEFT_ROUTE_PROXY;
	query.random = bpf_get_prandom_u32();
	return weft_route(&query, BYTES(turn), &head, result);
}

SEC("tc")
int bench_route(struct __sk_buff *skb)
{
	struct weft_route_result result = {};

	io.decided += route(turn_next(), &result) == WEFT_ROUTE_CLUSTER;
	io.route_ids += result.route_id;
	return 0;
}

SEC("tc")
int bench_whole(struct __sk_buff *skb)
{
	struct weft_balance_query balance = {.image = {io.endpoints_slot}};
	struct weft_route_result result = {};

	if (route(turn_next(), &result) != WEFT_ROUTE_CLUSTER)
		return 0;
	balance.cluster_id = result.cluster_id;
	balance.random = weft_hash_finish(query.random);
	if (weft_pick_endpoint(&balance, &endpoint))
		return 0;
	io.decided++;
	io.route_ids += result.route_id;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
