/* SPDX-License-Identifier: Apache-2.0 */
/* The proxy's own upstream connections: dialled inside the pod's network namespace, kept for the next exchange with the same
 * endpoint, closed when they have been idle for long. They are in no map of the kernel programs, so splice works on them. */
#include "proxy/policies.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static struct upstream *upstream_take(struct thread *thread)
{
	struct upstream *upstream = thread->free_upstreams;

	if (upstream) {
		thread->free_upstreams = upstream->next_dead;
		memset(upstream, 0, sizeof(*upstream));
	} else {
		upstream = calloc(1, sizeof(*upstream));
	}
	if (upstream) {
		upstream->thread = thread;
		upstream->fd = -1;
	}
	return upstream;
}

/* ---- idle ones ----------------------------------------------------------------------------------------------------------- */

static struct group *group_find(struct thread *thread, const struct group_key *key)
{
	struct group *group;

	HASH_FIND(hh, thread->groups, key, sizeof(*key), group);
	return group;
}

static void idle_remove(struct upstream *upstream)
{
	struct thread *thread = upstream->thread;
	struct group *group = group_find(thread, &upstream->key);

	weft_assert(group && group->idle_count);
	if (upstream->group_prev)
		upstream->group_prev->group_next = upstream->group_next;
	else
		group->idle = upstream->group_next;
	if (upstream->group_next)
		upstream->group_next->group_prev = upstream->group_prev;
	if (upstream->idle_prev)
		upstream->idle_prev->idle_next = upstream->idle_next;
	else
		thread->idle_first = upstream->idle_next;
	if (upstream->idle_next)
		upstream->idle_next->idle_prev = upstream->idle_prev;
	else
		thread->idle_last = upstream->idle_prev;
	upstream->group_next = upstream->group_prev = NULL;
	upstream->idle_next = upstream->idle_prev = NULL;
	upstream->idle_since_ms = 0;
	COUNT_ADD(thread, upstreams_idle, -1);
	/* Groups are kept while in use somewhere near: only a sweep frees empty ones. */
	group->idle_count--;
}

static int idle_add(struct upstream *upstream)
{
	struct thread *thread = upstream->thread;
	struct group *group = group_find(thread, &upstream->key);

	if (!group) {
		group = calloc(1, sizeof(*group));
		if (!group)
			return -ENOMEM;
		group->key = upstream->key;
		HASH_ADD(hh, thread->groups, key, sizeof(group->key), group);
		if (!group->hh.tbl) {
			free(group);
			return -ENOMEM;
		}
	}
	if (group->idle_count >= thread->proxy->limits.idle_upstreams_each)
		return -ENOSPC;
	if (thread->stats.upstreams_idle >= thread->proxy->limits.idle_upstreams)
		upstream_close(thread->idle_first);
	upstream->exchange = NULL;
	upstream->is_readable = false;
	pace_upstream_over(upstream);
	upstream->idle_since_ms = now_ms();
	upstream->group_next = group->idle;
	if (group->idle)
		group->idle->group_prev = upstream;
	group->idle = upstream;
	group->idle_count++;
	upstream->idle_prev = thread->idle_last;
	if (thread->idle_last)
		thread->idle_last->idle_next = upstream;
	else
		thread->idle_first = upstream;
	thread->idle_last = upstream;
	COUNT(thread, upstreams_idle);
	return 0;
}

void upstreams_expire(struct thread *thread, u64 now)
{
	struct group *group, *next;

	while (thread->idle_first && now - thread->idle_first->idle_since_ms >= thread->proxy->limits.idle_upstream_ms)
		upstream_close(thread->idle_first);
	HASH_ITER(hh, thread->groups, group, next) {
		if (group->idle_count)
			continue;
		HASH_DEL(thread->groups, group);
		free(group);
	}
}

void upstreams_forget(struct thread *thread, u32 pod_id)
{
	struct upstream *upstream = thread->idle_first, *next;

	for (; upstream; upstream = next) {
		next = upstream->idle_next;
		if (upstream->key.pod_id == pod_id)
			upstream_close(upstream);
	}
}

void upstreams_free(struct thread *thread)
{
	while (thread->idle_first)
		upstream_close(thread->idle_first);
	upstreams_expire(thread, now_ms());
}

/* ---- events ---------------------------------------------------------------------------------------------------------------- */

/* An unused upstream that is readable has ended, or said something unasked: either way it can't be used. */
static bool is_quiet(const struct upstream *upstream)
{
	u8 byte;

	return recv(upstream->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_upstream(evutil_socket_t fd, short what, void *arg)
{
	struct upstream *upstream = arg;
	struct thread *thread = upstream->thread;

	connections_bury(thread);
	if (upstream->fd < 0)
		return;
	if (what & EV_CLOSED)
		upstream->has_hang_up = true;
	if (!upstream->exchange) {
		/* An event of before its last response was read may come late, hence the look. */
		if (what & (EV_READ | EV_CLOSED) && !is_quiet(upstream))
			upstream_close(upstream);
		return;
	}
	if (what & (EV_READ | EV_CLOSED)) {
		upstream->is_readable = true;
		upstream->is_read_short = false;
	}
	if (what & EV_WRITE)
		upstream->is_writable = true;
	if (!upstream->is_connected) {
		int error = 0;
		socklen_t len = sizeof(error);

		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			error = errno;
		if (error) {
			struct exchange *exchange = upstream->exchange;
			struct connection *connection = exchange->connection;

			if (connection->state == CONNECTION_HEAD && !exchange->is_relay)
				probe_close(connection);
			else
				response_fail(exchange, PROXY_REASON_CONNECT_FAILURE);
			connection_drive(connection);
			return;
		}
		upstream->is_connected = true;
	}
	connection_drive(upstream->exchange->connection);
}

static int upstream_register(struct upstream *upstream)
{
	event_assign(&upstream->event, upstream->thread->base, upstream->fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_upstream,
		     upstream);
	if (event_add(&upstream->event, NULL))
		return -ENOMEM;
	upstream->is_registered = true;
	return 0;
}

/* ---- opening and closing ------------------------------------------------------------------------------------------------------ */

void upstream_close(struct upstream *upstream)
{
	struct thread *thread = upstream->thread;

	if (upstream->fd < 0)
		return;
	if (upstream->idle_since_ms)
		idle_remove(upstream);
	if (upstream->is_registered)
		event_del(&upstream->event);
	upstream->is_registered = false;
	if (upstream->is_borrowed) {
		pace_upstream_over(upstream);
	} else {
		close(upstream->fd);
		COUNT_ADD(thread, upstreams, -1);
	}
	upstream->fd = -1;
	upstream->exchange = NULL;
	buffer_release(thread, &upstream->in);
	upstream->next_dead = thread->dead_upstreams;
	thread->dead_upstreams = upstream;
}

void upstream_done(struct upstream *upstream, const struct pod *pod, bool is_reusable)
{
	if (is_reusable && upstream->is_connected && !__atomic_load_n(&pod->is_removed, __ATOMIC_RELAXED) && !upstream->is_borrowed && !upstream->is_ended && !upstream->is_write_failed &&
	    !upstream->has_hang_up && !buffer_len(&upstream->in) && (upstream->is_read_short || is_quiet(upstream)) && !idle_add(upstream))
		return;
	upstream_close(upstream);
}

/* The last used one. A server may have closed it a moment ago, with the event still to come: what rested for any time is looked at, since
 * a request that runs into that race is answered 503 (Envoy: UC) although nobody is at fault. */
static struct upstream *upstream_reuse(struct thread *thread, const struct group_key *key)
{
	struct group *group = group_find(thread, key);
	struct upstream *upstream;

	while (group && group->idle) {
		upstream = group->idle;
		if (now_ms() != upstream->idle_since_ms && !is_quiet(upstream)) {
			upstream_close(upstream);
			continue;
		}
		idle_remove(upstream);
		upstream->is_reused = true;
		upstream->is_writable = true;
		COUNT(thread, upstreams_reused);
		return upstream;
	}
	return NULL;
}

static int upstream_dial(struct exchange *exchange, struct upstream *upstream)
{
	union weft_sockaddr address;
	socklen_t len = weft_sockaddr_fill(&address, &upstream->key.address, (u16)upstream->key.port_be);
	int fd = thread_socket(upstream->thread, exchange->connection->pod, address.any.sa_family), on = 1;

	if (fd < 0)
		return fd;
	upstream->fd = fd;
	COUNT(upstream->thread, upstreams);
	COUNT(upstream->thread, upstreams_opened);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, &address.any, len) == 0)
		upstream->is_connected = true;
	else if (errno != EINPROGRESS)
		return -errno;
	/* On this node the other end has often answered already: the first write tries without waiting for an event. */
	upstream->is_writable = true;
	return upstream_register(upstream);
}

int upstream_open(struct exchange *exchange, const struct weft_endpoint *endpoint)
{
	struct thread *thread = exchange->connection->thread;
	struct group_key key = {exchange->connection->pod->is.pod_id, endpoint->address, endpoint->port_be};
	/* A tunnel begins with the connection: one that carried HTTP is none. */
	bool may_reuse = exchange->connection->state == CONNECTION_EXCHANGE;
	struct upstream *upstream = may_reuse ? upstream_reuse(thread, &key) : NULL;
	int r;

	if (!upstream) {
		upstream = upstream_take(thread);
		if (!upstream)
			return -ENOMEM;
		upstream->key = key;
		r = upstream_dial(exchange, upstream);
		if (r) {
			if (upstream->fd >= 0) {
				upstream_close(upstream);
			} else {
				upstream->next_dead = thread->free_upstreams;
				thread->free_upstreams = upstream;
			}
			return r;
		}
	}
	upstream->exchange = exchange;
	exchange->upstream = upstream;
	return 0;
}

int upstream_borrow(struct exchange *exchange, int fd)
{
	struct upstream *upstream = upstream_take(exchange->connection->thread);
	int r;

	if (!upstream)
		return -ENOMEM;
	upstream->fd = fd;
	upstream->is_borrowed = true;
	upstream->is_connected = true;
	upstream->is_readable = true;
	upstream->exchange = exchange;
	r = upstream_register(upstream);
	if (r) {
		upstream_close(upstream);
		return r;
	}
	exchange->upstream = upstream;
	return 0;
}

/* ---- reading -------------------------------------------------------------------------------------------------------------------- */

static bool read_failed(struct upstream *upstream, ssize_t r)
{
	if (r == -EAGAIN || r == -EINTR) {
		upstream->is_readable = r == -EINTR;
		return false;
	}
	upstream->is_readable = false;
	upstream->is_ended = true;
	upstream->is_reset = r < 0;
	return true;
}

bool upstream_read(struct upstream *upstream)
{
	struct exchange *exchange = upstream->exchange;
	struct thread *thread = upstream->thread;
	struct flow *flow = &exchange->response;
	struct buffer *in = &upstream->in;
	ssize_t n;
	u32 room;

	if (!upstream->is_readable || upstream->is_ended || !upstream->is_connected)
		return false;
	if (flow->is_large && upstream->pace != PACE_WIDE)
		pace_upstream(upstream);
	if (!upstream->is_borrowed && exchange->has_head && flow_wants_splice(flow, in)) {
		if (upstream->pace != PACE_WIDE)
			pace_upstream(upstream);
		upstream->is_read_short = false;
		n = flow_splice(thread, flow, upstream->fd);
		if (n > 0) {
			COUNT_ADD(thread, response_body_bytes, n);
			retry_heard(exchange);
			return true;
		}
		if (n != -EINVAL)
			return read_failed(upstream, n);
	}
	if (exchange->has_head ? !flow_wants_bytes(flow, in) : !buffer_space(in))
		return false;
	if (!buffers_allow(thread, in, true)) {
		connection_wait_for_memory(exchange->connection);
		return false;
	}
	if (buffer_reserve_read(thread, in, flow->is_large)) {
		connection_abort(exchange->connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	room = buffer_room(in);
	weft_assert(room);
	n = recv(upstream->fd, in->block->data + in->end, room, MSG_DONTWAIT);
	if (n <= 0) {
		n = n < 0 ? -errno : 0;
		if (!buffer_len(in))
			buffer_release(thread, in);
		return read_failed(upstream, n);
	}
	in->end += (u32)n;
	upstream->is_read_short = (u32)n < room && !upstream->has_hang_up;
	flow->is_large = (u32)n == room;
	if (exchange->has_head) {
		COUNT_ADD(thread, response_body_bytes, n);
		retry_heard(exchange);
	}
	return true;
}
