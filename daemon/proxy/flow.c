/* SPDX-License-Identifier: Apache-2.0 */
/* One direction of an exchange: bytes from a source's buffer to a destination's socket, as they came, spliced, or framed anew.
 * What is in memory is bounded: a flow stops taking while its destination does not. */
#include "proxy/internal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Re-framed bytes that may wait for the destination. */
#define OUT_MAX (48u << 10)
/* "ffffffff\r\n" before a chunk's data, "\r\n" after it, "0\r\n\r\n" at the end. */
#define CHUNK_OVERHEAD 24u

void flow_begin(struct flow *flow)
{
	weft_assert(!flow->out.block && !flow->pipe);
	memset(flow, 0, sizeof(*flow));
}

void flow_release(struct thread *thread, struct flow *flow)
{
	buffer_release(thread, &flow->out);
	pipe_give(thread, &flow->pipe, flow->piped == 0);
	memset(flow, 0, sizeof(*flow));
}

static u32 out_room(const struct flow *flow)
{
	u32 len = buffer_len(&flow->out);

	return len >= OUT_MAX ? 0 : OUT_MAX - len;
}

/* `len` bytes of payload, at most out_room() - CHUNK_OVERHEAD. */
static int put_payload(struct thread *thread, struct flow *flow, const u8 *bytes, u32 len)
{
	static const char digits[] = "0123456789abcdef";
	char size[10];
	u32 at = sizeof(size);
	int r;

	if (!len)
		return 0;
	r = buffer_reserve(thread, &flow->out, len + CHUNK_OVERHEAD);
	if (r)
		return r;
	if (!flow->is_chunked_out) {
		buffer_put(&flow->out, bytes, len);
		return 0;
	}
	size[--at] = '\n';
	size[--at] = '\r';
	for (u32 rest = len; rest; rest >>= 4)
		size[--at] = digits[rest & 15];
	buffer_put(&flow->out, size + at, sizeof(size) - at);
	buffer_put(&flow->out, bytes, len);
	buffer_put_text(&flow->out, "\r\n");
	return 0;
}

static int put_end(struct thread *thread, struct flow *flow)
{
	int r;

	flow->is_source_done = true;
	if (!flow->is_chunked_out)
		return 0;
	r = buffer_reserve(thread, &flow->out, CHUNK_OVERHEAD);
	if (r)
		return r;
	buffer_put_text(&flow->out, "0\r\n\r\n");
	return 0;
}

/* One step of a chunked body: a byte of framing, or a run of data. Extensions and trailers are checked and dropped. */
static int chunked_step(struct thread *thread, struct flow *flow, const u8 *bytes, u32 len, u32 *used)
{
	u64 before = flow->chunked.data_len;
	size_t consumed;
	u32 run = 1;
	int r;

	/* The first byte says whether we are in data: only then `remaining` counts data. */
	r = weft_chunked_feed(&flow->chunked, bytes, 1, &consumed);
	if (r == WEFT_CHUNKED_BAD)
		return -EBADMSG;
	*used = 1;
	if (r == WEFT_CHUNKED_DONE)
		return put_end(thread, flow);
	if (flow->chunked.data_len == before)
		return 0;
	if (flow->chunked.remaining && len > 1) {
		u32 more = (u32)WEFT_MIN(flow->chunked.remaining, (u64)(len - 1));

		more = WEFT_MIN(more, out_room(flow) - CHUNK_OVERHEAD - 1);
		r = weft_chunked_feed(&flow->chunked, bytes + 1, more, &consumed);
		if (r == WEFT_CHUNKED_BAD)
			return -EBADMSG;
		run += more;
	}
	*used = run;
	return put_payload(thread, flow, bytes, run);
}

int flow_transform(struct thread *thread, struct flow *flow, struct buffer *in, bool is_end, u32 *taken)
{
	int r = 0;

	while (!flow->is_source_done && !r && flow->body != FLOW_NONE && !flow_is_verbatim(flow)) {
		u32 len = buffer_len(in), used = 0;

		if (out_room(flow) <= CHUNK_OVERHEAD + 1)
			return 0;
		if (flow->body == FLOW_LENGTH && !flow->left)
			return put_end(thread, flow);
		if (!len) {
			if (is_end && flow->body == FLOW_UNTIL_CLOSE)
				r = put_end(thread, flow);
			return r;
		}
		if (flow->body == FLOW_CHUNKED) {
			r = chunked_step(thread, flow, buffer_bytes(in), len, &used);
		} else {
			used = WEFT_MIN(len, out_room(flow) - CHUNK_OVERHEAD);
			if (flow->body == FLOW_LENGTH) {
				used = (u32)WEFT_MIN((u64)used, flow->left);
				flow->left -= used;
			}
			r = put_payload(thread, flow, buffer_bytes(in), used);
		}
		*taken += used;
		buffer_consume(thread, in, used);
	}
	return r;
}

bool flow_is_done(const struct flow *flow, const struct buffer *in)
{
	if (buffer_len(&flow->out) || flow->piped)
		return false;
	if (flow_is_verbatim(flow))
		return flow->left == 0;
	return flow->is_source_done || flow->body == FLOW_NONE;
}

u64 flow_pending(const struct flow *flow, const struct buffer *in)
{
	u64 pending = buffer_len(&flow->out) + (u64)flow->piped;

	if (flow_is_verbatim(flow))
		pending += WEFT_MIN((u64)buffer_len(in), flow->left);
	return pending;
}

bool flow_is_whole(const struct flow *flow, const struct buffer *in)
{
	if (flow_is_verbatim(flow))
		return buffer_len(in) >= flow->left;
	return flow->is_source_done || flow->body == FLOW_NONE;
}

bool flow_wants_bytes(const struct flow *flow, const struct buffer *in)
{
	u32 len = buffer_len(in);

	if (flow_is_verbatim(flow))
		return !flow->piped && len < flow->left && len < (flow->is_large ? READ_LARGE : READ_SMALL);
	return flow->body != FLOW_NONE && !flow->is_source_done && out_room(flow) > CHUNK_OVERHEAD + 1 && len < READ_SMALL;
}

bool flow_wants_splice(const struct flow *flow, const struct buffer *in)
{
	/* The pipe is filled only when it is empty: otherwise EAGAIN would not tell which end it means. */
	return flow_is_verbatim(flow) && !flow->is_unspliceable && !flow->piped && flow->left >= SPLICE_MIN && !buffer_len(in) &&
	       !buffer_len(&flow->out);
}

ssize_t flow_splice(struct thread *thread, struct flow *flow, int from)
{
	ssize_t n;

	if (!flow->pipe)
		flow->pipe = pipe_take(thread);
	if (!flow->pipe) {
		flow->is_unspliceable = true;
		return -EINVAL;
	}
	n = splice(from, NULL, flow->pipe->in, NULL, (size_t)WEFT_MIN(flow->left, (u64)PIPE_BYTES), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n > 0) {
		flow->piped += (u32)n;
		flow->left -= (u64)n;
		COUNT_ADD(thread, spliced_bytes, n);
		return n;
	}
	n = n < 0 ? -errno : 0;
	pipe_give(thread, &flow->pipe, true);
	if (n == -EINVAL)
		flow->is_unspliceable = true;
	return n;
}

static ssize_t write_pipe(struct thread *thread, struct flow *flow, int to)
{
	ssize_t n = splice(flow->pipe->out, NULL, to, NULL, flow->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0)
		return -errno;
	flow->piped -= (u32)n;
	if (!flow->piped)
		pipe_give(thread, &flow->pipe, true);
	return n;
}

ssize_t flow_write(struct thread *thread, struct flow *flow, struct buffer *in, int to, u32 *taken)
{
	struct iovec pieces[2];
	struct msghdr message = {.msg_iov = pieces};
	u32 out = buffer_len(&flow->out), from_in = 0;
	ssize_t n;

	if (!out && flow->piped)
		return write_pipe(thread, flow, to);
	if (out)
		pieces[message.msg_iovlen++] = (struct iovec){buffer_bytes(&flow->out), out};
	if (flow_is_verbatim(flow) && !flow->piped)
		from_in = (u32)WEFT_MIN((u64)buffer_len(in), flow->left);
	if (from_in)
		pieces[message.msg_iovlen++] = (struct iovec){buffer_bytes(in), from_in};
	if (!message.msg_iovlen)
		return 0;
	n = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if ((u32)n <= out) {
		buffer_consume(thread, &flow->out, (u32)n);
	} else {
		buffer_consume(thread, &flow->out, out);
		from_in = (u32)n - out;
		buffer_consume(thread, in, from_in);
		flow->left -= from_in;
		*taken += from_in;
	}
	return n;
}
