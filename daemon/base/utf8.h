/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_BASE_UTF8_H
#define WEFT_BASE_UTF8_H

#include <stddef.h>

/* How many of `size` bytes are shown where `max` may be: no character is cut through. */
static inline size_t utf8_cut(const char *bytes, size_t size, size_t max)
{
	if (size <= max)
		return size;
	for (size = max; size && ((unsigned char)bytes[size] & 0xc0) == 0x80; size--)
		;
	return size;
}

#endif
