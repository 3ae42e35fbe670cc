/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which virtual host a request belongs to. Part of the router; include router.h. */
#ifndef WEFT_HOSTS_H
#define WEFT_HOSTS_H

#include "weft/conditions.h"
#include "weft/head.h"
#include "weft/image.h"
#include "weft/lookup.h"
#include "weft/names.h"

/* A key to look up: `len` bytes of the head, in one table. */
struct weft_host_key {
	struct weft_image_handle image;
	weft_ref slots;
	u32 mask;
	u32 hash;
	u32 off;
	u32 len;
};

/* The virtual host of the domain at `object` if its key is this one, else 0. */
WEFT_STAGE u32 weft_host_matches(const struct weft_host_key *key, const struct weft_head_bytes *bytes, weft_ref object)
{
	struct weft_cursor cursor = {};
	const struct weft_host *host;
	u64 differ = 0;
	const u8 *page;
	u32 at, i;

	if (!key || !bytes)
		return 0;
	page = weft_seek(&key->image, &cursor, object);
	if (!page)
		return 0;
	at = weft_offset(object, sizeof(*host));
	host = (const struct weft_host *)(page + at);
	if (host->len != key->len)
		return 0;
	at += sizeof(*host);
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_HOST_LENGTH_MAX + 1); i += 8) {
		if (i + 8 > key->len)
			break;
		differ |= weft_lower_word(weft_load8(bytes->data + WEFT_OFFSET(key->off + i))) ^ weft_image_word(page, at + i);
	}
	differ |= (weft_lower_word(weft_load8(bytes->data + WEFT_OFFSET(key->off + i))) ^ weft_image_word(page, at + i)) &
		  weft_bytes_of(key->len);
	return differ ? 0 : host->virtual_host;
}

/* The virtual host of a domain that is exactly the key, or 0. */
WEFT_STAGE u32 weft_find_host(const struct weft_host_key *key, const struct weft_head_bytes *bytes)
{
	struct weft_cursor cursor = {};
	u32 i;

	if (!key || !bytes || !key->slots)
		return 0;
	for (i = 0; i < WEFT_HASH_PROBES_MAX; i++) {
		const struct weft_slot *slot;
		weft_ref object;
		u32 found;

		slot = WEFT_OBJECT(weft_slot, &key->image, &cursor, key->slots + ((key->hash + i) & key->mask) * sizeof(*slot));
		if (!slot)
			return 0;
		object = slot->object;
		if (!object)
			return 0;
		if (slot->hash != key->hash)
			continue;
		found = weft_host_matches(key, bytes, object);
		if (found)
			return found;
	}
	return 0;
}

/* A host to look up. */
struct weft_wildcards {
	struct weft_host_key key; /* off and len: the whole host */
	u64 lengths[4];
	u32 is_suffix;
	u32 hash;  /* of what was read */
	u32 found;
};

struct weft_wildcards_context {
	const struct weft_head_bytes *bytes;
	struct weft_wildcards *wildcards;
};

WEFT_STEP weft_wildcard_step(u32 index, void *context)
{
	struct weft_wildcards_context *c = context;
	struct weft_wildcards *wildcards = c->wildcards;
	u32 n = index + 1, off = wildcards->key.off, len = wildcards->key.len, at, found;
	struct weft_host_key key;

	if (n >= len)
		return 1;
	at = wildcards->is_suffix ? off + len - n : off + n - 1;
	wildcards->hash = weft_hash_step(wildcards->hash, weft_lower(c->bytes->data[WEFT_OFFSET(at)]));
	if (!(wildcards->lengths[(n >> 6) & 3] >> (n & 63) & 1))
		return 0;
	key = wildcards->key;
	key.hash = weft_hash_finish(wildcards->hash);
	key.off = wildcards->is_suffix ? at : off;
	key.len = n;
	found = weft_find_host(&key, c->bytes);
	if (found)
		wildcards->found = found;
	return 0;
}

/* The longest wildcard that leaves at least one byte of the host, or 0: every length that some key has is looked up, a longer one
 * wins. */
WEFT_INLINE u32 weft_find_wildcard(struct weft_wildcards *wildcards, const struct weft_head_bytes *bytes)
{
	struct weft_wildcards_context context = {.bytes = bytes, .wildcards = wildcards};

	wildcards->hash = WEFT_HASH_SEED;
	wildcards->found = 0;
	WEFT_LOOP(WEFT_HOST_LENGTH_MAX, weft_wildcard_step, &context);
	return wildcards->found;
}

/* Hash of a whole host. */
WEFT_INLINE u32 weft_hash_host(const u8 *p, u32 off, u32 len)
{
	u64 h = 0;
	u32 i;

	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_HOST_LENGTH_MAX + 1); i += 8) {
		if (i >= len)
			break;
		h = weft_host_hash_step(h, (weft_load8(p + WEFT_OFFSET(off + i)) | WEFT_EACH(0x20)) & weft_first_bytes(len - i));
	}
	return weft_host_hash_finish(h, len);
}

/* Exact, then the longest suffix wildcard, then the longest prefix wildcard, then `*` (FACTS "Host and virtual host"). An empty host
 * reaches only `*`. Returns 0 with *virtual_host (0: none), WEFT_EXCEEDS or -ENODATA. */
WEFT_STAGE int weft_find_virtual_host(const struct weft_route_query *query, const struct weft_head_bytes *bytes,
				      const struct weft_head *head, weft_ref *virtual_host)
{
	struct weft_wildcards wildcards = {};
	const struct weft_route_table *table;
	struct weft_cursor cursor = {};
	u32 any, found, len;

	if (!query || !bytes || !head || !virtual_host)
		return -ENODATA;
	table = WEFT_OBJECT(weft_route_table, &query->image, &cursor, query->route_table);
	if (!table)
		return -ENODATA;
	any = table->any;
	len = table->flags & WEFT_ROUTE_TABLE_IGNORE_PORT ? head->host_len : head->authority.len;
	*virtual_host = any;
	if (!head->authority.len)
		return 0;
	if (len > WEFT_KERNEL_LIMIT(WEFT_HOST_LENGTH_MAX))
		return table->suffix_slots || table->prefix_slots ? WEFT_EXCEEDS : 0;
	wildcards.key.image = query->image;
	wildcards.key.slots = table->exact_slots;
	wildcards.key.mask = table->exact_mask;
	wildcards.key.off = head->authority.off;
	wildcards.key.len = len;
	wildcards.key.hash = head->host_hash && len == head->host_len ? head->host_hash : weft_hash_host(bytes->data, head->authority.off, len);
	found = weft_find_host(&wildcards.key, bytes);
	if (!found && table->suffix_slots) {
		wildcards.key.slots = table->suffix_slots;
		wildcards.key.mask = table->suffix_mask;
		wildcards.lengths[0] = table->suffix_lengths[0];
		wildcards.lengths[1] = table->suffix_lengths[1];
		wildcards.lengths[2] = table->suffix_lengths[2];
		wildcards.lengths[3] = table->suffix_lengths[3];
		wildcards.is_suffix = 1;
		found = weft_find_wildcard(&wildcards, bytes);
	}
	if (!found && table->prefix_slots) {
		wildcards.key.slots = table->prefix_slots;
		wildcards.key.mask = table->prefix_mask;
		wildcards.lengths[0] = table->prefix_lengths[0];
		wildcards.lengths[1] = table->prefix_lengths[1];
		wildcards.lengths[2] = table->prefix_lengths[2];
		wildcards.lengths[3] = table->prefix_lengths[3];
		wildcards.is_suffix = 0;
		found = weft_find_wildcard(&wildcards, bytes);
	}
	if (found)
		*virtual_host = found;
	return 0;
}

#endif
