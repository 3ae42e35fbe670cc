/* SPDX-License-Identifier: Apache-2.0 */
/* The order of bytes between the kernel programs and the proxy on one client connection (abi.h, struct weft_connection_command).
 *
 * - The first bytes of a response go out only when no kernel exchange is open and nothing that the kernel redirected is still on its way.
 * - Before the last bytes, the proxy publishes what it took and wrote. From then on the kernel may carry the next request: it does so
 *   when the client's own counters say the same, that is when the client has read all of it.
 * - A FIN goes out only when nothing that the kernel redirected is still on its way.
 * - An exchange whose response is relayed ends, for the kernel, with that publication.
 *
 * Publishing too little is safe, since counters that disagree keep the connection with the proxy; so nothing is published while
 * bytes of a further request wait here, and nothing at all on listeners that the kernel does not serve. */
#include "proxy/internal.h"

int order_ask(struct connection *connection, struct weft_connection_command *command)
{
	const struct proxy_backend *backend = &connection->thread->proxy->backend;

	command->cookie = connection->cookie;
	command->captured_ns = connection->captured_ns;
	return backend->connection_command(backend->arg, command);
}

static int command_run(struct connection *connection, struct weft_connection_command *command)
{
	int r = order_ask(connection, command);

	if (r) {
		log_err(r, "connection command failed; the connection stays with the proxy");
		connection->is_ordered = false;
		return r;
	}
	if (!(command->answer & WEFT_ANSWER_FOUND)) {
		/* The client socket is gone: there is nobody left to order bytes for. */
		connection->is_ordered = false;
		return -ENOENT;
	}
	return 0;
}

static bool can_publish(const struct exchange *exchange)
{
	const struct connection *connection = exchange->connection;

	if (exchange->closes || exchange->is_cut || connection->discards || connection->has_hang_up || connection->is_ended ||
	    buffer_len(&connection->in) || connection->thread->is_draining)
		return false;
	if (exchange->is_relay)
		return connection->state == CONNECTION_HEAD && connection->is_kernel_listener;
	return connection->is_request_whole && !connection->relay && connection->is_kernel_listener &&
	       flow_is_done(&connection->request, &connection->in);
}

static u64 relay_exchange(const struct relay *relay)
{
	return WEFT_EXCHANGE(relay->is.slot, relay->is.lease);
}

enum order order_before_write(struct exchange *exchange, bool is_last, u32 pending)
{
	struct connection *connection = exchange->connection;
	struct weft_connection_command command = {0};
	bool asks;

	if (!connection->is_ordered)
		return ORDER_GO;
	asks = !exchange->is_begun && !exchange->is_relay && connection->may_kernel_run;
	if (asks)
		command.commands |= WEFT_COMMAND_WAIT;
	if (is_last && exchange->is_relay && !exchange->is_ended) {
		struct relay *relay = (struct relay *)exchange;

		command.commands |= WEFT_COMMAND_END_EXCHANGE;
		command.exchange = relay_exchange(relay);
	}
	if (is_last && !exchange->is_published && can_publish(exchange)) {
		command.commands |= WEFT_COMMAND_PUBLISH;
		command.proxy_consumed = connection->consumed;
		command.proxy_written = connection->written + pending;
	}
	if (!command.commands)
		return ORDER_GO;
	if (command_run(connection, &command))
		return ORDER_GO;
#ifdef WEFT_WITHOUT_PROXY_WAITS /* for the tests that show what this guard is for */
	asks = false;
#endif
	if (asks && (command.answer & (WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_UNDELIVERED))) {
		/* What was published says what will be true once the response is out; until then the counters disagree. */
		COUNT(connection->thread, waits);
		return ORDER_HOLD;
	}
	if (asks)
		connection->may_kernel_run = false;
	if (command.commands & WEFT_COMMAND_END_EXCHANGE)
		exchange->is_ended = true;
	if (command.commands & WEFT_COMMAND_PUBLISH) {
		exchange->is_published = true;
		connection->may_kernel_run = true;
		COUNT(connection->thread, published);
	}
	return ORDER_GO;
}

bool order_may_finish(struct connection *connection, u64 *open_exchange, bool *is_request_open)
{
	struct weft_connection_command command = {.commands = WEFT_COMMAND_WAIT};

	*open_exchange = 0;
	*is_request_open = false;
	if (!connection->is_ordered || !connection->may_kernel_run)
		return true;
	if (command_run(connection, &command))
		return true;
	*open_exchange = command.open_exchange;
	*is_request_open = command.answer & WEFT_ANSWER_REQUEST_OPEN;
#ifdef WEFT_WITHOUT_FIN_LAST /* likewise */
	return true;
#endif
	return !(command.answer & (WEFT_ANSWER_EXCHANGE_OPEN | WEFT_ANSWER_UNDELIVERED));
}

int order_unread(struct connection *connection, u32 *unread)
{
	struct weft_connection_command command = {0};
	int r = command_run(connection, &command);

	if (r == 0)
		*unread = command.unread_bytes;
	return r;
}

void order_end_relay(struct relay *relay)
{
	struct connection *connection = relay->exchange.connection;
	struct weft_connection_command command = {
		.commands = WEFT_COMMAND_END_EXCHANGE,
		.exchange = relay_exchange(relay),
	};

	/* Until its connection is closed, a client whose answer was cut may send the next request: the answer would stand behind what came. */
	if (relay->exchange.is_cut || relay->exchange.closes)
		command.commands |= WEFT_COMMAND_PROXY_ONLY;
	if (!connection->is_ordered || relay->exchange.is_ended)
		return;
	relay->exchange.is_ended = true;
	(void)command_run(connection, &command);
}
