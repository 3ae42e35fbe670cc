/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel hands over: responses it passed to the worker, and exchanges that failed. The sender names a client by its socket's
 * cookie; the registry knows which thread has its anchor, and keeps the message for a while if none has it yet. */
#include "proxy/internal.h"

/* ---- the registry ------------------------------------------------------------------------------------------------------- */

void registry_add(struct connection *connection)
{
	struct proxy *proxy = connection->thread->proxy;
	struct message *due = NULL, **at;

	pthread_mutex_lock(&proxy->lock);
	HASH_ADD(hh, proxy->registry, cookie, sizeof(connection->cookie), connection);
	connection->is_registered = connection->hh.tbl != NULL;
	for (at = &proxy->waiting; *at;) {
		struct message *message = *at;

		if (message->cookie != connection->cookie) {
			at = &message->next;
			continue;
		}
		*at = message->next;
		__atomic_fetch_sub(&proxy->waiting_count, 1, __ATOMIC_RELAXED);
		message->next = due;
		due = message;
	}
	pthread_mutex_unlock(&proxy->lock);
	while (due) {
		struct message *message = due;

		due = message->next;
		message->was_waiting = true;
		connection->mail_count++;
		thread_post(connection->thread, message);
	}
}

void registry_remove(struct connection *connection)
{
	struct proxy *proxy = connection->thread->proxy;

	pthread_mutex_lock(&proxy->lock);
	HASH_DEL(proxy->registry, connection);
	pthread_mutex_unlock(&proxy->lock);
	connection->is_registered = false;
}

static struct connection *registry_find(struct proxy *proxy, u64 cookie)
{
	struct connection *connection;

	HASH_FIND(hh, proxy->registry, &cookie, sizeof(cookie), connection);
	return connection;
}

/* To the thread of the client's anchor, or to those who wait for it. */
static void post_by_cookie(struct proxy *proxy, struct message *message, u64 cookie, bool waits)
{
	struct connection *connection;
	struct thread *thread = &proxy->threads[0];

	message->cookie = cookie;
	message->was_waiting = false; /* it may have been, for another */
	pthread_mutex_lock(&proxy->lock);
	connection = registry_find(proxy, cookie);
	if (connection) {
		thread = connection->thread;
	} else if (waits) {
		message->expires_ms = now_ms() + RELAY_WAIT_MS;
		message->next = proxy->waiting;
		proxy->waiting = message;
		__atomic_fetch_add(&proxy->waiting_count, 1, __ATOMIC_RELAXED);
		thread = NULL;
	}
	pthread_mutex_unlock(&proxy->lock);
	if (thread)
		thread_post(thread, message);
}

/* Nobody came for them: they run without a connection and end. */
void registry_expire(struct proxy *proxy, struct thread *thread, u64 now)
{
	struct message *due = NULL, **at;

	if (!__atomic_load_n(&proxy->waiting_count, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&proxy->lock);
	for (at = &proxy->waiting; *at;) {
		struct message *message = *at;

		if (message->expires_ms > now) {
			at = &message->next;
			continue;
		}
		*at = message->next;
		__atomic_fetch_sub(&proxy->waiting_count, 1, __ATOMIC_RELAXED);
		message->next = due;
		due = message;
	}
	pthread_mutex_unlock(&proxy->lock);
	while (due) {
		struct message *message = due;

		due = message->next;
		message->run(thread, message);
	}
}

/* Nobody has accepted the connection, or it is closed already. A listener may pause for long, for want of descriptors; then the client waits for what
 * nobody else would tell it. */
static bool is_awaited_yet(struct thread *thread, u64 cookie, u64 exchange)
{
	const struct proxy_backend *backend = &thread->proxy->backend;
	struct weft_connection_command question = {.cookie = cookie};

	return !thread->is_stopping && !backend->connection_command(backend->arg, &question) && question.open_exchange == exchange;
}

/* The connection of a message, if it is still there; it is this thread's own, so it stays while the message runs. */
static struct connection *target(struct thread *thread, const struct message *message)
{
	struct connection *connection;

	pthread_mutex_lock(&thread->proxy->lock);
	connection = registry_find(thread->proxy, message->cookie);
	pthread_mutex_unlock(&thread->proxy->lock);
	if (!connection || connection->thread != thread || connection->state == CONNECTION_DEAD)
		return NULL;
	if (message->was_waiting)
		connection->mail_count--;
	return connection;
}

/* ---- relays ----------------------------------------------------------------------------------------------------------------- */

struct relay_message {
	struct message message;
	struct proxy_relay relay;
};

static struct relay *relay_new(struct connection *connection, const struct proxy_relay *is)
{
	struct thread *thread = connection->thread;
	struct relay *relay = thread->free_relays;

	if (relay) {
		thread->free_relays = relay->next;
		memset(relay, 0, sizeof(*relay));
	} else {
		relay = calloc(1, sizeof(*relay));
		if (!relay)
			return NULL;
	}
	relay->is = *is;
	relay->exchange.connection = connection;
	relay->exchange.is_relay = true;
	relay->exchange.method = is->method;
	relay->exchange.cluster_id = is->cluster_id;
	relay->exchange.endpoint_id = is->endpoint_id;
	relay->exchange.account.start_ns = is->start_ns;
	relay->exchange.account.request_bytes = is->request_bytes;
	connection->relay = relay;
	connection->is_kernel_listener = true;
	if (is->request_remaining || connection->discards) {
		/* What still comes of the request is no request; the connection ends with the response. */
		connection->discards = true;
		relay->exchange.closes = true;
	}
	/* The next worker must not take this connection for an idle one. */
	if (connection->entry && !connection->entry->is_busy)
		connection_set_busy(connection, BUSY_UNANSWERED);
	return relay;
}

void relay_end(struct relay *relay, bool is_reusable)
{
	struct connection *connection = relay->exchange.connection;
	struct thread *thread = connection->thread;
	struct upstream *upstream = TAKE_PTR(relay->exchange.upstream);
	struct proxy_relay is = relay->is;

	account_end(&relay->exchange);
	if (upstream)
		upstream_close(upstream);
	flow_release(thread, &relay->exchange.response);
	connection->relay = NULL;
	relay->next = thread->free_relays;
	thread->free_relays = relay;
	if (is.done)
		is.done(is.arg, is.slot, is.lease, is_reusable);
}

static void orphan(struct thread *thread, const struct proxy_relay *relay)
{
	COUNT(thread, relays_orphaned);
	if (relay->done)
		relay->done(relay->arg, relay->slot, relay->lease, false);
}

/* One kernel exchange at a time is open on a connection, so a relay that is still here has ended for the kernel, but not yet for a slow
 * client. Its rest is lost only if the client could ask again before it had read, which it can't: this is a fault, so cut. */
static bool is_free_for_relay(struct connection *connection)
{
	if (!connection->relay)
		return connection->state == CONNECTION_HEAD || connection->state == CONNECTION_EXCHANGE || connection->state == CONNECTION_FINISH;
	log_error("a response was passed for a client that is being sent another one; its connection is closed");
	connection_close(connection);
	return false;
}

/* Does the client of this connection still wait for the exchange? A socket that was disconnected and connected again has its cookie still: the
 * present connection is then not found by it any more, and `message` is put back for the later one. `is_request_open`, unless NULL: does the program still send
 * its request? */
enum awaited { AWAITED, AWAITED_BY_NOBODY, AWAITED_BY_ANOTHER };

static enum awaited is_awaited(struct connection *connection, u64 exchange, struct message *message, bool *is_request_open)
{
	struct weft_connection_command question = {0};

	if (!connection->is_ordered || order_ask(connection, &question))
		return AWAITED;
	if (is_request_open)
		*is_request_open = question.answer & WEFT_ANSWER_REQUEST_OPEN;
	if (question.answer & WEFT_ANSWER_REUSED && connection->is_registered) {
		registry_remove(connection);
		post_by_cookie(connection->thread->proxy, message, message->cookie, true);
		return AWAITED_BY_ANOTHER;
	}
	return question.open_exchange == exchange ? AWAITED : AWAITED_BY_NOBODY;
}

bool relay_is_early(struct relay *relay)
{
	struct weft_connection_command question = {0};

	if (relay->may_be_open)
		relay->may_be_open = !order_ask(relay->exchange.connection, &question) && question.answer & WEFT_ANSWER_REQUEST_OPEN;
	return relay->may_be_open || relay->is.request_remaining;
}

/* Its upstream is not kept for so long; the client has had nothing of the response. */
static void fail_unaccepted(struct thread *thread, const struct proxy_relay *relay)
{
	const struct proxy_local_error error = {
		.client_cookie = relay->client_cookie,
		.slot = relay->slot,
		.lease = relay->lease,
		.status = 503,
		.method = relay->method,
		.endpoint_id = relay->endpoint_id,
		.cluster_id = relay->cluster_id,
		.start_ns = relay->start_ns,
		.request_bytes = relay->request_bytes,
		.request_remaining = relay->request_remaining,
	};

	if (is_awaited_yet(thread, relay->client_cookie, WEFT_EXCHANGE(relay->slot, relay->lease)) && proxy_local_error(thread->proxy, &error))
		log_warning("a response stays without a client, and its client without an answer");
}

static void run_relay(struct thread *thread, struct message *message)
{
	struct relay_message *own = (struct relay_message *)message;
	struct connection *connection = target(thread, message);
	bool is_request_open = false;
	enum awaited awaited = connection ? is_awaited(connection, WEFT_EXCHANGE(own->relay.slot, own->relay.lease), message, &is_request_open) : AWAITED_BY_NOBODY;
	struct relay *relay = NULL;
	u64 now = now_ms();

	if (awaited == AWAITED_BY_ANOTHER)
		return;
	COUNT(thread, relays);
	if (awaited == AWAITED && is_free_for_relay(connection))
		relay = relay_new(connection, &own->relay);
	if (!relay) {
		if (!connection)
			fail_unaccepted(thread, &own->relay);
		orphan(thread, &own->relay);
	} else if (upstream_borrow(&relay->exchange, own->relay.fd)) {
		connection_close(connection);
	} else {
		relay->may_be_open = is_request_open;
		if (own->relay.deadline_ns)
			relay->exchange.deadline_ms = own->relay.deadline_ns / 1000000 > now ? own->relay.deadline_ns / 1000000 : now;
		connection_timer(connection);
		connection_drive(connection);
	}
	free(own);
}

int proxy_relay(struct proxy *proxy, const struct proxy_relay *relay)
{
	struct relay_message *message = calloc(1, sizeof(*message));

	if (!message)
		return -ENOMEM;
	message->message.run = run_relay;
	message->relay = *relay;
	post_by_cookie(proxy, &message->message, relay->client_cookie, true);
	return 0;
}

void proxy_unaccepted(struct proxy *proxy, void (*take)(void *arg, uint32_t slot, uint32_t lease), void *arg)
{
	struct message *waiting, *next;

	pthread_mutex_lock(&proxy->lock);
	waiting = proxy->waiting;
	proxy->waiting = NULL;
	__atomic_store_n(&proxy->waiting_count, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&proxy->lock);
	for (struct message *message = waiting; message; message = next) {
		const struct relay_message *own = (const struct relay_message *)message;

		next = message->next;
		/* Errors have no upstream any more: whoever follows finds exchanges that no slot knows of. */
		if (message->run == run_relay)
			take(arg, own->relay.slot, own->relay.lease);
		free(message);
	}
}

/* ---- failed exchanges of the kernel's --------------------------------------------------------------------------------------------- */

struct error_message {
	struct message message;
	struct proxy_local_error error;
};

static const char *error_body(u16 status)
{
	return status == 504 ? "upstream request timeout" :
			       "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
}

static void run_error(struct thread *thread, struct message *message)
{
	struct error_message *own = (struct error_message *)message;
	const struct proxy_local_error *error = &own->error;
	struct connection *connection = target(thread, message);
	const struct proxy_relay is = {
		.client_cookie = error->client_cookie,
		.fd = -1,
		.slot = error->slot,
		.lease = error->lease,
		.method = error->method,
		.request_remaining = error->request_remaining,
		.endpoint_id = error->endpoint_id,
		.cluster_id = error->cluster_id,
		.start_ns = error->start_ns,
		.request_bytes = error->request_bytes,
	};
	enum awaited awaited = connection ? is_awaited(connection, WEFT_EXCHANGE(error->slot, error->lease), message, NULL) : AWAITED_BY_NOBODY;
	struct relay *relay = NULL;

	if (awaited == AWAITED_BY_ANOTHER)
		return;
	if (!connection && is_awaited_yet(thread, error->client_cookie, WEFT_EXCHANGE(error->slot, error->lease))) {
		post_by_cookie(thread->proxy, message, error->client_cookie, true);
		return;
	}
	/* Else it was answered otherwise, as after a worker that died. */
	if (awaited == AWAITED && is_free_for_relay(connection))
		relay = relay_new(connection, &is);
	if (relay) {
		COUNT(thread, reasons[PROXY_REASON_KERNEL_ERROR]);
		if (error->status) {
			local_reply(&relay->exchange, PROXY_REASON_KERNEL_ERROR, error->status, error_body(error->status));
		} else {
			relay->exchange.has_head = true;
			relay->exchange.is_cut = true;
			relay->exchange.status = error->cut_status;
			account_reason(&relay->exchange, PROXY_REASON_CUT_IN_BODY, error->cut_status);
		}
		connection_drive(connection);
	}
	free(own);
}

int proxy_local_error(struct proxy *proxy, const struct proxy_local_error *error)
{
	struct error_message *message = calloc(1, sizeof(*message));

	if (!message)
		return -ENOMEM;
	message->message.run = run_error;
	message->error = *error;
	post_by_cookie(proxy, &message->message, error->client_cookie, true);
	return 0;
}

/* ---- the end of a kernel exchange --------------------------------------------------------------------------------------------------- */

static void run_exchange_over(struct thread *thread, struct message *message)
{
	struct connection *connection = target(thread, message);

	/* What waits for it looks again. */
	if (connection)
		connection_drive(connection);
	free(message);
}

void proxy_exchange_over(struct proxy *proxy, uint64_t client_cookie)
{
	struct message *message = calloc(1, sizeof(*message));

	/* Without memory the poll finds it. */
	if (!message)
		return;
	message->run = run_exchange_over;
	post_by_cookie(proxy, message, client_cookie, false);
}
