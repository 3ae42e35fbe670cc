/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Every map of the datapath. What lives in them: weft/abi.h. All are pinned by name. */
#ifndef WEFT_BPF_MAPS_H
#define WEFT_BPF_MAPS_H

#include "weft/abi.h"
#include "weft/reason.h"
#include "images.h"

#define PINNED __uint(pinning, LIBBPF_PIN_BY_NAME)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_control);
	PINNED;
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_SCOPES_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_scope_state);
	PINNED;
} scopes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX);
	__type(key, u64);
	__type(value, struct weft_pod);
	PINNED;
} pods SEC(".maps");

/* Twice as many as pods: one that went may still have open connections. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * WEFT_PODS_MAX);
	__type(key, u32);
	__type(value, struct weft_pod_usage);
	PINNED;
} pod_usage SEC(".maps");

/* Of pods that have any. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_PODS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct weft_exceptions);
	PINNED;
} exceptions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct weft_socket);
	PINNED;
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_CONNECTIONS_MAX);
	__type(key, u64);
	__type(value, struct weft_connection);
	PINNED;
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_CONNECTIONS_MAX);
	__type(key, struct weft_port_key);
	__type(value, u64);
	PINNED;
} connection_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__type(key, struct weft_tuple);
	__type(value, struct weft_dialled);
	PINNED;
} dialled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__type(key, u64);
	__type(value, u32);
	PINNED;
} upstream_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_upstream);
	PINNED;
} upstreams SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_POOLS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_pool);
	PINNED;
} pools SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_POOLS_MAX);
	__type(key, struct weft_pool_key);
	__type(value, u32);
	PINNED;
} pool_index SEC(".maps");

/* When the worker was told that there is no pool of this pod to this endpoint. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEFT_POOLS_MAX);
	__type(key, struct weft_pool_key);
	__type(value, u64);
	PINNED;
} pools_missed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_CLUSTERS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_cluster_state);
	PINNED;
} cluster_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_ENDPOINTS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_endpoint_state);
	PINNED;
} endpoint_state SEC(".maps");

/* By slot: how the head of the response is to be changed; of upstreams whose record says so. Written by the request program. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct weft_response_changes);
	PINNED;
} response_changes SEC(".maps");

/* Sockets that programs redirect to, by cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WEFT_CONNECTIONS_MAX);
	__type(key, u64);
	__type(value, u64);
	PINNED;
} client_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__type(key, u64);
	__type(value, u64);
	PINNED;
} upstream_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__type(key, u64);
	__type(value, u64);
	PINNED;
} server_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEFT_EVENTS_BYTES);
	PINNED;
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEFT_COUNTERS);
	__type(key, u32);
	__type(value, u64);
	PINNED;
} counters SEC(".maps");

/* What is over: see weft/traffic.h. By slot what is usual there, and all else. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEFT_UPSTREAMS_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct weft_traffic);
	PINNED;
} slot_traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEFT_TRAFFIC_MAX);
	__type(key, struct weft_traffic_key);
	__type(value, struct weft_traffic);
	PINNED;
} traffic SEC(".maps");

/* The real programs, behind the attached stubs: one array a program type (and attach type). */
#define PROGRAMS(name)                                \
	struct {                                      \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY); \
		__uint(max_entries, 4);               \
		__type(key, u32);                     \
		__type(value, u32);                   \
		PINNED;                               \
	} name SEC(".maps")
PROGRAMS(msg_programs);
PROGRAMS(skb_programs);
PROGRAMS(sockops_programs);
PROGRAMS(connect4_programs);
PROGRAMS(getpeername4_programs);
PROGRAMS(getsockname4_programs);
PROGRAMS(connect6_programs);
PROGRAMS(getpeername6_programs);
PROGRAMS(getsockname6_programs);
PROGRAMS(release_programs);

enum { MSG_REQUEST = 0, MSG_REPLY = 1 };
enum { SKB_RESPONSE = 0 };

static __always_inline void count(u32 index, u64 n)
{
	u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		*value += n; /* per-CPU; a preempted update may lose one count, never more */
}

static __always_inline struct weft_control *control_get(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

static __always_inline void event_send(u32 kind, u32 slot, u64 cookie, u32 pod_id, u32 endpoint_id)
{
	struct weft_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		count(WEFT_COUNTER_EVENTS_LOST, 1);
		return;
	}
	event->kind = kind;
	event->slot = slot;
	event->cookie = cookie;
	event->pod_id = pod_id;
	event->endpoint_id = endpoint_id;
	bpf_ringbuf_submit(event, 0);
}

#endif
