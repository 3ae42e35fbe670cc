/* SPDX-License-Identifier: Apache-2.0 */
/* A captured connection: its socket (the anchor), its turn in the loop, its timer, and the ways it ends. */
#include "proxy/policies.h"

#include <poll.h>
#include <sys/socket.h>

/* ---- the next worker's view (keeper/table.h, is_busy) ----------------------------------------------------------------------- */

void connection_set_busy(struct connection *connection, enum connection_busy busy)
{
	if (connection->entry && __atomic_load_n(&connection->entry->is_busy, __ATOMIC_RELAXED) != busy)
		__atomic_store_n(&connection->entry->is_busy, busy, __ATOMIC_RELEASE);
}

static void store_counters(struct connection *connection)
{
	if (!connection->entry)
		return;
	__atomic_store_n(&connection->entry->consumed, connection->consumed, __ATOMIC_RELAXED);
	__atomic_store_n(&connection->entry->written, connection->written, __ATOMIC_RELAXED);
}

/* ---- events -------------------------------------------------------------------------------------------------------------------- */

static void on_anchor(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;

	connections_bury(connection->thread);
	if (what & (EV_READ | EV_CLOSED)) {
		connection->is_readable = true;
		connection->is_read_short = false;
	}
	if (what & EV_WRITE)
		connection->is_writable = true;
	if (what & EV_CLOSED)
		connection->has_hang_up = true;
	else if (what & EV_READ && what & EV_WRITE)
		connection->may_be_reset = true; /* libevent tells of EPOLLERR so */
	connection_drive(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	struct exchange *own = &connection->own;
	u64 now = now_ms();

	connections_bury(connection->thread);
	connection->timer_at_ms = 0;
	if (connection->pace_at_ms <= now)
		connection->pace_at_ms = 0;
	if (connection->memory_at_ms <= now)
		connection->memory_at_ms = 0;
	if (connection->state == CONNECTION_EXCHANGE && own->connect_deadline_ms && own->connect_deadline_ms <= now) {
		own->connect_deadline_ms = 0;
		if (own->upstream && !own->upstream->is_connected)
			response_fail(own, PROXY_REASON_CONNECT_TIMEOUT);
	}
	if (connection->state == CONNECTION_EXCHANGE && own->deadline_ms && own->deadline_ms <= now) {
		own->deadline_ms = 0;
		if (!own->is_local)
			response_fail(own, PROXY_REASON_TIMEOUT);
	}
	if (connection->state == CONNECTION_EXCHANGE)
		retry_timer(own, now);
	time_limits_timer(connection, now);
	if (connection->relay && connection->relay->exchange.deadline_ms && connection->relay->exchange.deadline_ms <= now) {
		connection->relay->exchange.deadline_ms = 0;
		response_fail(&connection->relay->exchange, PROXY_REASON_TIMEOUT);
	}
	if (connection->state == CONNECTION_TUNNEL && own->connect_deadline_ms && own->connect_deadline_ms <= now) {
		own->connect_deadline_ms = 0;
		if (own->upstream && !own->upstream->is_connected)
			connection_abort(connection, PROXY_REASON_CONNECT_TIMEOUT);
	}
	if (connection->state == CONNECTION_LINGER && connection->finish_at_ms <= now)
		connection_close(connection);
	first_timer(connection, now);
	connection_drive(connection);
	connection_timer(connection);
}

static u64 earlier(u64 at, u64 other)
{
	return other && (!at || other < at) ? other : at;
}

/* The timer is armed for the first deadline and left alone while later ones come and go: most exchanges never touch it. */
void connection_timer(struct connection *connection)
{
	u64 at = 0, now;
	struct timeval delay;

	if (connection->state == CONNECTION_DEAD)
		return;
	if (connection->state == CONNECTION_EXCHANGE || connection->state == CONNECTION_TUNNEL) {
		at = earlier(at, connection->own.deadline_ms);
		at = earlier(at, retry_at(&connection->own));
		at = earlier(at, time_limits_at(connection));
		if (connection->own.upstream && !connection->own.upstream->is_connected)
			at = earlier(at, connection->own.connect_deadline_ms);
	}
	if (connection->state == CONNECTION_HEAD) {
		at = earlier(at, connection->silence_at_ms);
		at = earlier(at, connection->delayed_until_ms);
	}
	if (connection->relay)
		at = earlier(at, connection->relay->exchange.deadline_ms);
	at = earlier(at, connection->finish_at_ms);
	at = earlier(at, connection->pace_at_ms);
	at = earlier(at, connection->memory_at_ms);
	if (!at && !connection->is_held && connection->state != CONNECTION_FINISH)
		return;
	now = now_ms();
	if (connection->is_held || connection->state == CONNECTION_FINISH)
		at = earlier(at, now + ORDER_POLL_MS);
	if (connection->timer_at_ms && connection->timer_at_ms <= at)
		return;
	connection->timer_at_ms = at;
	at = at > now ? at - now : 0;
	delay = (struct timeval){.tv_sec = (time_t)(at / 1000), .tv_usec = (suseconds_t)(at % 1000) * 1000};
	event_add(&connection->timer, &delay);
}

/* ---- beginning and end -------------------------------------------------------------------------------------------------------------- */

int connection_new(struct thread *thread, struct pod *pod, int fd, const struct weft_connection *record, u64 cookie,
		   struct table_entry *entry, struct connection **out)
{
	struct connection *connection = thread->free_connections;

	if (connection) {
		thread->free_connections = connection->next_dead;
		memset(connection, 0, sizeof(*connection));
	} else {
		connection = calloc(1, sizeof(*connection));
		if (!connection)
			return -ENOMEM;
	}
	event_assign(&connection->event, thread->base, fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_anchor, connection);
	evtimer_assign(&connection->timer, thread->base, on_timer, connection);
	if (event_add(&connection->event, NULL)) {
		connection->next_dead = thread->free_connections;
		thread->free_connections = connection;
		return -ENOMEM;
	}
	connection->thread = thread;
	connection->pod = pod_get(pod);
	connection->entry = entry;
	connection->fd = fd;
	connection->cookie = cookie;
	connection->captured_ns = record->captured_ns;
	connection->original = record->original;
	connection->original_port_be = record->original_port_be;
	connection->client_port_be = record->local_port_be;
	connection->is_first = true;
	connection->is_readable = true;
	connection->is_writable = true;
	connection->is_ordered = __atomic_load_n(&thread->proxy->is_fast_path_on, __ATOMIC_RELAXED);
	connection->may_kernel_run = connection->is_ordered;
	connection->own.connection = connection;
	connection->next = thread->connections;
	if (connection->next)
		connection->next->prev = connection;
	thread->connections = connection;
	__atomic_fetch_add(&thread->proxy->connection_count, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&pod->connection_count, 1, __ATOMIC_RELAXED);
	COUNT(thread, connections);
	if (connection->is_ordered)
		registry_add(connection);
	*out = connection;
	return 0;
}

void connections_bury(struct thread *thread)
{
	while (thread->dead_connections) {
		struct connection *connection = thread->dead_connections;

		thread->dead_connections = connection->next_dead;
		connection->next_dead = thread->free_connections;
		thread->free_connections = connection;
	}
	while (thread->dead_upstreams) {
		struct upstream *upstream = thread->dead_upstreams;

		thread->dead_upstreams = upstream->next_dead;
		upstream->next_dead = thread->free_upstreams;
		thread->free_upstreams = upstream;
	}
}

static void ready_remove(struct connection *connection)
{
	struct thread *thread = connection->thread;
	struct connection **at = &thread->ready_first;

	if (!connection->is_ready)
		return;
	while (*at && *at != connection)
		at = &(*at)->next_ready;
	*at = connection->next_ready;
	if (thread->ready_tail == &connection->next_ready)
		thread->ready_tail = at;
	connection->is_ready = false;
}

void connection_close(struct connection *connection)
{
	struct thread *thread = connection->thread;

	if (connection->state == CONNECTION_DEAD)
		return;
	if (connection->relay) {
		order_end_relay(connection->relay);
		relay_end(connection->relay, false);
	}
	account_end(&connection->own);
	exchange_release_upstream(&connection->own, false);
	free(TAKE_PTR(connection->own.set_cookie));
	edited_free(&connection->own.edited);
	policies_free(&connection->own.policies);
	connection->state = CONNECTION_DEAD;
	ready_remove(connection);
	flow_release(thread, &connection->request);
	flow_release(thread, &connection->own.response);
	buffer_release(thread, &connection->in);
	if (connection->is_registered)
		registry_remove(connection);
	event_del(&connection->event);
	if (connection->timer_at_ms)
		event_del(&connection->timer);
	if (connection->entry)
		table_release(thread->proxy->table, TAKE_PTR(connection->entry));
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	if (connection->next)
		connection->next->prev = connection->prev;
	if (connection->prev)
		connection->prev->next = connection->next;
	else
		thread->connections = connection->next;
	__atomic_fetch_sub(&connection->pod->connection_count, 1, __ATOMIC_RELAXED);
	pod_put(TAKE_PTR(connection->pod));
	__atomic_fetch_sub(&thread->proxy->connection_count, 1, __ATOMIC_RELAXED);
	COUNT_ADD(thread, connections, -1);
	connection->next_dead = thread->dead_connections;
	thread->dead_connections = connection;
}

/* Between two requests, with no byte of it here and nobody's word on the way: another weftd may have it. */
static bool may_leave(const struct connection *connection)
{
	return connection->thread->is_leaving && connection->state == CONNECTION_HEAD && !connection->relay && !connection->is_ended &&
	       !connection->mail_count && !buffer_len(&connection->in);
}

static void leave(struct connection *connection)
{
	struct proxy *proxy = connection->thread->proxy;
	struct table_entry *entry = connection->entry;

	if (connection->own.upstream)
		probe_close(connection);
	if (!entry) {
		/* The table was full: nobody can be told of it. */
		connection_finish(connection);
		return;
	}
	store_counters(connection);
	connection_set_busy(connection, BUSY_IDLE);
	event_del(&connection->event);
	connection->entry = NULL;
	connection->fd = -1;
	/* First: with the last connection the process may end. */
	proxy->let_go(proxy->let_go_arg, entry);
	connection_close(connection);
}

static bool has_unread_bytes(const struct connection *connection)
{
	u8 byte;

	return recv(connection->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* The FIN may go: now, and for a while what the client still sends is read, because closing over unread bytes would reset the
 * connection and could cost the client its response. */
static void finish_now(struct connection *connection)
{
	struct exchange *own = &connection->own;
	bool is_clean = own->closes && connection->is_request_whole && !buffer_len(&connection->in) && !connection->discards &&
			!has_unread_bytes(connection);

	exchange_release_upstream(own, false);
	flow_release(connection->thread, &connection->request);
	flow_release(connection->thread, &own->response);
	buffer_release(connection->thread, &connection->in);
	if (connection->is_ended || is_clean || shutdown(connection->fd, SHUT_WR) < 0) {
		connection_close(connection);
		return;
	}
	connection->state = CONNECTION_LINGER;
	connection->is_readable = true;
	connection->finish_at_ms = now_ms() + LINGER_MS;
	connection_timer(connection);
}

void connection_finish(struct connection *connection)
{
	u64 open_exchange, now;
	bool is_request_open;

	if (connection->state == CONNECTION_DEAD || connection->state == CONNECTION_LINGER)
		return;
	if (order_may_finish(connection, &open_exchange, &is_request_open)) {
		finish_now(connection);
		return;
	}
	now = now_ms();
	if (connection->state != CONNECTION_FINISH) {
		connection->state = CONNECTION_FINISH;
		/* Half a request will never be answered: there is nothing to wait for. */
		connection->finish_at_ms = is_request_open && connection->is_ended ? now : now + ORDER_EOF_WAIT_MS;
	} else if (now >= connection->finish_at_ms) {
		struct proxy *proxy = connection->thread->proxy;

		/* Envoy takes a half-close for a disconnect and cancels the request; the kernel's exchange got its grace. */
		if (open_exchange && proxy->client_gone)
			proxy->client_gone(proxy->client_gone_arg, connection->cookie, open_exchange);
		connection->is_ended = true;
		finish_now(connection);
		return;
	}
	connection_timer(connection);
}

void connection_abort(struct connection *connection, enum proxy_reason reason)
{
	if (connection->state == CONNECTION_DEAD)
		return;
	COUNT(connection->thread, reasons[reason]);
	connection_close(connection);
}

/* ---- exchanges on it ------------------------------------------------------------------------------------------------------------------ */

void exchange_begin(struct exchange *exchange, struct connection *connection)
{
	struct account account = {0};

	weft_assert(!exchange->upstream && !exchange->response.out.block);
	free(exchange->set_cookie);
	edited_free(&exchange->edited);
	policies_free(&exchange->policies);
	account.start_ns = connection->was_delayed ? exchange->account.start_ns : 0;
	memset(exchange, 0, sizeof(*exchange));
	exchange->connection = connection;
	exchange->account = account;
	account_begin(exchange);
}

/* Bytes of the request that the upstream never took. */
static void drop_request_rest(struct connection *connection)
{
	struct flow *request = &connection->request;
	u32 rest = 0;

	if (flow_is_verbatim(request) && connection->is_request_whole)
		rest = (u32)request->left;
	if (rest) {
		connection_took(connection, rest);
		buffer_consume(connection->thread, &connection->in, rest);
	}
	flow_release(connection->thread, request);
}

void exchange_over(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	bool ends = exchange->closes || exchange->is_cut;

	exchange->account.is_complete = true;
	if (exchange->is_relay) {
		struct relay *relay = connection->relay;
		bool is_reusable = exchange->is_reusable && !exchange->is_cut && !relay->is.request_remaining &&
				   !(exchange->upstream && (buffer_len(&exchange->upstream->in) || exchange->upstream->is_ended ||
							    exchange->upstream->has_hang_up));

		order_end_relay(relay);
		relay_end(relay, is_reusable);
		store_counters(connection);
		if (connection->state == CONNECTION_HEAD && !buffer_len(&connection->in))
			connection_set_busy(connection, BUSY_IDLE);
	} else {
		bool is_sent = flow_is_done(&connection->request, &connection->in) && !resend_pending(exchange);

		ends = ends || !connection->is_request_whole;
		exchange_release_upstream(exchange, exchange->is_reusable && is_sent && !exchange->is_cut);
		flow_release(connection->thread, &exchange->response);
		edited_free(&exchange->edited);
		policies_free(&exchange->policies);
		drop_request_rest(connection);
		account_end(exchange);
		if (!ends) {
			connection->state = CONNECTION_HEAD;
			store_counters(connection);
			if (!buffer_len(&connection->in))
				connection_set_busy(connection, BUSY_IDLE);
		}
	}
	if (ends)
		connection_finish(connection);
}

/* ---- steps -------------------------------------------------------------------------------------------------------------------------------- */

/* EPIPE: the end of the stream. */
static bool anchor_failed(struct connection *connection, int error)
{
	if (error == EAGAIN) {
		connection->is_readable = false;
		return false;
	}
	if (error == EINTR)
		return true;
	if (error != EPIPE && connection->state == CONNECTION_TUNNEL) {
		connection_abort(connection, PROXY_REASON_CLIENT_GONE);
		return false;
	}
	connection->is_ended = true;
	connection->is_readable = false;
	return true;
}

static bool anchor_discard(struct connection *connection)
{
	ssize_t n;

	if (!connection->is_readable)
		return false;
	n = recv(connection->fd, connection->thread->scratch, SCRATCH_BYTES, MSG_DONTWAIT | MSG_TRUNC);
	if (n > 0)
		return true;
	if (n < 0 && errno == EAGAIN) {
		connection->is_readable = false;
		return false;
	}
	connection_close(connection);
	return false;
}

/* How much the next read of the anchor may take; 0: not now. */
static bool anchor_wants(struct connection *connection)
{
	if (connection->state == CONNECTION_HEAD)
		/* A relay answers an earlier request: what comes meanwhile waits in the socket. */
		return !connection->relay && buffer_space(&connection->in) && (!connection->thread->is_leaving || buffer_len(&connection->in));
	if (connection->state == CONNECTION_TUNNEL)
		return flow_wants_bytes(&connection->request, &connection->in);
	return connection->state == CONNECTION_EXCHANGE && !connection->is_request_whole && !connection->discards &&
	       flow_wants_bytes(&connection->request, &connection->in);
}

static bool anchor_splice(struct connection *connection)
{
	struct thread *thread = connection->thread;
	ssize_t n = flow_splice(thread, &connection->request, connection->fd);

	connection->is_read_short = false;
	if (n > 0) {
		connection_took(connection, (u32)n);
		COUNT_ADD(thread, request_body_bytes, n);
		return true;
	}
	return n == -EINVAL ? true : anchor_failed(connection, n ? (int)-n : EPIPE);
}

void connection_wait_for_memory(struct connection *connection)
{
	if (connection->memory_at_ms)
		return;
	COUNT(connection->thread, memory_waits);
	connection->memory_at_ms = now_ms() + MEMORY_WAIT_MS;
	connection_timer(connection);
}

bool anchor_read(struct connection *connection)
{
	struct thread *thread = connection->thread;
	struct buffer *in = &connection->in;
	bool is_body = (connection->state == CONNECTION_EXCHANGE && !connection->is_request_whole && !connection->discards) ||
		       connection->state == CONNECTION_TUNNEL;
	bool was_empty = !buffer_len(in), is_large = is_body && connection->request.is_large;
	ssize_t n;
	u32 room;
	int r;

	if (connection->state == CONNECTION_LINGER)
		return anchor_discard(connection);
	if (!connection->is_readable || connection->is_ended)
		return false;
	if (is_body && flow_wants_splice(&connection->request, in))
		return anchor_splice(connection);
	if (!anchor_wants(connection))
		return false;
	if (!buffers_allow(thread, in, false)) {
		connection_wait_for_memory(connection);
		return false;
	}
	r = is_body ? buffer_reserve_body(thread, in, is_large) : buffer_reserve_read(thread, in, is_large);
	if (r == -EAGAIN) {
		connection_wait_for_memory(connection);
		return false;
	}
	if (r) {
		connection_abort(connection, PROXY_REASON_NO_MEMORY);
		return false;
	}
	if (connection->state == CONNECTION_HEAD && was_empty) {
		store_counters(connection);
		connection_set_busy(connection, BUSY_READING);
	}
	room = buffer_room(in);
	weft_assert(room);
	n = recv(connection->fd, in->block->data + in->end, room, MSG_DONTWAIT);
	if (n <= 0) {
		if (was_empty) {
			buffer_release(thread, in);
			if (connection->state == CONNECTION_HEAD)
				connection_set_busy(connection, BUSY_IDLE);
		}
		return anchor_failed(connection, n < 0 ? errno : EPIPE);
	}
	in->end += (u32)n;
	if (connection->state == CONNECTION_HEAD && was_empty)
		connection_set_busy(connection, BUSY_UNANSWERED);
	if (is_body) {
		connection->request.is_large = (u32)n == room;
		COUNT_ADD(thread, request_body_bytes, n);
	}
	/* All that the last edge announced was read; a FIN that came with it was announced too. */
	connection->is_read_short = (u32)n < room && !connection->has_hang_up;
	return true;
}

static bool anchor_write(struct connection *connection)
{
	struct exchange *exchange = connection->relay ? &connection->relay->exchange : &connection->own;
	struct buffer none = {0}, *in;
	u64 pending;
	u32 taken = 0;
	ssize_t n;

	if (!connection->relay && connection->state != CONNECTION_EXCHANGE)
		return false;
	in = exchange->upstream ? &exchange->upstream->in : &none;
	pending = flow_pending(&exchange->response, in);
	if (pending) {
		bool is_last = exchange->has_head && !exchange->is_cut && flow_is_whole(&exchange->response, in);

		if (!connection->is_writable || !pace_allows(connection))
			return false;
		connection->is_held = false;
		if (order_before_write(exchange, is_last, (u32)pending) == ORDER_HOLD) {
			connection->is_held = true;
			connection_timer(connection);
			return false;
		}
		connection_set_busy(connection, BUSY_ANSWERED);
		n = flow_write(connection->thread, &exchange->response, in, connection->fd, &taken);
		if (n == -EAGAIN || n == -EINTR) {
			connection->is_writable = n == -EINTR;
			return n == -EINTR;
		}
		if (n < 0) {
			connection->is_ended = true;
			connection_abort(connection, PROXY_REASON_CLIENT_GONE);
			return false;
		}
		exchange->is_begun = true;
		connection->written += (u32)n;
		exchange->account.response_bytes += (u64)n;
		if (flow_pending(&exchange->response, in))
			return true;
	}
	if (exchange->is_cut || (exchange->has_head && flow_is_done(&exchange->response, in))) {
		if (exchange->is_switching && !exchange->is_cut)
			tunnel_begin(connection);
		else
			exchange_over(exchange);
		return true;
	}
	return pending > 0;
}

/* The client closed its side. Envoy takes that for a disconnect, so an exchange that is not answered yet is not answered any more. */
static void client_ended(struct connection *connection)
{
	switch (connection->state) {
	case CONNECTION_HEAD:
		if (connection->relay)
			connection_abort(connection, PROXY_REASON_CLIENT_GONE);
		else
			connection_finish(connection);
		return;
	case CONNECTION_EXCHANGE:
		connection_abort(connection, PROXY_REASON_CLIENT_GONE);
		return;
	default:
		return;
	}
}

/* Was the client's connection reset? Asked only while nothing is read, which would tell: a reset, other than a FIN, ends what is still to
 * be read, too. It may have come in the very event whose bytes were read, and which were then all that was looked for. */
static bool is_reset_unread(struct connection *connection)
{
	struct pollfd anchor = {.fd = connection->fd};
	bool is_waiting = connection->relay || connection->state == CONNECTION_EXCHANGE || connection->state == CONNECTION_TUNNEL;
	bool may_be_reset = connection->may_be_reset;

	connection->may_be_reset = false;
	return may_be_reset && is_waiting && (connection->is_readable || connection->is_read_short) && poll(&anchor, 1, 0) > 0 && anchor.revents & POLLERR;
}

static void drive_exchange(struct exchange *exchange, bool *moved)
{
	if (exchange->upstream)
		*moved |= upstream_read(exchange->upstream);
	if (exchange->upstream)
		*moved |= response_advance(exchange);
}

static bool connection_step(struct connection *connection)
{
	bool moved = false;

	if (connection->state == CONNECTION_TUNNEL)
		return tunnel_advance(connection);
	moved |= anchor_read(connection);
	if (connection->state == CONNECTION_HEAD || connection->state == CONNECTION_EXCHANGE)
		moved |= request_advance(connection);
	if (connection->state == CONNECTION_EXCHANGE && connection->own.upstream)
		moved |= request_write(connection);
	if (connection->relay)
		drive_exchange(&connection->relay->exchange, &moved);
	if (connection->state == CONNECTION_EXCHANGE)
		drive_exchange(&connection->own, &moved);
	if (connection->state != CONNECTION_DEAD)
		moved |= anchor_write(connection);
	return moved;
}

void connection_again(struct connection *connection)
{
	struct thread *thread = connection->thread;

	if (connection->is_ready || connection->state == CONNECTION_DEAD)
		return;
	connection->is_ready = true;
	connection->next_ready = NULL;
	*thread->ready_tail = connection;
	thread->ready_tail = &connection->next_ready;
	event_active(&thread->ready, EV_READ, 0);
}

void connection_drive(struct connection *connection)
{
	if (connection->is_driven || connection->state == CONNECTION_DEAD)
		return;
	connection->is_driven = true;
	buffers_charge(connection->thread, connection->pod);
	/* A reply that is held stands behind one of the kernel's. */
	connection->replies_queued = connection->is_held && connection->own.is_local && !connection->own.is_of_upstream ? REPLIES_QUEUED_MAX : 0;
	if (connection->state == CONNECTION_FINISH)
		connection_finish(connection);
	for (int round = 0; connection->state != CONNECTION_DEAD && connection_step(connection); round++) {
		time_limits_moved(connection);
		if (round < DRIVE_ROUNDS)
			continue;
		connection_again(connection);
		break;
	}
	connection->is_driven = false;
	if (connection->state == CONNECTION_DEAD || connection->is_ready)
		return;
	if (is_reset_unread(connection)) {
		connection_abort(connection, PROXY_REASON_CLIENT_GONE);
		return;
	}
	if (may_leave(connection)) {
		leave(connection);
		return;
	}
	if (connection->is_ended ||
	    (connection->has_hang_up && connection->is_request_whole && connection->state == CONNECTION_EXCHANGE) ||
	    (connection->has_hang_up && connection->relay))
		client_ended(connection);
}
