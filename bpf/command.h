/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the worker asks of a connection, in one call: publish what the proxy took and wrote, end a relayed exchange, and say whether
 * redirected bytes are still on their way. */
#ifndef WEFT_BPF_COMMAND_H
#define WEFT_BPF_COMMAND_H

#include "delivered.h"
#include "drained.h"
#include "exchange.h"
#include "maps.h"

static __always_inline void connection_command(struct weft_connection_command *command)
{
	struct weft_connection *connection;
	struct socket_queues queues;
	u64 cookie = command->cookie, exchange;
	u32 answer, commands = command->commands;

	command->answer = 0;
	command->open_exchange = 0;
	command->drawn = 0;
	command->picked = 0;
	command->unread_bytes = 0;
	connection = bpf_map_lookup_elem(&connections, &cookie);
	if (!connection)
		return;
	if (command->captured_ns && command->captured_ns != connection->captured_ns) {
		command->answer = WEFT_ANSWER_REUSED;
		return;
	}
	answer = WEFT_ANSWER_FOUND;
	if (commands & WEFT_COMMAND_PROXY_ONLY)
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_PROXY_ONLY);
	if (commands & (WEFT_COMMAND_END_EXCHANGE | WEFT_COMMAND_COUNT_OWED)) {
		u32 slot = WEFT_EXCHANGE_SLOT(command->exchange);
		struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);

		/* Body bytes that still come must not be read as a new request. What has gone out, and not what was to: the worker goes by it
		 * too when it decides whether the upstream can be used again. */
		if (upstream && upstream->client_cookie == cookie && WEFT_LEASE(upstream->state) == WEFT_EXCHANGE_LEASE(command->exchange)) {
			if (upstream->path == WEFT_PATH_REMOTE)
				upstream->request_remaining = request_owed(upstream);
			if (upstream->request_remaining)
				__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_PROXY_ONLY | WEFT_CONNECTION_BODY_REST);
		}
		if (commands & WEFT_COMMAND_END_EXCHANGE)
			__sync_val_compare_and_swap(&connection->exchange, command->exchange, 0);
	}
	if (commands & WEFT_COMMAND_PUBLISH) {
		connection->proxy_consumed = command->proxy_consumed;
		connection->proxy_written = command->proxy_written;
	}
	if (commands & WEFT_COMMAND_TAKE_CHOICE) {
		command->drawn = __sync_lock_test_and_set(&connection->drawn, 0);
		command->picked = __sync_lock_test_and_set(&connection->picked, 0);
	}
	/* The wish first, then the look: an exchange that ends in between finds the wish and sends the event. */
	if (commands & WEFT_COMMAND_WAIT)
		__sync_fetch_and_or(&connection->flags, WEFT_CONNECTION_WAITED_FOR);
	if (*(volatile u32 *)&connection->flags & WEFT_CONNECTION_BODY_REST)
		answer |= WEFT_ANSWER_BODY_REST;
	exchange = *(volatile u64 *)&connection->exchange;
	if (exchange) {
		u32 slot = WEFT_EXCHANGE_SLOT(exchange);
		struct weft_upstream *upstream = bpf_map_lookup_elem(&upstreams, &slot);

		answer |= WEFT_ANSWER_EXCHANGE_OPEN;
		if (upstream && upstream->client_cookie == cookie && request_owed(upstream))
			answer |= WEFT_ANSWER_REQUEST_OPEN;
		command->open_exchange = exchange;
	} else if (commands & WEFT_COMMAND_WAIT) {
		__sync_fetch_and_and(&connection->flags, ~WEFT_CONNECTION_WAITED_FOR);
	}
	socket_queues_read(connection->sock, cookie, QUEUES_ARRIVED, &queues);
	if (queues.is_known) {
		if (queues.undelivered || !delivery_is_proven(connection, cookie, false, 0))
			answer |= WEFT_ANSWER_UNDELIVERED;
		if (queues.has_messages)
			answer |= WEFT_ANSWER_UNREAD;
		command->unread_bytes = queues.unread;
	}
	command->answer = answer;
}

/* On a copy: the compiler likes to keep the address of a field, which the verifier refuses of a context. */
SEC("syscall")
int weft_connection_command(struct weft_connection_command *command)
{
	struct weft_connection_command copy = *command;

	connection_command(&copy);
	*command = copy;
	return 0;
}

#endif
