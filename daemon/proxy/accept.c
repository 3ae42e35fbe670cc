/* SPDX-License-Identifier: Apache-2.0 */
/* Where connections come from: the pods' loopback listeners, and the anchors of a worker that died. */
#include "base/acceptor.h"
#include "base/tcp.h"
#include "proxy/internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Accepts nothing for a moment when descriptors ran out, or the pod has as many connections as it may: the listener stays readable, and the loop would
 * spin. Who waits in its queue meanwhile is served a little later, where a closed connection would be an error that nobody but weft made. */
#define ACCEPT_PAUSE_MS 10
/* The kernel doubles it. */
#define ANCHOR_BUFFER_BYTES (256 << 10)

static struct table_entry *name_anchor(struct thread *thread, const struct pod *pod, int fd, u64 cookie, const union weft_sockaddr *peer)
{
	struct table *table = thread->proxy->table;
	struct table_entry *entry = table ? table_take(table, fd) : NULL;

	if (!entry)
		return NULL;
	entry->cookie = cookie;
	entry->pod_id = pod->is.pod_id;
	entry->is_busy = 0;
	entry->consumed = 0;
	entry->written = 0;
	entry->peer = weft_sockaddr_address(peer);
	entry->peer_port_be = weft_sockaddr_port_be(peer);
	table_publish(entry, TABLE_ANCHOR);
	return entry;
}

static void anchor_accepted(struct thread *thread, struct pod *pod, int fd, const union weft_sockaddr *peer)
{
	const struct weft_address address = weft_sockaddr_address(peer);
	struct proxy *proxy = thread->proxy;
	struct weft_connection record = {0};
	struct connection *connection;
	struct table_entry *entry;
	u64 cookie = 0;
	int r;

	COUNT(thread, connections_accepted);
	r = proxy->backend.connection_find(proxy->backend.arg, pod->is.netns_cookie, &address, weft_sockaddr_port_be(peer), &cookie, &record);
	if (r) {
		COUNT(thread, connections_unknown);
		close(fd);
		return;
	}
	entry = name_anchor(thread, pod, fd, cookie, peer);
	r = connection_new(thread, pod, fd, &record, cookie, entry, &connection);
	if (r) {
		COUNT(thread, reasons[PROXY_REASON_NO_MEMORY]);
		if (entry)
			table_release(proxy->table, entry);
		close(fd);
		return;
	}
	connection->client_port_be = weft_sockaddr_port_be(peer);
	connection_drive(connection);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;

	event_add(&listener->event, NULL);
}

static void pause_listener(struct listener *listener)
{
	static const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};

	event_del(&listener->event);
	event_add(&listener->pause, &pause);
}

static bool is_full(const struct listener *listener)
{
	const struct proxy *proxy = listener->thread->proxy;

	return __atomic_load_n(&proxy->connection_count, __ATOMIC_RELAXED) >= proxy->limits.connections ||
	       __atomic_load_n(&listener->pod->connection_count, __ATOMIC_RELAXED) >= proxy->limits.connections_each;
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
	struct listener *listener = arg;
	struct thread *thread = listener->thread;

	connections_bury(thread);
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		union weft_sockaddr peer = {0};
		socklen_t len = sizeof(peer);
		int accepted;

		if (is_full(listener)) {
			COUNT(thread, accept_pauses);
			pause_listener(listener);
			return;
		}
		accepted = accept4(fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (accepted < 0) {
			if (accept_is_short(errno)) {
				pause_listener(listener);
			} else if (errno == ECONNABORTED || errno == EINTR) {
				continue;
			}
			return;
		}
		anchor_accepted(thread, listener->pod, accepted, &peer);
	}
}

static int listen_at(struct thread *thread, struct pod *pod, int fd)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	int on = 1, bytes = ANCHOR_BUFFER_BYTES;

	if (!listener)
		return -ENOMEM;
	/* Accepted sockets inherit them. The anchor's leg is within the pod: it needs no large buffers, and what a client that stalls
	 * pins stays near what plain TCP would. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	listener->thread = thread;
	listener->pod = pod_get(pod);
	event_assign(&listener->event, thread->base, fd, EV_READ | EV_PERSIST, on_listener, listener);
	evtimer_assign(&listener->pause, thread->base, on_pause_over, listener);
	if (event_add(&listener->event, NULL)) {
		pod_put(listener->pod);
		free(listener);
		return -ENOMEM;
	}
	listener->next = thread->listeners;
	thread->listeners = listener;
	return 0;
}

int listener_add(struct thread *thread, struct pod *pod)
{
	int r = 0;

	for (int i = 0; !r && i < WEFT_FAMILIES; i++)
		if (pod->is.listener_fds[i] >= 0)
			r = listen_at(thread, pod, pod->is.listener_fds[i]);
	return r;
}

void listener_remove(struct thread *thread, u32 pod_id)
{
	struct listener **at = &thread->listeners;

	while (*at) {
		struct listener *listener = *at;

		if (pod_id && listener->pod->is.pod_id != pod_id) {
			at = &listener->next;
			continue;
		}
		*at = listener->next;
		event_del(&listener->event);
		event_del(&listener->pause);
		upstreams_forget(thread, listener->pod->is.pod_id);
		if (thread->netns_cookie == listener->pod->is.netns_cookie)
			thread_go_home(thread);
		pod_put(listener->pod);
		free(listener);
	}
}

/* An exchange that the dead worker had begun: an error if the client has seen nothing of its answer, else the end. */
static void adopt_busy(struct connection *connection, u32 busy)
{
	struct exchange *exchange = &connection->own;

	if (busy == BUSY_ANSWERED) {
		COUNT(connection->thread, reasons[PROXY_REASON_ADOPTED_ERROR]);
		connection_finish(connection);
		return;
	}
	exchange_begin(exchange, connection);
	connection->state = CONNECTION_EXCHANGE;
	connection->discards = true;
	exchange->closes = true;
	local_reply(exchange, PROXY_REASON_ADOPTED_ERROR, 503,
		    "upstream connect error or disconnect/reset before headers. reset reason: local connection failure");
}

/* Did the dead worker take bytes of a request that it had not begun to serve? An error in place of an answer that nobody asked for would be
 * taken for that of the next request. */
static bool has_taken(const struct table_entry *entry)
{
	u32 taken;

	return tcp_taken_bytes(entry->fd, &taken) || taken != entry->consumed;
}

void anchor_adopt(struct thread *thread, struct pod *pod, struct table_entry *entry)
{
	struct proxy *proxy = thread->proxy;
	struct weft_connection record = {0};
	struct connection *connection;
	u32 busy = entry->is_busy;
	u64 cookie = 0;
	int fd = entry->fd;

	if (proxy->backend.connection_find(proxy->backend.arg, pod->is.netns_cookie, &entry->peer, entry->peer_port_be, &cookie, &record) ||
	    cookie != entry->cookie || connection_new(thread, pod, fd, &record, cookie, entry, &connection)) {
		/* The client is gone. */
		COUNT(thread, connections_unknown);
		table_release(proxy->table, entry);
		close(fd);
		return;
	}
	COUNT(thread, connections_adopted);
	connection->client_port_be = entry->peer_port_be;
	connection->consumed = entry->consumed;
	connection->written = entry->written;
	connection->is_first = !record.kernel_exchanges && !connection->consumed && !connection->written;
	if (busy == BUSY_READING) {
		busy = has_taken(entry) ? BUSY_UNANSWERED : BUSY_IDLE;
		connection_set_busy(connection, busy);
	}
	if (busy)
		adopt_busy(connection, busy);
	connection_drive(connection);
}
