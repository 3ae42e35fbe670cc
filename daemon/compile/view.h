/* SPDX-License-Identifier: Apache-2.0 */
/* An image as somebody finds it: every reference is checked before it is followed, so that a damaged image is an error and no crash. */
#ifndef WEFT_COMPILE_VIEW_H
#define WEFT_COMPILE_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "weft/image.h"

struct view {
	const uint8_t *base;
	uint32_t size_bytes;
};

/* NULL for 0, for what does not lie inside and for what no builder made (objects are 8-byte aligned). `count` times `size`. */
static inline const void *view_at(const struct view *view, weft_ref ref, uint64_t count, size_t size)
{
	if (!ref || ref % 8 || count > UINT32_MAX || (uint64_t)ref + count * size > view->size_bytes)
		return NULL;
	return view->base + ref;
}

static inline const struct weft_text *view_text(const struct view *view, weft_ref ref)
{
	const struct weft_text *text = view_at(view, ref, 1, sizeof(*text));

	return text && view_at(view, ref, (uint64_t)text->len + sizeof(*text), 1) ? text : NULL;
}

static inline const struct weft_list *view_list(const struct view *view, weft_ref ref)
{
	const struct weft_list *list = view_at(view, ref, 1, sizeof(*list));

	return list && view_at(view, ref, (uint64_t)list->count + 1, sizeof(uint32_t)) ? list : NULL;
}

static inline const struct weft_image_header *view_header(const struct view *view)
{
	return (const void *)view->base;
}

#endif
