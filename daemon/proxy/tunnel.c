/* SPDX-License-Identifier: Apache-2.0 */
/* Tunnels: bytes both ways as they come, spliced where the kernel can, each side's FIN passed on when what came before it is out. For
 * connections that are not HTTP, and for what follows a 101. */
#include "proxy/internal.h"

#include <sys/socket.h>

/* Both directions run until their end. */
static void flows_begin(struct connection *connection)
{
	flow_release(connection->thread, &connection->request);
	flow_release(connection->thread, &connection->own.response);
	connection->request.body = FLOW_LENGTH;
	connection->request.left = UINT64_MAX;
	connection->own.response.body = FLOW_LENGTH;
	connection->own.response.left = UINT64_MAX;
	connection->own.has_head = true;
	connection->own.deadline_ms = 0;
	connection->state = CONNECTION_TUNNEL;
	connection->is_readable = true;
	connection->is_first = false;
	/* From the first byte of either side on: another server would not know it. */
	connection_set_busy(connection, BUSY_ANSWERED);
	COUNT(connection->thread, tunnels);
}

void tunnel_begin(struct connection *connection)
{
	weft_assert(connection->own.upstream);
	flows_begin(connection);
	connection->own.upstream->is_readable = true;
}

void tunnel_open(struct connection *connection, weft_ref choice, u32 flags)
{
	struct exchange *exchange = &connection->own;

	exchange_begin(exchange, connection);
	exchange->account.is_tunnel = true;
	flows_begin(connection);
	exchange_hash_source(exchange, flags);
	if (choose_cluster(connection, choice, &exchange->cluster_id))
		connection_abort(connection, PROXY_REASON_NO_CLUSTER);
	else
		choose_upstream(exchange);
	account_tunnel(exchange);
	connection_timer(connection);
}

void tunnel_to_original(struct connection *connection)
{
	const struct weft_endpoint original = {.address = connection->original, .port_be = connection->original_port_be};
	struct exchange *exchange = &connection->own;

	exchange_begin(exchange, connection);
	exchange->account.is_tunnel = true;
	flows_begin(connection);
	if (upstream_open(exchange, &original))
		connection_abort(connection, PROXY_REASON_CONNECT_FAILURE);
	else
		exchange->connect_deadline_ms = now_ms() + CONNECT_TIMEOUT_DEFAULT_MS;
	account_tunnel(exchange);
	connection_timer(connection);
}

static bool write_upstream(struct connection *connection)
{
	struct upstream *upstream = connection->own.upstream;
	u32 taken = 0;
	ssize_t n;

	if (!upstream->is_writable || !upstream->is_connected || !flow_pending(&connection->request, &connection->in))
		return false;
	if (upstream->pace == PACE_NONE && flow_is_stream(&connection->request))
		pace_upstream(upstream);
	n = flow_write(connection->thread, &connection->request, &connection->in, upstream->fd, &taken);
	connection_took(connection, taken);
	if (n > 0)
		return true;
	if (n == -EAGAIN || n == 0)
		upstream->is_writable = false;
	else if (n != -EINTR)
		connection_close(connection);
	return n == -EINTR;
}

static bool write_client(struct connection *connection)
{
	struct flow *flow = &connection->own.response;
	struct upstream *upstream = connection->own.upstream;
	u32 taken = 0;
	ssize_t n;

	if (!connection->is_writable || !flow_pending(flow, &upstream->in) || !pace_allows(connection))
		return false;
	n = flow_write(connection->thread, flow, &upstream->in, connection->fd, &taken);
	if (n > 0) {
		connection->written += (u32)n;
		connection->own.account.response_bytes += (u64)n;
		return true;
	}
	if (n == -EAGAIN || n == 0)
		connection->is_writable = false;
	else if (n != -EINTR)
		connection_close(connection);
	return n == -EINTR;
}

/* Passes on the ends that are due. True: one was, or the tunnel is over. */
static bool pass_ends(struct connection *connection)
{
	struct upstream *upstream = connection->own.upstream;
	bool moved = false;

	if (connection->is_ended && !connection->shuts_upstream && upstream->is_connected &&
	    !flow_pending(&connection->request, &connection->in)) {
		connection->shuts_upstream = true;
		(void)shutdown(upstream->fd, SHUT_WR);
		moved = true;
	}
	if (upstream->is_ended && !connection->shuts_client && !flow_pending(&connection->own.response, &upstream->in)) {
		connection->shuts_client = true;
		(void)shutdown(connection->fd, SHUT_WR);
		moved = true;
	}
	if (upstream->is_reset && connection->shuts_client) {
		connection_close(connection);
		return true;
	}
	if (connection->shuts_upstream && connection->shuts_client) {
		connection_close(connection);
		return true;
	}
	return moved;
}

bool tunnel_advance(struct connection *connection)
{
	bool moved = false;

	if (!connection->own.upstream) {
		connection_close(connection);
		return false;
	}
	moved |= anchor_read(connection);
	if (connection->state == CONNECTION_TUNNEL)
		moved |= write_upstream(connection);
	if (connection->state == CONNECTION_TUNNEL)
		moved |= upstream_read(connection->own.upstream);
	if (connection->state == CONNECTION_TUNNEL)
		moved |= write_client(connection);
	if (connection->state == CONNECTION_TUNNEL)
		moved |= pass_ends(connection);
	return moved && connection->state == CONNECTION_TUNNEL;
}
