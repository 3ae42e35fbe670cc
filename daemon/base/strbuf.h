/* SPDX-License-Identifier: Apache-2.0 */
/* A growable run of bytes that is also a C string: data[size] is always 0.
 *
 * Appending may fail with -ENOMEM; the failure sticks, so a writer of many pieces may check once at the end with strbuf_status(). */
#ifndef WEFT_BASE_STRBUF_H
#define WEFT_BASE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct strbuf {
	char *data;      /* NULL until something was appended; strbuf_text() hides that */
	size_t size;     /* bytes in use, without the final 0 */
	size_t capacity;
	int status;      /* 0 or the first error */
};

#define STRBUF_INIT { NULL, 0, 0, 0 }

void strbuf_release(struct strbuf *buf);

int strbuf_append(struct strbuf *buf, const void *bytes, size_t size);
int strbuf_append_text(struct strbuf *buf, const char *text);
int strbuf_append_byte(struct strbuf *buf, char byte);
int strbuf_printf(struct strbuf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int strbuf_vprintf(struct strbuf *buf, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

/* Makes room for `size` more bytes (and the final 0) so that a reader can write at data + size. */
int strbuf_reserve(struct strbuf *buf, size_t size);

/* Cuts back to `size` bytes, which must not be more than there are. */
void strbuf_truncate(struct strbuf *buf, size_t size);

/* Drops the first `size` bytes. */
void strbuf_consume(struct strbuf *buf, size_t size);

/* Never NULL. */
const char *strbuf_text(const struct strbuf *buf);
static inline int strbuf_status(const struct strbuf *buf)
{
	return buf->status;
}

/* Hands the bytes over as a malloc'd C string and empties the buffer; NULL after a failed append. */
char *strbuf_take(struct strbuf *buf);

#endif
