/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Hash policies of a route: what of a request chooses its endpoint in a hashing cluster. Envoy: HashPolicyImpl::generateHash. */
#ifndef WEFT_HASH_H
#define WEFT_HASH_H

#include "weft/balance.h"
#include "weft/conditions.h"
#include "weft/http1.h"
#include "weft/xxhash.h"

#define WEFT_HASH_POLICIES_MAX 8 /* of one route in the kernel */

struct weft_hash_query {
	struct weft_image_handle image; /* route image */
	weft_ref policies;              /* struct weft_hash_policies */
	u64 source_hash;                /* of the client's address as text */
#ifndef __bpf__
	const u8 *target; /* normalised; NULL: the head's own is right */
	u32 target_len;
	/* What takes more than the head; NULL: WEFT_EXCEEDS where it would be needed. `rewrite` appends to what it gave before, 0 or -errno. */
	int (*rewrite)(void *arg, const struct weft_hash_policy *policy, const u8 *value, u32 len, const u8 **out, u32 *out_len);
	u64 (*make_cookie)(void *arg, const struct weft_hash_policy *policy); /* gives the hash of its value */
	void *arg;
#endif
};

/* The first parameter of the name. 1: found, 0: there is none, WEFT_EXCEEDS. */
WEFT_STAGE int weft_hash_parameter(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				   const struct weft_hash_policy *policy, u64 *hash)
{
	struct weft_route_query route_query = {};
	struct weft_condition condition = {};
	struct weft_parameter parameter = {};

	if (!query || !bytes || !head || !policy || !hash)
		return WEFT_EXCEEDS;
	route_query.image = query->image;
	condition.name = policy->name;
	condition.name_len = policy->name_len;
	parameter.at = head->path.off + head->path.len;
	parameter.end = head->target.off + head->target.len;
#ifndef __bpf__
	if (query->target) {
		const u8 *mark = memchr(query->target, '?', query->target_len);

		bytes = (const struct weft_head_bytes *)query->target;
		parameter.end = query->target_len;
		parameter.at = mark ? mark - query->target : query->target_len;
	}
#endif
	parameter.at++; /* the question mark, if there is one */
	if (weft_find_parameter(&route_query, bytes, &condition, &parameter))
		return WEFT_EXCEEDS;
	if (!parameter.is_present)
		return 0;
#ifdef WEFT_KERNEL_LIMITS
	if (parameter.value_len > WEFT_HASH_VALUE_MAX)
		return WEFT_EXCEEDS;
#endif
	*hash = weft_xxhash64(bytes, parameter.value, parameter.value_len, 0);
	return 1;
}

#ifdef WEFT_KERNEL_LIMITS
/* Is line `index` of this name? */
WEFT_STAGE int weft_hash_line(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
			      const struct weft_hash_policy *policy, u32 index)
{
	struct weft_cursor cursor = {};
	const struct weft_field *field;
	u32 name_len;
	const u8 *page;

	if (!query || !bytes || !head || !policy || index >= WEFT_FIELDS_MAX)
		return 0;
	page = weft_seek(&query->image, &cursor, policy->name);
	field = &head->fields[index];
	name_len = policy->name_len;
	return page && field->name.len == name_len &&
	       weft_text_equals(bytes->data, field->name.off, page, weft_offset(policy->name, sizeof(struct weft_text)), name_len, ~0ull);
}

/* One header line alone, as it stands in the head. 1: found, 0: there is none, WEFT_EXCEEDS: more than one, or one that Envoy changes. */
WEFT_STAGE int weft_hash_header(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				const struct weft_hash_policy *policy, u64 *hash)
{
	struct weft_cursor cursor = {};
	u32 name_len, off, len, i;
	u64 found = 0; /* its index, and one more; by way of `hash`: see WEFT_FORGET */
	const u8 *page;

	if (!query || !bytes || !head || !policy || !hash)
		return WEFT_EXCEEDS;
	name_len = policy->name_len;
	if (name_len >= WEFT_CONDITION_VALUE_MAX)
		return WEFT_EXCEEDS;
	for (i = 0; i < WEFT_FIELDS_MAX; i++) {
		found = WEFT_FORGET(*hash, found);
		if (i >= head->field_count)
			break;
		if (head->fields[i].name_hash != policy->name_hash || !weft_hash_line(query, bytes, head, policy, i))
			continue;
		if (found)
			return WEFT_EXCEEDS;
		found = i + 1;
	}
	page = weft_seek(&query->image, &cursor, policy->name);
	if (!page)
		return WEFT_EXCEEDS;
	page += weft_offset(policy->name, sizeof(struct weft_text) + WEFT_KNOWN_NAME_MAX) + sizeof(struct weft_text);
	switch (weft_known_name(page, name_len, policy->name_hash)) {
	case WEFT_NAME_CONNECTION:
	case WEFT_NAME_KEEP_ALIVE:
		return 0; /* Envoy removes them */
	case WEFT_NAME_X_FORWARDED_PROTO:
		return WEFT_EXCEEDS; /* Envoy sets it */
	}
	/* One comparison of what becomes the index: 6.1 does not conclude from "not 0" that one less is not negative. */
	found = WEFT_FORGET(*hash, found - 1);
	if (found >= WEFT_FIELDS_MAX)
		return 0;
	off = head->fields[found].value.off;
	len = head->fields[found].value.len;
	if (len > WEFT_HASH_VALUE_MAX)
		return WEFT_EXCEEDS;
	*hash = weft_xxhash64(bytes, off, len, 0);
	return 1;
}

/* As above, for one policy. */
WEFT_INLINE int weft_hash_found(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head,
				const struct weft_hash_policy *policy, u64 *hash)
{
	u64 unused;

	if (policy->pattern)
		return WEFT_EXCEEDS;
	switch (policy->kind) {
	case WEFT_HASH_HEADER:
		return weft_hash_header(query, bytes, head, policy, hash);
	case WEFT_HASH_AUTHORITY:
		if (head->authority.len > WEFT_HASH_VALUE_MAX)
			return WEFT_EXCEEDS;
		*hash = weft_xxhash64(bytes, head->authority.off, head->authority.len, 0);
		return 1;
	case WEFT_HASH_PATH:
		if (head->target.len > WEFT_HASH_VALUE_MAX)
			return WEFT_EXCEEDS;
		*hash = weft_xxhash64(bytes, head->target.off, head->target.len, 0);
		return 1;
	case WEFT_HASH_QUERY:
		return weft_hash_parameter(query, bytes, head, policy, hash);
	case WEFT_HASH_SOURCE_IP:
		/* its name is x-forwarded-for, which says another address */
		if (weft_hash_header(query, bytes, head, policy, &unused))
			return WEFT_EXCEEDS;
		*hash = query->source_hash;
		return 1;
	}
	return WEFT_EXCEEDS;
}
#else
#include "weft/hash_host.h"
#endif

/* All policies of the route. Returns enum weft_hash_state (NONE or READY, with `hash`), or WEFT_EXCEEDS: the proxy decides. */
WEFT_STAGE int weft_hash_request(const struct weft_hash_query *query, const struct weft_head_bytes *bytes, const struct weft_head *head, u64 *hash)
{
	const struct weft_hash_policies *policies;
	struct weft_cursor cursor = {};
	u64 sum = 0, one = 0;
	u32 count, i, has = 0;

	if (!query || !bytes || !head || !hash)
		return WEFT_EXCEEDS;
	policies = WEFT_OBJECT(weft_hash_policies, &query->image, &cursor, query->policies);
	if (!policies)
		return WEFT_EXCEEDS;
	count = policies->count;
#ifdef WEFT_KERNEL_LIMITS
	if (policies->flags & WEFT_HASH_POLICIES_PROXY)
		return WEFT_EXCEEDS;
#endif
	if (count > WEFT_KERNEL_LIMIT(WEFT_HASH_POLICIES_MAX))
		return WEFT_EXCEEDS;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_HASH_POLICIES_MAX); i++) {
		const struct weft_hash_policy *found;
		struct weft_hash_policy policy;
		int r;

		if (i >= count)
			break;
		found = WEFT_OBJECT(weft_hash_policy, &query->image, &cursor, query->policies + sizeof(*policies) + i * sizeof(policy));
		if (!found)
			return WEFT_EXCEEDS;
		policy = *found;
		r = weft_hash_found(query, bytes, head, &policy, &one);
		if (r < 0)
			return r;
		if (r) {
			sum = weft_rotate(sum, 1) ^ one;
			has = 1;
		}
		/* what an earlier one found counts, too */
		if (has && policy.flags & WEFT_HASH_TERMINAL)
			break;
	}
	*hash = sum;
	return has ? WEFT_HASH_READY : WEFT_HASH_NONE;
}

#endif
