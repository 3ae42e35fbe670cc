// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The engine in the kernel, driven by engine_test.c: each program does one thing to what stands in `io`. */
#include "weft/base.h"
#include "engine_io.h"
#include "weft/canonical.h"
#include "weft/hash.h"
#include "weft/chunked.h"
#include "weft/http1.h"
#include "weft/lookup.h"
#include "weft/router.h"

struct engine_io io;
struct weft_change change;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENGINE_STATES);
	__type(key, u32);
	__type(value, struct weft_cluster_state);
} clusters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ENGINE_STATES);
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

#define BYTES ((struct weft_head_bytes *)io.bytes)
#define HEAD ((struct weft_head *)&io.head)

SEC("tc")
int engine_nothing(struct __sk_buff *skb)
{
	io.result = io.len;
	return 0;
}

SEC("tc")
int engine_parse_request(struct __sk_buff *skb)
{
	io.result = weft_parse_request(BYTES, io.len, HEAD);
	return 0;
}

SEC("tc")
int engine_canonical(struct __sk_buff *skb)
{
	io.result = weft_canonical_read(&change, BYTES, HEAD);
	return 0;
}

SEC("tc")
int engine_parse_response(struct __sk_buff *skb)
{
	io.result = weft_parse_response(BYTES, io.len, io.request_method, HEAD);
	return 0;
}

SEC("tc")
int engine_route(struct __sk_buff *skb)
{
	struct weft_route_query query = {.image = {io.slot}, .route_table = io.route_table, .random = io.random};

	io.result = weft_route(&query, BYTES, HEAD, &io.route);
	return 0;
}

SEC("tc")
int engine_chunked(struct __sk_buff *skb)
{
	io.result = weft_chunked_whole(BYTES, io.offset, io.len);
	return 0;
}

SEC("tc")
int engine_find_listener(struct __sk_buff *skb)
{
	struct weft_image_handle image = {io.slot};
	struct weft_address address = io.address;

	io.result = weft_find_listener(&image, &address, io.port_be, &io.listener);
	return 0;
}

SEC("tc")
int engine_is_excepted(struct __sk_buff *skb)
{
	struct weft_address address = io.address;

	io.result = weft_is_excepted(&io.exceptions, &address, io.port_be);
	return 0;
}

SEC("tc")
int engine_pick_endpoint(struct __sk_buff *skb)
{
	struct weft_balance_query query = {
		.image = {io.slot},
		.cluster_id = io.cluster_id,
		.random = io.random,
		.attempt = io.attempt,
		.hash_state = io.hash_state,
		.hash = io.hash,
	};

	io.result = weft_pick_endpoint(&query, &io.endpoint);
	return 0;
}

SEC("tc")
int engine_hash_request(struct __sk_buff *skb)
{
	struct weft_hash_query query = {.image = {io.slot}, .policies = io.hash_policies, .source_hash = io.source_hash};

	io.result = weft_hash_request(&query, BYTES, HEAD, &io.hash);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
