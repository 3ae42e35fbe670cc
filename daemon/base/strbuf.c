/* SPDX-License-Identifier: Apache-2.0 */
#include "base/strbuf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define FIRST_CAPACITY 64

void strbuf_release(struct strbuf *buf)
{
	free(buf->data);
	*buf = (struct strbuf)STRBUF_INIT;
}

int strbuf_reserve(struct strbuf *buf, size_t size)
{
	size_t wanted, capacity;
	char *data;

	if (buf->status)
		return buf->status;
	if (__builtin_add_overflow(buf->size, size, &wanted) || __builtin_add_overflow(wanted, 1, &wanted))
		return buf->status = -ENOMEM;
	if (wanted <= buf->capacity)
		return 0;

	capacity = buf->capacity ? buf->capacity : FIRST_CAPACITY;
	while (capacity < wanted) {
		if (__builtin_mul_overflow(capacity, 2, &capacity)) {
			capacity = wanted;
			break;
		}
	}
	data = realloc(buf->data, capacity);
	if (!data)
		return buf->status = -ENOMEM;
	buf->data = data;
	buf->capacity = capacity;
	buf->data[buf->size] = '\0';
	return 0;
}

int strbuf_append(struct strbuf *buf, const void *bytes, size_t size)
{
	int r = strbuf_reserve(buf, size);

	if (r)
		return r;
	if (size)
		memcpy(buf->data + buf->size, bytes, size);
	buf->size += size;
	buf->data[buf->size] = '\0';
	return 0;
}

int strbuf_append_text(struct strbuf *buf, const char *text)
{
	return strbuf_append(buf, text, strlen(text));
}

int strbuf_append_byte(struct strbuf *buf, char byte)
{
	return strbuf_append(buf, &byte, 1);
}

int strbuf_vprintf(struct strbuf *buf, const char *fmt, va_list args)
{
	va_list again;
	int n, r;

	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0)
		return buf->status ? buf->status : (buf->status = -EINVAL);
	r = strbuf_reserve(buf, (size_t)n);
	if (r)
		return r;
	vsnprintf(buf->data + buf->size, (size_t)n + 1, fmt, args);
	buf->size += (size_t)n;
	return 0;
}

int strbuf_printf(struct strbuf *buf, const char *fmt, ...)
{
	va_list args;
	int r;

	va_start(args, fmt);
	r = strbuf_vprintf(buf, fmt, args);
	va_end(args);
	return r;
}

void strbuf_truncate(struct strbuf *buf, size_t size)
{
	weft_assert(size <= buf->size);
	buf->size = size;
	if (buf->data)
		buf->data[size] = '\0';
}

void strbuf_consume(struct strbuf *buf, size_t size)
{
	weft_assert(size <= buf->size);
	if (!size)
		return;
	memmove(buf->data, buf->data + size, buf->size - size);
	strbuf_truncate(buf, buf->size - size);
}

const char *strbuf_text(const struct strbuf *buf)
{
	return buf->data ? buf->data : "";
}

char *strbuf_take(struct strbuf *buf)
{
	char *data;

	if (strbuf_reserve(buf, 0)) {
		strbuf_release(buf);
		return NULL;
	}
	data = buf->data;
	*buf = (struct strbuf)STRBUF_INIT;
	return data;
}
