/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Counts what is over by who talked to whom. One program at a time holds a slot, so the slot's own record takes what is usual there, by plain additions; the
 * rest is shared by all CPUs. */
#ifndef WEFT_BPF_TRAFFIC_H
#define WEFT_BPF_TRAFFIC_H

#include "kernel.h"
#include "maps.h"

static const struct weft_traffic no_traffic = {};

/* The buckets are what the functions say; the masks tell the verifier that they lie in the record. */
#define DURATION_MASK 31u
#define SIZE_MASK (WEFT_SIZE_BUCKETS - 1u)

/* Where there is no room for another kind: the one without anything in it but that it is a connection. */
static __always_inline struct weft_traffic *traffic_find(const struct weft_traffic_key *of)
{
	struct weft_traffic_key key = *of; /* 6.1 takes keys from the own stack only */
	struct weft_traffic *record = bpf_map_lookup_elem(&traffic, &key);

	if (record)
		return record;
	bpf_map_update_elem(&traffic, &key, &no_traffic, BPF_NOEXIST);
	record = bpf_map_lookup_elem(&traffic, &key);
	if (record)
		return record;
	key.pod_id = key.endpoint_id = key.cluster_id = 0;
	key.status = 0;
	key.flag = key.flag == WEFT_FLAG_TCP ? WEFT_FLAG_TCP : WEFT_FLAG_NONE;
	return bpf_map_lookup_elem(&traffic, &key);
}

/* Any CPU, any context. */
WEFT_STAGE int traffic_add(const struct weft_traffic_key *key, u64 duration_ns, u64 request_bytes, u64 response_bytes)
{
	u32 duration = weft_duration_bucket(duration_ns), request = weft_size_bucket(request_bytes), response = weft_size_bucket(response_bytes);
	struct weft_traffic *record;

	if (!key)
		return 0;
	record = traffic_find(key);
	if (!record)
		return 0;
	__sync_fetch_and_add(&record->duration_ns, duration_ns);
	__sync_fetch_and_add(&record->request_bytes, request_bytes);
	__sync_fetch_and_add(&record->response_bytes, response_bytes);
	__sync_fetch_and_add(&record->durations[BOUNDED(duration, DURATION_MASK)], 1);
	__sync_fetch_and_add(&record->requests[BOUNDED(request, SIZE_MASK)], 1);
	__sync_fetch_and_add(&record->responses[BOUNDED(response, SIZE_MASK)], 1);
	return 0;
}

/* An exchange whose slot is held by this program, and is given back after this. `end_ns` 0: now. */
WEFT_STAGE int traffic_exchange(const struct weft_upstream *upstream, u32 slot, u64 end_ns)
{
	u64 duration_ns, request_bytes, response_bytes;
	struct weft_traffic_key key = {};
	struct weft_traffic *record;
	u32 duration, request, response;

	if (!upstream)
		return 0;
	key.pod_id = upstream->pod_id;
	key.endpoint_id = upstream->endpoint_id;
	key.cluster_id = upstream->cluster_id;
	key.status = upstream->status;
	duration_ns = (end_ns ?: bpf_ktime_get_ns()) - upstream->start_ns;
	request_bytes = upstream->request_total - (s64)(s32)upstream->head_growth; /* a head may have become shorter */
	response_bytes = upstream->response_bytes;
	record = bpf_map_lookup_elem(&slot_traffic, &slot);
	if (!record || record->key.pod_id != key.pod_id || record->key.endpoint_id != key.endpoint_id ||
	    record->key.cluster_id != key.cluster_id || record->key.status != key.status)
		return traffic_add(&key, duration_ns, request_bytes, response_bytes);
	duration = weft_duration_bucket(duration_ns);
	request = weft_size_bucket(request_bytes);
	response = weft_size_bucket(response_bytes);
	record->duration_ns += duration_ns;
	record->request_bytes += request_bytes;
	record->response_bytes += response_bytes;
	record->durations[BOUNDED(duration, DURATION_MASK)]++;
	record->requests[BOUNDED(request, SIZE_MASK)]++;
	record->responses[BOUNDED(response, SIZE_MASK)]++;
	return 0;
}

#endif
