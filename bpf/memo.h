/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The last head that a socket sent, and what it led to. Clients that keep a connection often say the same thing again (probes, scrapes, polls,
 * calls that differ in their body alone), and servers answer it with the same head for as long as the second of its Date lasts. The same bytes
 * mean the same, and under the same generation of routes they have the same route: no parsing, no matching, only a comparison of them all.
 * What chance or a hash decides is not remembered, nor a head that its route changes: that is done line by line. */
#ifndef WEFT_BPF_MEMO_H
#define WEFT_BPF_MEMO_H

#include "scratch.h"
#include "weft/abi.h"
#include "weft/lookup.h"
#include "weft/router.h"

#define MEMO_WORDS 64u
#define MEMO_HEAD_MAX (8u * MEMO_WORDS)
/* A client that was so often in a row not repeating itself is believed, but for every so many requests. */
#define MEMO_MISSES_MAX 8u
#define MEMO_AGAIN 64u

struct memo {
	u32 head_len;        /* 0: nothing is remembered */
	u32 misses;          /* in a row */
	u32 flags;
	u16 status;          /* response */
	u8 method;           /* also of the request that a response answers: its framing depends on it */
	u8 zero;
	u64 content_length;
	struct weft_span connection;
	u32 zero_too;
	u64 route_generation; /* request */
	u32 route_slot;      /* request; the worker writes slot and generation one after the other: both must be those */
	struct weft_route_result route; /* request */
	u64 words[MEMO_WORDS];
};

/* Of clients and local servers: lives and dies with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct memo);
} memos SEC(".maps");

/* Of upstreams, by slot, for programs that have no storage with sockets (sk_skb). What is remembered of a response is a matter of its bytes and of its
 * request's method alone, so a slot's next upstream may find what the one before it left. Slots beyond these are not remembered. */
#define UPSTREAM_MEMOS 4096
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, UPSTREAM_MEMOS);
	__type(key, u32);
	__type(value, struct memo);
} upstream_memos SEC(".maps");

/* Does the message, of which `copied` bytes are in scratch->bytes, begin with the head that is remembered? Then scratch->head is what it was,
 * but for its fields. */
WEFT_STAGE int memo_recall(struct memo *memo, struct scratch *scratch, u32 copied)
{
	u32 len, whole, i;

	if (!memo || !scratch)
		return 0;
	len = memo->head_len;
	whole = len / 8;
	if (!len || len > copied)
		goto missed;
	for (i = 0; i < MEMO_WORDS; i++) {
		if (i >= whole)
			break;
		if (weft_load8(scratch->bytes.data + 8 * i) != memo->words[i])
			goto missed;
	}
	i = whole & (MEMO_WORDS - 1); /* a head of MEMO_WORDS words ends with the last of them */
	if ((weft_load8(scratch->bytes.data + 8 * i) ^ memo->words[i]) & weft_bytes_of(len))
		goto missed;
	if (memo->misses)
		memo->misses = 0;
	scratch->head.head_len = scratch->sent_head_len = len;
	scratch->head.flags = memo->flags;
	scratch->head.content_length = memo->content_length;
	scratch->head.connection = memo->connection;
	scratch->head.status = memo->status;
	scratch->head.method = memo->method;
	return 1;
missed:
	memo->misses++;
	return 0;
}

/* The route too, if the head is still routed by the image that it was routed by. */
static __always_inline bool memo_recall_route(struct memo *memo, struct scratch *scratch, u32 copied)
{
	if (memo->route_generation != scratch->route_generation || memo->route_slot != scratch->route_query.image.slot ||
	    !memo_recall(memo, scratch, copied))
		return false;
	scratch->route = memo->route;
	return true;
}

/* `count`: messages before this one. One that says one thing and closes need not be remembered. */
static __always_inline bool memo_is_worth_it(const struct memo *memo, u64 count)
{
	if (!memo)
		return count;
	return memo->misses < MEMO_MISSES_MAX || memo->misses % MEMO_AGAIN == 0;
}

/* Is the route the head's alone? */
WEFT_STAGE int memo_is_certain(struct scratch *scratch)
{
	const struct weft_virtual_host *host;
	const struct weft_choice *choice;
	const struct weft_route *route;
	struct weft_cursor cursor = {};

	if (!scratch || scratch->head.head_len > MEMO_HEAD_MAX || scratch->route.hash_policies || scratch->route.changes ||
	    scratch->is_rewritten)
		return 0;
	host = WEFT_OBJECT(weft_virtual_host, &scratch->route_query.image, &cursor, scratch->route.virtual_host);
	if (!host || host->flags & WEFT_VIRTUAL_HOST_HAS_FRACTIONS)
		return 0;
	route = WEFT_OBJECT(weft_route, &scratch->route_query.image, &cursor, scratch->route.route);
	choice = route ? WEFT_OBJECT(weft_choice, &scratch->route_query.image, &cursor, route->choice) : NULL;
	return choice && choice->count == 1;
}

WEFT_STAGE int memo_keep(struct memo *memo, const struct scratch *scratch)
{
	u32 i;

	if (!memo || !scratch)
		return 0;
	memo->head_len = scratch->head.head_len;
	memo->flags = scratch->head.flags;
	memo->content_length = scratch->head.content_length;
	memo->connection = scratch->head.connection;
	memo->status = scratch->head.status;
	memo->method = scratch->head.method;
	memo->route_generation = scratch->route_generation;
	memo->route_slot = scratch->route_query.image.slot;
	memo->route = scratch->route;
	for (i = 0; i < MEMO_WORDS; i++) {
		if (8 * i >= memo->head_len)
			break;
		memo->words[i] = weft_load8(scratch->bytes.data + 8 * i);
	}
	return 0;
}

#endif
