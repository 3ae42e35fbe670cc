/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which route a request takes: virtual host by host, candidates by path, conditions, then a cluster by weight. */
#ifndef WEFT_ROUTER_H
#define WEFT_ROUTER_H

#include "weft/base.h"
#include "weft/conditions.h"
#include "weft/dfa.h"
#include "weft/head.h"
#include "weft/hosts.h"
#include "weft/image.h"
#include "weft/lookup.h"
#include "weft/reason.h"

enum weft_route_kind {
	WEFT_ROUTE_CLUSTER = 1,
	WEFT_ROUTE_DIRECT = 2,
	WEFT_ROUTE_NOT_FOUND = 3, /* 404 */
	WEFT_ROUTE_PROXY = 4,     /* the kernel hands up, `reason` says why. Never on the host, but for a broken image */
	WEFT_ROUTE_REFUSED = 5,   /* 503: weft can't do this route as Envoy would */
	WEFT_ROUTE_REDIRECT = 6,  /* as `location` says; on the host as the route's extras do, without a route: to https */
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
	weft_ref hash_policies; /* CLUSTER: of the route; 0: none */
	u32 choice_item; /* CLUSTER: which of the route's choice */
	weft_ref changes; /* CLUSTER: what the kernel changes in the head; 0: nothing */
	weft_ref response_changes; /* likewise, in the head of the response */
	weft_ref location; /* REDIRECT in the kernel: the route's, or to https */
};

/* Always fills `result` and returns its kind. In BPF a head for which weft_head_reason has a reason is the caller's to
 * hand up before; weft_route doesn't look. On the host there are no kernel limits: routes whose action is PROXY give
 * the CLUSTER or DIRECT that the proxy is to do. */
WEFT_STAGE int weft_route(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
			  struct weft_route_result *result);

/* ---- path automaton ------------------------------------------------------------------------------------------------------ */

/* A walk; what changes on the way stands here (see WEFT_LOOP). */
struct weft_walk {
	struct weft_image_handle image;
	weft_ref node;  /* the next; at first the root */
	u32 at;         /* offset of the path's bytes not yet walked */
	u32 rest;       /* how many */
	u32 folds;      /* over lower-cased literals */
	weft_ref found; /* list of candidates; 0: none */
	u32 is_over;    /* 0 at the end: the walk was too long, or the image is gone */
};

/* Which child the byte leads to, or -1. Paths hold ASCII only, so half of the set is enough in the kernel. */
WEFT_INLINE int weft_branch(const struct weft_trie_node *node, u8 byte)
{
	u64 low = node->branch[0], high = node->branch[1], below_low, below_high;

#ifndef __bpf__
	if (byte & 0x80)
		return -1; /* no target holds such a byte, normalised or not */
#endif
	if (byte < 64) {
		if (!(low >> byte & 1))
			return -1;
		below_low = low & ((1ull << byte) - 1);
		below_high = 0;
	} else {
		if (!(high >> (byte & 63) & 1))
			return -1;
		below_low = low;
		below_high = high & ((1ull << (byte & 63)) - 1);
	}
	/* both counts of bits in one */
	below_low -= (below_low >> 1) & 0x5555555555555555ull;
	below_high -= (below_high >> 1) & 0x5555555555555555ull;
	below_low = (below_low & 0x3333333333333333ull) + ((below_low >> 2) & 0x3333333333333333ull);
	below_high = (below_high & 0x3333333333333333ull) + ((below_high >> 2) & 0x3333333333333333ull);
	below_low += below_high;
	below_low = (below_low & 0x0f0f0f0f0f0f0f0full) + ((below_low >> 4) & 0x0f0f0f0f0f0f0f0full);
	return (below_low * WEFT_ONES) >> 56;
}

struct weft_walk_context {
	const u8 *p;
	struct weft_walk *walk;
	struct weft_cursor cursor;
};

/* Eight bytes of the path as a trie has them. */
WEFT_INLINE u64 weft_walk_word(const u8 *p, u32 at, bool folds)
{
	u64 word = weft_load8(p + WEFT_OFFSET(at));

	return folds ? weft_lower_word(word) : word;
}

/* One node. `folds` is a constant: nearly all tries compare bytes as they are. */
WEFT_INLINE long weft_walk_node(struct weft_walk_context *c, bool folds)
{
	struct weft_walk *walk = c->walk;
	const struct weft_trie_node *node;
	u32 at, label, label_len, i;
	u64 differ = 0;
	const u8 *page;
	int child;
	u8 byte;

	page = weft_seek(&walk->image, &c->cursor, walk->node);
	if (!page)
		return 1;
	node = (const struct weft_trie_node *)(page + weft_offset(walk->node, sizeof(*node)));
	label = weft_offset(walk->node, sizeof(*node)) + sizeof(*node);
	label_len = node->label_len;
	walk->is_over = 1;
	if (label_len > walk->rest)
		return 1;
	at = walk->at;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_TRIE_LABEL_MAX); i += 8) {
		if (i + 8 > label_len)
			break;
		differ |= weft_walk_word(c->p, at + i, folds) ^ weft_image_word(page, label + i);
	}
	differ |= (weft_walk_word(c->p, at + i, folds) ^ weft_image_word(page, label + i)) & weft_bytes_of(label_len);
	if (differ)
		return 1;
	at += label_len;
	walk->at = at;
	walk->rest -= label_len;
	if (node->at_prefix)
		walk->found = node->at_prefix;
	if (!walk->rest) {
		if (node->at_end)
			walk->found = node->at_end;
		return 1;
	}
	byte = c->p[WEFT_OFFSET(at)];
	if (folds)
		byte = weft_lower(byte);
	child = weft_branch(node, byte);
	if (child < 0)
		return 1;
	walk->node = weft_entry(&walk->image, &c->cursor, node->children, child);
	walk->is_over = 0;
	return !walk->node;
}

/* Several nodes a step, as lines in weft/plain_field.h. */
#define WEFT_NODES_A_STEP 4u
#define WEFT_WALK_STEPS WEFT_KERNEL_LIMIT(WEFT_TRIE_NODES_MAX / WEFT_NODES_A_STEP)

WEFT_STEP weft_walk_step(u32 index, void *context)
{
	u32 i;

	WEFT_ROLLED
	for (i = 0; i < WEFT_NODES_A_STEP; i++)
		if (weft_walk_node(context, false))
			return 1;
	return 0;
}

WEFT_STEP weft_walk_folded_step(u32 index, void *context)
{
	u32 i;

	WEFT_ROLLED
	for (i = 0; i < WEFT_NODES_A_STEP; i++)
		if (weft_walk_node(context, true))
			return 1;
	return 0;
}

/* Walks the path down the trie (image.h says how). Returns 0 with walk->found, or WEFT_EXCEEDS. */
WEFT_STAGE int weft_walk_path(struct weft_walk *walk, const struct weft_head_bytes *bytes)
{
	struct weft_walk_context context = {.walk = walk};

	if (!walk || !bytes)
		return WEFT_EXCEEDS;
	walk->found = 0;
	if (!walk->node)
		return 0;
	if (!weft_seek(&walk->image, &context.cursor, walk->node))
		return WEFT_EXCEEDS;
	context.p = bytes->data;
	walk->is_over = 0;
	if (walk->folds)
		WEFT_LOOP(WEFT_WALK_STEPS, weft_walk_folded_step, &context);
	else
		WEFT_LOOP(WEFT_WALK_STEPS, weft_walk_step, &context);
	return walk->is_over ? 0 : WEFT_EXCEEDS;
}

/* ---- candidates ------------------------------------------------------------------------------------------------------------ */

/* Lists of route indexes in order, merged as they are tried: of two tries, and of each automaton over regular expressions. What changes on
 * the way stands here (see WEFT_LOOP). */
#define WEFT_CANDIDATE_LISTS (2 + WEFT_DFA_LANES)
_Static_assert(WEFT_CANDIDATE_LISTS == 6, "weft_choose_route looks whether there is one alone");
#define WEFT_CANDIDATE_SLOTS 8u /* a power of two above, so that a masked index stays inside */

struct weft_candidates {
	weft_ref virtual_host;
	weft_ref routes;
	weft_ref regexes;    /* struct weft_dfa; 0: none */
	u32 flags;           /* of the virtual host */
	weft_ref tls_location; /* likewise */
	weft_ref lists[WEFT_CANDIDATE_SLOTS]; /* at first the lists; then where the next item of each stands */
	u16 left[WEFT_CANDIDATE_SLOTS];       /* items from there on: compile makes no list of more */
	u32 heads[WEFT_CANDIDATE_SLOTS];      /* the next item of each, or ~0 */
	weft_ref route;      /* the one to try now */
	weft_ref conditions; /* its conditions */
	u32 condition_count;
};

/* Fills the result with what the route at `ref` does. */
WEFT_INLINE int weft_route_taken(const struct weft_route_query *query, struct weft_cursor *cursor, weft_ref ref, const struct weft_route *route,
				 struct weft_route_result *result)
{
	weft_ref choice_ref;
	u32 action;

	result->route = ref;
	result->route_id = route->id;
	result->timeout_ms = route->timeout_ms;
	result->direct = route->direct;
	result->hash_policies = route->hash_policies;
	action = route->action;
	choice_ref = route->choice;
	if (action == WEFT_ACTION_REFUSED || (route->flags & WEFT_ROUTE_MATCH_UNSUPPORTED)) {
		result->reason = WEFT_REASON_ROUTE_REFUSED;
		return WEFT_ROUTE_REFUSED;
	}
	if (action == WEFT_ACTION_PROXY) {
#ifdef __bpf__
		result->reason = WEFT_REASON_ROUTE_PROXY;
		return WEFT_ROUTE_PROXY;
#else
		if (!choice_ref)
			return result->direct ? WEFT_ROUTE_DIRECT : WEFT_ROUTE_REDIRECT;
		action = WEFT_ACTION_CLUSTER;
#endif
	}
	if (action == WEFT_ACTION_DIRECT)
		return WEFT_ROUTE_DIRECT;
	if (action == WEFT_ACTION_REDIRECT) {
		result->location = route->location;
		return WEFT_ROUTE_REDIRECT;
	}

	switch (weft_choose_cluster(&query->image, cursor, choice_ref, query->random, &result->cluster_id, &result->choice_item,
				    &result->changes, &result->response_changes)) {
	case 0:
		return WEFT_ROUTE_CLUSTER;
	case -ENODATA:
		result->reason = WEFT_REASON_IMAGE_MISSING;
		return WEFT_ROUTE_PROXY;
	default:
		result->reason = WEFT_REASON_LIMIT_EXCEEDED;
		return WEFT_ROUTE_PROXY;
	}
}

WEFT_STAGE int weft_take_route(const struct weft_route_query *query, weft_ref ref, struct weft_route_result *result)
{
	const struct weft_route *route;
	struct weft_cursor cursor = {};

	if (!query || !result)
		return WEFT_ROUTE_PROXY;
	route = WEFT_OBJECT(weft_route, &query->image, &cursor, ref);
	return route ? weft_route_taken(query, &cursor, ref, route, result) : WEFT_ROUTE_PROXY;
}

/* The usual case: `list` is all that the path leads to, and its first route asks for nothing else. Returns enum weft_route_kind, or 0 where it is not so. */
WEFT_STAGE int weft_take_first(const struct weft_route_query *query, weft_ref routes, weft_ref list_ref, struct weft_route_result *result)
{
	const struct weft_route *route;
	struct weft_cursor cursor = {};
	const struct weft_list *list;
	weft_ref ref;

	if (!query || !result)
		return 0;
	list = weft_object(&query->image, &cursor, list_ref, sizeof(*list) + sizeof(u32));
	if (!list || !list->count)
		return 0;
	ref = weft_item(&query->image, &cursor, routes, list->items[0]);
	route = WEFT_OBJECT(weft_route, &query->image, &cursor, ref);
	if (!ref || !route || route->condition_count)
		return 0;
	return weft_route_taken(query, &cursor, ref, route, result);
}

/* Where the path stands that routes are chosen by, without its query. */
WEFT_INLINE const struct weft_head_bytes *weft_path_bytes(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
							   const struct weft_head *head, u32 *off, u32 *len)
{
	*off = head->path.off;
	*len = head->path.len;
#ifndef __bpf__
	if (query->target) {
		*off = 0;
		*len = query->path_len;
		return (const struct weft_head_bytes *)query->target;
	}
	if (!*len) {
		static const u8 slash[16] = "/";

		*off = 0;
		*len = 1;
		return (const struct weft_head_bytes *)slash;
	}
#endif
	return bytes;
}

/* The lists of those regular expressions that the path matches. Returns 0 or WEFT_EXCEEDS. */
WEFT_STAGE int weft_find_regexes(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				 struct weft_candidates *candidates)
{
	struct weft_cursor cursor = {};
	const struct weft_dfa *dfa;
	u32 off, len, i;
	weft_ref lists;
	u64 says;

	if (!query || !bytes || !head || !candidates)
		return WEFT_EXCEEDS;
	bytes = weft_path_bytes(query, bytes, head, &off, &len);
	dfa = WEFT_OBJECT(weft_dfa, &query->image, &cursor, candidates->regexes);
	if (!dfa)
		return WEFT_EXCEEDS;
	lists = dfa->lists;
	if (dfa->lane_count == 1)
		says = weft_walk_dfa_alone(&query->image, bytes, off, len, candidates->regexes);
	else
		says = weft_walk_dfa(&query->image, bytes, off, len, candidates->regexes);
	if (says == WEFT_DFA_GONE)
		return WEFT_EXCEEDS;
	for (i = 0; i < WEFT_DFA_LANES; i++) {
		u32 list = (u16)(says >> (16 * i));

		if (list)
			candidates->lists[2 + i] = weft_entry(&query->image, &cursor, lists, list);
	}
	return 0;
}

/* Opens the lists. Returns 0 or WEFT_EXCEEDS. */
WEFT_STAGE int weft_count_candidates(const struct weft_route_query *query, struct weft_candidates *candidates)
{
	struct weft_cursor cursor = {};
	u32 i;

	if (!query || !candidates)
		return WEFT_EXCEEDS;
	for (i = 0; i < WEFT_CANDIDATE_LISTS; i++) {
		const struct weft_list *list;

		candidates->heads[i] = ~0u;
		if (!candidates->lists[i])
			continue;
		list = weft_object(&query->image, &cursor, candidates->lists[i], sizeof(*list) + sizeof(u32));
		if (!list)
			return WEFT_EXCEEDS;
		candidates->left[i] = list->count;
		candidates->lists[i] += sizeof(*list);
		if (list->count)
			candidates->heads[i] = list->items[0];
	}
	return 0;
}

/* The next route to try, into candidates->route; 0: there is none. Returns 0 or WEFT_EXCEEDS. */
WEFT_STAGE int weft_next_candidate(const struct weft_route_query *query, struct weft_candidates *candidates)
{
	u32 first = ~0u, which = 0, left, i;
	struct weft_cursor cursor = {};
	const struct weft_route *route;

	if (!query || !candidates)
		return WEFT_EXCEEDS;
	candidates->route = 0;
	/* a route stands in one of the lists only */
	for (i = 0; i < WEFT_CANDIDATE_LISTS; i++) {
		u32 head = candidates->heads[i];

		if (head < first) {
			first = head;
			which = i;
		}
	}
	if (first == ~0u)
		return 0;
#ifdef __bpf__
	asm volatile("" : "+r"(which)); /* the compiler knows the bound, the verifier wants the mask */
#endif
	which &= WEFT_CANDIDATE_SLOTS - 1;
	left = candidates->left[which] - 1;
	candidates->left[which] = left;
	candidates->lists[which] += sizeof(u32);
	candidates->heads[which] = left ? weft_entry(&query->image, &cursor, candidates->lists[which], 0) : ~0u;
	candidates->route = weft_item(&query->image, &cursor, candidates->routes, first);
	route = WEFT_OBJECT(weft_route, &query->image, &cursor, candidates->route);
	if (!candidates->route || !route)
		return WEFT_EXCEEDS;
	candidates->conditions = route->conditions;
	candidates->condition_count = route->condition_count;
	return 0;
}

/* The first candidate whose conditions hold; returns enum weft_route_kind. */
WEFT_INLINE int weft_choose_route(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				  struct weft_candidates *candidates, struct weft_route_result *result)
{
	int r = WEFT_HOLDS;
	u32 i;

	if (candidates->lists[0] && !(candidates->lists[1] | candidates->lists[2] | candidates->lists[3] | candidates->lists[4] | candidates->lists[5])) {
		r = weft_take_first(query, candidates->routes, candidates->lists[0], result);
		if (r)
			return r;
	}
	result->reason = WEFT_REASON_IMAGE_MISSING;
	if (weft_count_candidates(query, candidates))
		return WEFT_ROUTE_PROXY;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_CANDIDATES_MAX); i++) {
		r = WEFT_HOLDS;

		if (weft_next_candidate(query, candidates))
			return WEFT_ROUTE_PROXY;
		if (!candidates->route) {
			result->reason = WEFT_REASON_NOT_FOUND;
			return WEFT_ROUTE_NOT_FOUND;
		}
		if (candidates->condition_count)
			r = weft_conditions_hold(query, bytes, head, candidates->conditions, candidates->condition_count);
		if (r == WEFT_HOLDS) {
			result->reason = WEFT_REASON_NONE;
			return weft_take_route(query, candidates->route, result);
		}
		if (r < 0)
			break;
	}
	result->reason = r == WEFT_TOO_COMPLEX ? WEFT_REASON_REGEX_TOO_COMPLEX : WEFT_REASON_LIMIT_EXCEEDED;
	return WEFT_ROUTE_PROXY;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------- */

#ifndef __bpf__
/* Requests that reach no route whatever the configuration (FACTS): OPTIONS *, CONNECT (there are no routes for it), an absolute target
 * with a query and no path, an empty x-forwarded-proto. */
static inline bool weft_reaches_no_route(const struct weft_head_bytes *bytes, const struct weft_head *head)
{
	struct weft_span value;

	if (head->flags & (WEFT_HEAD_ASTERISK | WEFT_HEAD_CONNECT))
		return true;
	if ((head->flags & WEFT_HEAD_ABSOLUTE_FORM) && !head->path.len && head->path.off < head->target.off + head->target.len)
		return true;
	return (head->flags & WEFT_HEAD_PRIVATE) && weft_forwarded_proto(bytes, head, &value) && !value.len;
}
#endif

WEFT_INLINE int weft_routed(struct weft_route_result *result, u32 kind, u32 reason)
{
	result->kind = kind;
	result->reason = reason;
	return kind;
}

/* The lists of all routes whose literal path matches that of the head. Returns 0 or WEFT_EXCEEDS. */
WEFT_STAGE int weft_find_candidates(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				    struct weft_candidates *candidates)
{
	const struct weft_virtual_host *virtual_host;
	struct weft_cursor cursor = {};
	struct weft_walk walk = {};
	weft_ref nocase;
	u32 off, len;
	int r;

	if (!query || !bytes || !head || !candidates)
		return WEFT_EXCEEDS;
	virtual_host = WEFT_OBJECT(weft_virtual_host, &query->image, &cursor, candidates->virtual_host);
	if (!virtual_host)
		return WEFT_EXCEEDS;
	candidates->routes = virtual_host->routes;
	candidates->regexes = virtual_host->regexes;
	candidates->flags = virtual_host->flags;
	candidates->tls_location = virtual_host->tls_location;
	nocase = virtual_host->paths_nocase;
	bytes = weft_path_bytes(query, bytes, head, &off, &len);
	walk.image = query->image;
	walk.node = virtual_host->paths;
	walk.at = off;
	walk.rest = len;
	r = weft_walk_path(&walk, bytes);
	candidates->lists[0] = walk.found;
	if (!r && nocase) {
		walk.node = nocase;
		walk.at = off;
		walk.rest = len;
		walk.folds = 1;
		r = weft_walk_path(&walk, bytes);
		candidates->lists[1] = walk.found;
	}
	return r;
}

WEFT_STAGE int weft_route(const struct weft_route_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
			  struct weft_route_result *result)
{
	struct weft_candidates candidates = {};
	int r;

	if (!query || !bytes || !head || !result)
		return WEFT_ROUTE_PROXY;
	*result = (struct weft_route_result){};
	r = weft_find_virtual_host(query, bytes, head, &candidates.virtual_host);
	if (r < 0)
		return weft_routed(result, WEFT_ROUTE_PROXY, r == WEFT_EXCEEDS ? WEFT_REASON_LIMIT_EXCEEDED : WEFT_REASON_IMAGE_MISSING);
	if (!candidates.virtual_host)
		return weft_routed(result, WEFT_ROUTE_NOT_FOUND, WEFT_REASON_NOT_FOUND);
	result->virtual_host = candidates.virtual_host;
	if (weft_find_candidates(query, bytes, head, &candidates))
		return weft_routed(result, WEFT_ROUTE_PROXY, WEFT_REASON_LIMIT_EXCEEDED);
	if (candidates.flags & WEFT_VIRTUAL_HOST_NEEDS_TLS) {
		if (!weft_came_by_https(bytes, head)) {
			result->location = candidates.tls_location;
			return weft_routed(result, WEFT_ROUTE_REDIRECT, WEFT_REASON_NONE);
		}
	}
#ifndef __bpf__
	if (weft_reaches_no_route(bytes, head))
		return weft_routed(result, WEFT_ROUTE_NOT_FOUND, WEFT_REASON_NOT_FOUND);
#endif
	if (candidates.regexes && weft_find_regexes(query, bytes, head, &candidates))
		return weft_routed(result, WEFT_ROUTE_PROXY, WEFT_REASON_LIMIT_EXCEEDED);
	r = weft_choose_route(query, bytes, head, &candidates, result);
	result->kind = r;
	return r;
}

#endif
