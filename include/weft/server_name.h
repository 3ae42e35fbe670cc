/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which chain of a listener takes TLS to a server name. On the host only: a program does not see names. */
#ifndef WEFT_SERVER_NAME_H
#define WEFT_SERVER_NAME_H

#include <string.h>

#include "weft/lookup.h"

static inline int weft_compare_server_name(const struct weft_text *text, const char *name, size_t len)
{
	int order = memcmp(text->bytes, name, text->len < len ? text->len : len);

	return order ? order : (text->len > len) - (text->len < len);
}

/* The item of exactly this name, or NULL. */
static inline const struct weft_sni *weft_find_sni(const struct weft_image_handle *image, const struct weft_sni_list *list, const char *name)
{
	u32 low = 0, high = list->count;

	while (low < high) {
		u32 middle = low + (high - low) / 2;
		const struct weft_text *text = (const struct weft_text *)weft_at(image, list->items[middle].name);
		int order = text ? weft_compare_server_name(text, name, strlen(name)) : 0;

		if (!order)
			return text ? &list->items[middle] : NULL;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* `name` in lower case, "" for none; it is written to and left as it was. */
static inline const struct weft_sni *weft_find_server_name(const struct weft_image_handle *image, weft_ref names, char *name)
{
	const struct weft_sni_list *list = (const struct weft_sni_list *)weft_at(image, names);
	const struct weft_sni *found;
	char *dot = name;

	if (!list)
		return NULL;
	found = weft_find_sni(image, list, name);
	/* "*.example.com" stands for any number of labels, at least one. */
	while (!found && *name && (dot = strchr(dot + 1, '.'))) {
		char before = dot[-1];

		dot[-1] = '*';
		found = weft_find_sni(image, list, dot - 1);
		dot[-1] = before;
	}
	return found ? found : weft_find_sni(image, list, "");
}

#endif
