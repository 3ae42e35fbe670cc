/* SPDX-License-Identifier: Apache-2.0 */
/* A request that may be sent again, or to mirrors: its bytes as they went out, up to Envoy's limit of a body. */
#include "proxy/policies.h"

#include <sys/socket.h>

#define BODY_MAX (1u << 20) /* Envoy: per_connection_buffer_limit_bytes; a longer one is neither retried nor mirrored */

void resend_release(struct resend *resend)
{
	if (resend->capacity)
		memory_give(resend->thread, resend->share, resend->capacity);
	free(resend->bytes);
	*resend = (struct resend){0};
}

void resend_begin(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;

	exchange->policies->resend = (struct resend){.thread = connection->thread, .share = connection->pod->is.pod_id % SHARES, .is_kept = true};
	/* The bytes are wanted here. */
	connection->request.is_unspliceable = true;
}

/* 0; -ENOSPC: the pod, or all of them, have as much memory as they may. */
static int grow(struct resend *resend, size_t len)
{
	size_t capacity = resend->capacity ? resend->capacity : 1024, more;
	u8 *grown;
	int r;

	while (capacity - resend->size < len)
		capacity *= 2;
	more = capacity - resend->capacity;
	r = more ? memory_take(resend->thread, resend->share, more) : 0;
	if (r || !more)
		return r;
	grown = realloc(resend->bytes, capacity);
	if (!grown) {
		memory_give(resend->thread, resend->share, more);
		return -ENOMEM;
	}
	resend->bytes = grown;
	resend->capacity = capacity;
	return 0;
}

static int append(struct resend *resend, const u8 *bytes, size_t len)
{
	int r = grow(resend, len);

	if (r)
		return r;
	memcpy(resend->bytes + resend->size, bytes, len);
	resend->size += len;
	return 0;
}

static size_t head_len(const struct resend *resend)
{
	const u8 *end = memmem(resend->bytes, resend->size, "\r\n\r\n", 4);

	return end ? (size_t)(end - resend->bytes) + 4 : resend->size;
}

/* It is too long, or there is no room for it: what is here still goes out. */
static void give_up(struct exchange *exchange)
{
	struct resend *resend = &exchange->policies->resend;

	resend->is_kept = false;
	exchange->policies->retry = NULL;
	exchange->policies->mirrors = NULL;
	exchange->connection->request.is_unspliceable = false;
	if (resend->sent == resend->size)
		resend_release(resend);
}

/* `r`: of append(). 0; -ENOSPC: it is not kept any more. */
static int kept(struct exchange *exchange, int r)
{
	if (r == -ENOSPC) {
		COUNT(exchange->connection->thread, requests_unkept);
		give_up(exchange);
	}
	return r;
}

int resend_take(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	struct resend *resend = &exchange->policies->resend;
	struct flow *flow = &connection->request;
	struct thread *thread = connection->thread;
	u32 len = buffer_len(&flow->out);
	u64 body;
	int r;

	if (!resend->is_kept)
		return 0;
	if (len) {
		r = kept(exchange, append(resend, buffer_bytes(&flow->out), len));
		if (r)
			return r == -ENOSPC ? 0 : r;
		buffer_consume(thread, &flow->out, len);
	}
	len = flow_is_verbatim(flow) ? (u32)WEFT_MIN((u64)buffer_len(&connection->in), flow->left) : 0;
	if (len) {
		r = kept(exchange, append(resend, buffer_bytes(&connection->in), len));
		if (r)
			return r == -ENOSPC ? 0 : r;
		buffer_consume(thread, &connection->in, len);
		flow->left -= len;
		connection_took(connection, len);
	}
	body = flow->body == FLOW_CHUNKED ? flow->chunked.data_len : resend->size - head_len(resend);
	if (body > BODY_MAX)
		give_up(exchange);
	return 0;
}

int resend_replace(struct resend *resend, size_t len, const void *bytes, size_t size)
{
	size_t rest = resend->size - len, now = resend->size;
	int r = size > len ? append(resend, bytes, size - len) : 0; /* room, filled in a moment */

	if (r)
		return r;
	weft_assert(rest <= now);
	memmove(resend->bytes + size, resend->bytes + len, rest);
	memcpy(resend->bytes, bytes, size);
	resend->size = size + rest;
	return 0;
}

ssize_t resend_write(struct exchange *exchange, int to, u32 *taken)
{
	struct connection *connection = exchange->connection;
	struct resend *resend = &exchange->policies->resend;
	ssize_t n;
	int r = resend_take(exchange);

	if (r)
		return r;
	if (resend->sent == resend->size)
		return resend->is_kept ? 0 : flow_write(connection->thread, &connection->request, &connection->in, to, taken);
	n = send(to, resend->bytes + resend->sent, resend->size - resend->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	resend->sent += (size_t)n;
	if (!resend->is_kept && resend->sent == resend->size)
		resend_release(resend);
	return n;
}

/* x-envoy-attempt-count, which is in the head where weft decorates, or where the client sent it. */
static int count_attempt(struct exchange *exchange, u32 attempt)
{
	static const char name[] = "\r\nx-envoy-attempt-count: ";
	struct resend *resend = &exchange->policies->resend;
	size_t head = head_len(resend), rest;
	u8 *line = memmem(resend->bytes, head, name, sizeof(name) - 1), *end;
	char number[12];
	int len = snprintf(number, sizeof(number), "%u", attempt), r;

	if (!exchange->connection->thread->proxy->decorates || !line)
		return 0;
	line += sizeof(name) - 1;
	end = memchr(line, '\r', head - (size_t)(line - resend->bytes));
	if (end - line < len) { /* one digit more */
		size_t at = (size_t)(line - resend->bytes);

		r = append(resend, (const u8 *)"0", 1);
		if (r)
			return r;
		line = resend->bytes + at;
		rest = resend->size - at - 1;
		memmove(line + 1, line, rest);
	}
	memcpy(line, number, (size_t)len);
	return 0;
}

int resend_again(struct exchange *exchange, u32 attempt)
{
	struct resend *resend = &exchange->policies->resend;
	int r = resend->size ? count_attempt(exchange, attempt) : 0;

	if (!r)
		resend->sent = 0;
	return r;
}
