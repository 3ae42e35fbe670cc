/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What metrics by workload are made of: counts of exchanges and connections by who talks to whom, and how it ended. They only ever grow (each of 32 bits modulo 2^32):
 * whoever reads remembers what it read, and nobody has to agree about resetting them. */
#ifndef WEFT_TRAFFIC_H
#define WEFT_TRAFFIC_H

#include "weft/base.h"

/* Upper bounds of Istio's buckets. Sizes begin with the fifth: no message of HTTP is smaller. */
#define WEFT_TRAFFIC_BOUNDS 19u
#define WEFT_DURATION_BUCKETS (WEFT_TRAFFIC_BOUNDS + 1u)
#define WEFT_SIZE_FIRST 4u
#define WEFT_SIZE_BUCKETS 16u

/* How an exchange ended, as Envoy's response_flags say it. */
enum weft_flag {
	WEFT_FLAG_NONE = 0,
	WEFT_FLAG_NO_ROUTE,          /* NR */
	WEFT_FLAG_NO_CLUSTER,        /* NC */
	WEFT_FLAG_NO_HEALTHY,        /* UH */
	WEFT_FLAG_CONNECT_FAILURE,   /* UF */
	WEFT_FLAG_UPSTREAM_CLOSED,   /* UC */
	WEFT_FLAG_UPSTREAM_PROTOCOL, /* UPE */
	WEFT_FLAG_OVERFLOW,          /* UO */
	WEFT_FLAG_TIMEOUT,           /* UT */
	WEFT_FLAG_RETRY_LIMIT,       /* URX */
	WEFT_FLAG_FAULT,             /* FI */
	WEFT_FLAG_BAD_REQUEST,       /* DPE */
	WEFT_FLAG_CLIENT_GONE,       /* DC */
	WEFT_FLAG_TCP,               /* no exchange at all: a connection of bytes */
	WEFT_FLAG_COUNT,
};

struct weft_traffic_key {
	u32 pod_id;      /* of the client */
	u32 endpoint_id; /* 0: none was chosen */
	u32 cluster_id;  /* 0: likewise */
	u16 status;      /* 0: there was no response */
	u16 flag;        /* enum weft_flag */
};

struct weft_traffic { /* 256 bytes */
	struct weft_traffic_key key; /* array `slot_traffic` alone: whose exchanges are counted here; written by the worker */
	u64 duration_ns;             /* sums */
	u64 request_bytes;
	u64 response_bytes;
	u32 opened, closed;          /* connections: WEFT_FLAG_TCP */
	u32 durations[WEFT_DURATION_BUCKETS]; /* their sum is the number of exchanges */
	u32 requests[WEFT_SIZE_BUCKETS];
	u32 responses[WEFT_SIZE_BUCKETS];
};
_Static_assert(sizeof(struct weft_traffic) == 256, "four cache lines");

#ifndef __bpf__
/* What was added to one of them, or by a thread of the proxy: that of the smallest sizes too. */
struct weft_traffic_sums {
	u64 duration_ns, request_bytes, response_bytes;
	u64 opened, closed;
	u64 durations[WEFT_DURATION_BUCKETS];
	u64 requests[WEFT_DURATION_BUCKETS]; /* the same bounds */
	u64 responses[WEFT_DURATION_BUCKETS];
};
#endif

WEFT_STAGE u32 weft_duration_bucket(u64 ns)
{
	/* most are: the first two lines are all that runs */
	if (ns <= 500000)
		return 0;
	if (ns <= 1000000)
		return 1;
	if (ns <= 100000000ull)
		return ns <= 5000000 ? 2 : ns <= 10000000 ? 3 : ns <= 25000000 ? 4 : ns <= 50000000 ? 5 : 6;
	if (ns <= 10000000000ull)
		return ns <= 250000000 ? 7 : ns <= 500000000 ? 8 : ns <= 1000000000 ? 9 : ns <= 2500000000ull ? 10 : ns <= 5000000000ull ? 11 : 12;
	if (ns <= 600000000000ull)
		return ns <= 30000000000ull ? 13 : ns <= 60000000000ull ? 14 : ns <= 300000000000ull ? 15 : 16;
	return ns <= 1800000000000ull ? 17 : ns <= 3600000000000ull ? 18 : 19;
}

WEFT_STAGE u32 weft_size_bucket(u64 bytes)
{
	if (bytes <= 250)
		return bytes <= 25 ? 0 : bytes <= 50 ? 1 : bytes <= 100 ? 2 : 3;
	if (bytes <= 5000)
		return bytes <= 500 ? 4 : bytes <= 1000 ? 5 : bytes <= 2500 ? 6 : 7;
	if (bytes <= 300000)
		return bytes <= 10000 ? 8 : bytes <= 30000 ? 9 : bytes <= 60000 ? 10 : 11;
	return bytes <= 600000 ? 12 : bytes <= 1800000 ? 13 : bytes <= 3600000 ? 14 : 15;
}

#endif
