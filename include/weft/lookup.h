/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading an image: references to pointers, listeners by address. */
#ifndef WEFT_LOOKUP_H
#define WEFT_LOOKUP_H

#include "weft/base.h"
#include "weft/bytes.h"
#include "weft/image.h"

#ifdef __bpf__
#include <linux/errno.h>

#include "images.h"

/* Index in the outer map `images`. */
struct weft_image_handle {
	u32 slot;
};
#else
/* The mapped image. Trusted: made by compile, or checked by the one who loaded it. */
struct weft_image_handle {
	const u8 *base;
	u32 size;
};
#endif

/* What a question to an image is answered with. */
#define WEFT_HOLDS 1
#define WEFT_FAILS 0
#define WEFT_EXCEEDS -1 /* a kernel limit, or an image that is gone: the proxy decides */
#define WEFT_TOO_COMPLEX -2 /* a regular expression that is no automaton: likewise */

/* The page that a reader has in hand, so that what stands in one page costs one look-up. */
struct weft_cursor {
	const u8 *page;
	u32 number;
};

/* The page of `ref`; on the host an image is one piece. NULL: there is no such image or page. */
WEFT_INLINE const u8 *weft_seek(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref ref)
{
#ifdef __bpf__
	u32 number = ref >> WEFT_PAGE_SHIFT, slot;
	void *pages;

	if (cursor->page && cursor->number == number)
		return cursor->page;
	slot = image->slot; /* on the stack: 6.1 takes no key from a global function's argument */
	pages = bpf_map_lookup_elem(&images, &slot);
	if (!pages)
		return NULL;
	cursor->page = bpf_map_lookup_elem(pages, &number);
	cursor->number = number;
	return cursor->page;
#else
	return ref < image->size ? image->base : NULL;
#endif
}

/* Offset in the page, for an object of `size` bytes that begins there. The last possible one in place of a greater one: no object
 * of an image stands there, and the verifier sees the bound. */
WEFT_INLINE u32 weft_offset(weft_ref ref, u32 size)
{
#ifdef __bpf__
	u32 offset = ref & WEFT_PAGE_MASK;

	return offset > WEFT_PAGE_SIZE - size ? WEFT_PAGE_SIZE - size : offset;
#else
	return ref;
#endif
}

/* `size` bytes of the object at `ref` (sizeof of its fixed part; up to WEFT_PAGE_SLACK bytes more are always there). */
WEFT_INLINE const void *weft_object(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref ref, u32 size)
{
	const u8 *page = weft_seek(image, cursor, ref);

	return page ? page + weft_offset(ref, size) : NULL;
}

#define WEFT_OBJECT(type, image, cursor, ref) ((const struct type *)weft_object((image), (cursor), (ref), sizeof(struct type)))

/* The aligned eight bytes at an offset of `page`. */
WEFT_INLINE u64 weft_image_word(const u8 *page, u32 offset)
{
#ifdef __bpf__
	offset &= WEFT_PAGE_MASK & ~7u; /* inside whatever it was; and what stands in an image is aligned */
#endif
	return weft_load8(page + offset);
}

/* Bytes i .. i + 7 of the struct weft_text at an offset of `page`, i a multiple of 8: they begin 4 bytes after an aligned word. */
WEFT_INLINE u64 weft_text_word(const u8 *page, u32 offset, u32 i)
{
	return weft_image_word(page, offset + i) >> 32 | weft_image_word(page, offset + i + 8) << 32;
}

/* Entry `index` of an array of u32, or 0 where there is no such page. */
WEFT_INLINE u32 weft_entry(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref array, u32 index)
{
	const u32 *entry = weft_object(image, cursor, array + index * sizeof(u32), sizeof(u32));

	return entry ? *entry : 0;
}

/* The same of an array of u16 or u64. */
WEFT_INLINE u32 weft_entry2(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref array, u32 index)
{
	const u16 *entry = weft_object(image, cursor, array + index * sizeof(u16), sizeof(u16));

	return entry ? *entry : 0;
}

WEFT_INLINE u64 weft_entry8(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref array, u32 index)
{
	const u64 *entry = weft_object(image, cursor, array + index * sizeof(u64), sizeof(u64));

	return entry ? *entry : 0;
}

/* Item `index` of a list; its count is the caller's to check. */
WEFT_INLINE u32 weft_item(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref list, u32 index)
{
	return weft_entry(image, cursor, list + sizeof(struct weft_list), index);
}

#define WEFT_OBJECT_MAX WEFT_PAGE_SLACK

/* The first WEFT_OBJECT_MAX bytes of the object at `ref`, or NULL: no such image, no such page, or `ref` is 0. */
WEFT_INLINE const void *weft_at(const struct weft_image_handle *image, weft_ref ref)
{
	struct weft_cursor cursor = {};

	return ref ? weft_object(image, &cursor, ref, WEFT_OBJECT_MAX) : NULL;
}

/* The listener of exactly this key, or 0. */
WEFT_STAGE weft_ref weft_find_listener_key(const struct weft_image_handle *image, weft_ref slots, u32 mask, const struct weft_address *address,
					   u32 port_be)
{
	struct weft_cursor cursor = {};
	u32 hash, i;

	if (!image || !address)
		return 0;
	hash = weft_listener_hash(address, port_be);
	for (i = 0; i < WEFT_HASH_PROBES_MAX; i++) {
		const struct weft_slot *slot = WEFT_OBJECT(weft_slot, image, &cursor, slots + ((hash + i) & mask) * sizeof(*slot));
		const struct weft_listener *listener;
		weft_ref object;

		if (!slot)
			return 0;
		object = slot->object;
		if (!object)
			return 0;
		if (slot->hash != hash)
			continue;
		listener = WEFT_OBJECT(weft_listener, image, &cursor, object);
		if (!listener)
			return 0;
		if (listener->key.port_be == port_be && weft_address_equals(&listener->key.address, address))
			return object;
	}
	return 0;
}

WEFT_INLINE bool weft_subnet_has(const struct weft_subnet *subnet, const struct weft_address *a)
{
	u32 differs = (a->be[0] & subnet->mask.be[0]) ^ subnet->network.be[0];

	differs |= (a->be[1] & subnet->mask.be[1]) ^ subnet->network.be[1];
	differs |= (a->be[2] & subnet->mask.be[2]) ^ subnet->network.be[2];
	differs |= (a->be[3] & subnet->mask.be[3]) ^ subnet->network.be[3];
	return !differs;
}

/* Does this one of the listeners of a key take the destination? Else `next` says who comes after it. */
WEFT_STAGE int weft_listener_takes(const struct weft_image_handle *image, weft_ref ref, const struct weft_address *address, weft_ref *next)
{
	struct weft_cursor cursor = {};
	const struct weft_listener *listener;
	const struct weft_subnet *subnet;

	if (!image || !address || !next)
		return WEFT_EXCEEDS;
	listener = WEFT_OBJECT(weft_listener, image, &cursor, ref);
	if (!listener)
		return WEFT_EXCEEDS;
	if (!listener->subnet)
		return WEFT_HOLDS;
	*next = listener->next;
	subnet = WEFT_OBJECT(weft_subnet, image, &cursor, listener->subnet);
	if (!subnet)
		return WEFT_EXCEEDS;
	return weft_subnet_has(subnet, address) ? WEFT_HOLDS : WEFT_FAILS;
}

/* Of the listeners of one key the one that takes the destination; the last takes all that others don't. */
WEFT_INLINE weft_ref weft_listener_for(const struct weft_image_handle *image, weft_ref first, const struct weft_address *address)
{
	weft_ref ref = first;
	u32 i;

	for (i = 0; i < WEFT_RANGES_MAX; i++) {
		weft_ref next = 0;
		int r = weft_listener_takes(image, ref, address, &next);

		if (r != WEFT_FAILS)
			return r == WEFT_HOLDS ? ref : 0;
		if (!next)
			return 0;
		ref = next;
	}
	return 0;
}

/* Finds the listener for a destination: exact address first, then any address of its family on that port, then what owns everything
 * else (any address and port 0, from istiod's virtualOutbound: left alone, or blocked under REGISTRY_ONLY). Returns 0, -ENOENT, or -ENODATA when
 * there is no image. */
WEFT_STAGE int weft_find_listener(const struct weft_image_handle *image, const struct weft_address *address, u32 port_be, weft_ref *listener)
{
	const struct weft_image_header *header;
	struct weft_cursor cursor = {};
	struct weft_address any;
	u32 slots, mask;
	weft_ref found;

	if (!image || !address || !listener)
		return -EINVAL;
	header = WEFT_OBJECT(weft_image_header, image, &cursor, 0);
	if (!header)
		return -ENODATA;
	slots = header->listener_slots;
	mask = header->listener_mask;
	if (!slots)
		return -ENOENT;
	found = weft_find_listener_key(image, slots, mask, address, port_be);
	any = weft_address_any(weft_address_family(address));
	if (!found)
		found = weft_find_listener_key(image, slots, mask, &any, port_be);
	if (!found)
		found = weft_find_listener_key(image, slots, mask, &any, 0);
	if (found)
		found = weft_listener_for(image, found, address);
	if (!found)
		return -ENOENT;
	*listener = found;
	return 0;
}

/* The place of `target` in a struct weft_choice of `count` items. A stage without a page in hand: the verifier then walks each turn once, where 6.1's
 * followed both ways to a page, and what each way left behind, through all turns after it. */
WEFT_STAGE int weft_choice_place(const struct weft_image_handle *image, weft_ref ref, u32 count, u32 target)
{
	u32 i;

	if (!image)
		return -EINVAL;
	for (i = 0; i < WEFT_KERNEL_LIMIT(WEFT_WEIGHTED_MAX); i++) {
		struct weft_cursor cursor = {};
		const struct weft_choice_item *item;

		if (i >= count)
			return -ENODATA;
		item = WEFT_OBJECT(weft_choice_item, image, &cursor, ref + sizeof(struct weft_choice) + i * sizeof(*item));
		if (!item)
			return -ENODATA;
		if (target < item->until)
			return i;
	}
	return -E2BIG;
}

/* The cluster of a struct weft_choice for a random number; unless NULL, its place there (`which`) and its changes of both directions. 0; -ENODATA: there is none;
 * -E2BIG: more than the kernel looks at. */
WEFT_INLINE int weft_choose_cluster(const struct weft_image_handle *image, struct weft_cursor *cursor, weft_ref ref, u32 random, u32 *cluster_id,
				    u32 *which, weft_ref *changes, weft_ref *response_changes)
{
	const struct weft_choice *choice;
	const struct weft_choice_item *item;
	u32 count, total;
	int place = 0;

	choice = WEFT_OBJECT(weft_choice, image, cursor, ref);
	if (!ref || !choice)
		return -ENODATA;
	count = choice->count;
	total = choice->total_weight;
	if (count != 1)
		place = weft_choice_place(image, ref, count, total ? random % total : 0);
	if (place < 0)
		return place;
	item = WEFT_OBJECT(weft_choice_item, image, cursor, ref + sizeof(*choice) + place * sizeof(*item));
	if (!item)
		return -ENODATA;
	*cluster_id = item->cluster_id;
	if (which)
		*which = place;
	if (changes)
		*changes = item->changes;
	if (response_changes)
		*response_changes = item->response_changes;
	return 0;
}

#ifndef __bpf__
/* What compile stores in the slots of a route table for wildcards: prefix keys are hashed forwards, suffix keys from their last byte to
 * their first; keys in lower case and without the `*`. Exact hosts: weft_host_hash. */
static inline u32 weft_host_prefix_hash(const u8 *key, u32 len)
{
	u32 h = WEFT_HASH_SEED, i;

	for (i = 0; i < len; i++)
		h = weft_hash_step(h, key[i]);
	return weft_hash_finish(h);
}

static inline u32 weft_host_suffix_hash(const u8 *key, u32 len)
{
	u32 h = WEFT_HASH_SEED;

	while (len)
		h = weft_hash_step(h, key[--len]);
	return weft_hash_finish(h);
}
#endif

#endif
