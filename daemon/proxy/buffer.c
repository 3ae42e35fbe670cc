/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that holds bytes in flight: blocks of two sizes and pipes, kept by a thread for the next one who needs them. A
 * connection without bytes in flight holds none. */
#include "proxy/internal.h"

#include <fcntl.h>

/* How many unused blocks a thread keeps: enough for its busy connections, small against their number. */
#define FREE_SMALL_MAX 256u
#define FREE_LARGE_MAX 32u
#define FREE_PIPES_MAX 32u

void buffers_charge(struct thread *thread, const struct pod *pod)
{
	thread->share = pod->is.pod_id % SHARES;
}

static bool has_room(const struct thread *thread, u32 bytes, bool is_response)
{
	const struct proxy *proxy = thread->proxy;
	u64 part = proxy->limits.buffer_bytes_each / proxy->thread_count;

	/* Requests that wait for slow servers leave room for what empties them. */
	return thread->shares[thread->share].buffers_bytes + bytes <= (is_response ? 2 * part : part);
}

bool buffers_allow(const struct thread *thread, const struct buffer *buffer, bool is_response)
{
	return buffer->block || has_room(thread, READ_SMALL, is_response);
}

int memory_take(struct thread *thread, u32 share, u64 bytes)
{
	const struct proxy *proxy = thread->proxy;

	/* What stays until an answer comes must leave room for the bytes that bring the answer. */
	if (thread->shares[share].buffers_bytes + bytes > proxy->limits.buffer_bytes_each / proxy->thread_count / 2 ||
	    thread->stats.buffers_bytes + bytes > proxy->limits.buffer_bytes / proxy->thread_count / 2)
		return -ENOSPC;
	thread->shares[share].buffers_bytes += bytes;
	COUNT_ADD(thread, buffers_bytes, bytes);
	return 0;
}

void memory_give(struct thread *thread, u32 share, u64 bytes)
{
	thread->shares[share].buffers_bytes -= bytes;
	COUNT_ADD(thread, buffers_bytes, -bytes);
}

static struct block *block_take(struct thread *thread, u32 capacity)
{
	struct block **list = capacity == READ_SMALL ? &thread->free_small : &thread->free_large;
	u32 *count = capacity == READ_SMALL ? &thread->free_small_count : &thread->free_large_count;
	struct block *block = *list;

	if (thread->stats.buffers_bytes + capacity > thread->proxy->limits.buffer_bytes / thread->proxy->thread_count)
		return NULL;
	if (block) {
		*list = block->next;
		(*count)--;
	} else {
		block = malloc(sizeof(*block) + capacity + BLOCK_SLACK);
		if (!block)
			return NULL;
		block->capacity = capacity;
		memset(block->data + capacity, 0, BLOCK_SLACK);
	}
	block->share = thread->share;
	thread->shares[block->share].buffers_bytes += capacity;
	COUNT_ADD(thread, buffers_bytes, capacity);
	return block;
}

static void block_give(struct thread *thread, struct block *block)
{
	bool is_small = block->capacity == READ_SMALL;
	struct block **list = is_small ? &thread->free_small : &thread->free_large;
	u32 *count = is_small ? &thread->free_small_count : &thread->free_large_count;

	COUNT_ADD(thread, buffers_bytes, -(u64)block->capacity);
	thread->shares[block->share].buffers_bytes -= block->capacity;
	if (*count >= (is_small ? FREE_SMALL_MAX : FREE_LARGE_MAX)) {
		free(block);
		return;
	}
	block->next = *list;
	*list = block;
	(*count)++;
}

u32 buffer_space(const struct buffer *buffer)
{
	return READ_LARGE - buffer_len(buffer);
}

int buffer_reserve(struct thread *thread, struct buffer *buffer, u32 bytes)
{
	u32 len = buffer_len(buffer), capacity;
	struct block *block;

	if (buffer->block && buffer_room(buffer) >= bytes)
		return 0;
	if (bytes > READ_LARGE - len)
		return -ENOSPC;
	if (buffer->block && buffer->block->capacity - len >= bytes) {
		memmove(buffer->block->data, buffer_bytes(buffer), len);
		buffer->begin = 0;
		buffer->end = len;
		return 0;
	}
	capacity = len + bytes <= READ_SMALL ? READ_SMALL : READ_LARGE;
	block = block_take(thread, capacity);
	if (!block)
		return -ENOMEM;
	if (buffer->block) {
		memcpy(block->data, buffer_bytes(buffer), len);
		block_give(thread, buffer->block);
	}
	buffer->block = block;
	buffer->begin = 0;
	buffer->end = len;
	return 0;
}

int buffer_reserve_read(struct thread *thread, struct buffer *buffer, bool is_large)
{
	u32 space = buffer_space(buffer), half = WEFT_MIN(READ_SMALL, space) / 2;

	/* Half a byte is one: a read into no room would look like the end of the stream. */
	return buffer_reserve(thread, buffer, is_large ? space : half ? half : space);
}

int buffer_reserve_body(struct thread *thread, struct buffer *buffer, bool is_large)
{
	u32 room;

	if (has_room(thread, READ_LARGE, false))
		return buffer_reserve_read(thread, buffer, is_large);
	if (!buffer->block)
		return buffer_reserve_read(thread, buffer, false);
	room = buffer->block->capacity - buffer_len(buffer);
	return room ? buffer_reserve(thread, buffer, room) : -EAGAIN;
}

void buffer_consume(struct thread *thread, struct buffer *buffer, u32 bytes)
{
	weft_assert(bytes <= buffer_len(buffer));
	buffer->begin += bytes;
	if (buffer->begin == buffer->end)
		buffer_release(thread, buffer);
}

void buffer_release(struct thread *thread, struct buffer *buffer)
{
	if (buffer->block)
		block_give(thread, buffer->block);
	*buffer = (struct buffer){0};
}

void buffer_put_number(struct buffer *buffer, u64 number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	buffer_put(buffer, digits + at, sizeof(digits) - at);
}

struct splice_pipe *pipe_take(struct thread *thread)
{
	struct splice_pipe *pipe = thread->free_pipes;
	int ends[2];

	if (thread->shares[thread->share].pipes >= thread->proxy->limits.splice_pipes_each)
		return NULL;
	if (pipe) {
		thread->free_pipes = pipe->next;
		pipe->share = thread->share;
		thread->shares[pipe->share].pipes++;
		return pipe;
	}
	if (thread->pipe_count >= thread->proxy->limits.splice_pipes)
		return NULL;
	pipe = calloc(1, sizeof(*pipe));
	if (!pipe)
		return NULL;
	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	/* Fewer, larger moves; a pipe that stays small works as well. */
	(void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
	pipe->out = ends[0];
	pipe->in = ends[1];
	pipe->share = thread->share;
	thread->shares[pipe->share].pipes++;
	thread->pipe_count++;
	return pipe;
}

static void pipe_close(struct thread *thread, struct splice_pipe *pipe)
{
	close(pipe->in);
	close(pipe->out);
	free(pipe);
	thread->pipe_count--;
}

void pipe_give(struct thread *thread, struct splice_pipe **pipe, bool is_empty)
{
	struct splice_pipe *given = TAKE_PTR(*pipe);

	if (!given)
		return;
	thread->shares[given->share].pipes--;
	if (!is_empty || thread->pipe_count > FREE_PIPES_MAX) {
		pipe_close(thread, given);
		return;
	}
	given->next = thread->free_pipes;
	thread->free_pipes = given;
}

static void blocks_free(struct block **list)
{
	while (*list) {
		struct block *block = *list;

		*list = block->next;
		free(block);
	}
}

void buffers_free(struct thread *thread)
{
	blocks_free(&thread->free_small);
	blocks_free(&thread->free_large);
	while (thread->free_pipes) {
		struct splice_pipe *pipe = thread->free_pipes;

		thread->free_pipes = pipe->next;
		pipe_close(thread, pipe);
	}
}
