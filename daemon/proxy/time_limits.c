/* SPDX-License-Identifier: Apache-2.0 */
/* How long an exchange, or the tunnel that it became, may be silent, and how long it may take in all (Envoy: idle_timeout and max_stream_duration
 * of a route). */
#include "proxy/policies.h"

static struct policies *policies_in(const struct connection *connection)
{
	bool is_open = connection->state == CONNECTION_TUNNEL || (connection->state == CONNECTION_EXCHANGE && !connection->own.is_local && !connection->own.is_cut);

	return is_open ? connection->own.policies : NULL;
}

void time_limits_moved(struct connection *connection)
{
	struct policies *policies = policies_in(connection);

	if (!policies || (!policies->idle_timeout_ms && !policies->ends_at_ms))
		return;
	if (policies->idle_timeout_ms)
		policies->idle_at_ms = now_ms() + policies->idle_timeout_ms;
	connection_timer(connection);
}

u64 time_limits_at(const struct connection *connection)
{
	const struct policies *policies = policies_in(connection);

	if (!policies)
		return 0;
	return policies->idle_at_ms && (!policies->ends_at_ms || policies->idle_at_ms < policies->ends_at_ms) ? policies->idle_at_ms : policies->ends_at_ms;
}

void time_limits_tell(const struct exchange *exchange, struct lines *lines)
{
	const struct name name = name_of_text("grpc-timeout");
	u32 limit_ms = exchange->policies ? exchange->policies->max_duration_ms : 0;
	char text[16];

	if (!limit_ms || !exchange->is_grpc)
		return;
	/* Eight digits at most (gRPC over HTTP/2: Timeout). */
	snprintf(text, sizeof(text), limit_ms > 99999999 ? "%uS" : "%um", limit_ms > 99999999 ? limit_ms / 1000 : limit_ms);
	lines_set(lines, &name, (const u8 *)text, (u32)strlen(text));
}

static void end(struct connection *connection, bool is_late)
{
	struct exchange *exchange = &connection->own;
	bool is_whole = connection->is_request_whole && !exchange->is_upgrade;

	if (connection->state == CONNECTION_TUNNEL) {
		connection_abort(connection, PROXY_REASON_TIMEOUT);
		return;
	}
	if (exchange->has_head) {
		response_fail(exchange, PROXY_REASON_TIMEOUT);
		return;
	}
	exchange_release_upstream(exchange, false);
	/* Envoy: of a request that is not whole, what still comes is thrown away. */
	connection->discards |= !is_whole;
	exchange->closes |= !is_whole;
	if (is_late) { /* DEADLINE_EXCEEDED, for who speaks gRPC */
		exchange->has_grpc_status = true;
		exchange->grpc_status = 4;
	}
	local_reply(exchange, PROXY_REASON_TIMEOUT, is_whole ? 504 : 408, is_late ? "downstream duration timeout" : "stream timeout");
}

/* All of the response is here: the client's reading is no matter of these limits. */
static bool is_answered(const struct exchange *exchange)
{
	return exchange->has_head && exchange->upstream && flow_is_whole(&exchange->response, &exchange->upstream->in);
}

void time_limits_timer(struct connection *connection, u64 now)
{
	struct policies *policies = policies_in(connection);
	bool is_late, is_idle;

	if (!policies)
		return;
	is_late = policies->ends_at_ms && policies->ends_at_ms <= now;
	is_idle = policies->idle_at_ms && policies->idle_at_ms <= now;
	if (!is_late && !is_idle)
		return;
	policies->ends_at_ms = is_late ? 0 : policies->ends_at_ms;
	policies->idle_at_ms = is_idle ? 0 : policies->idle_at_ms;
	if (connection->state == CONNECTION_TUNNEL || !is_answered(&connection->own))
		end(connection, is_late);
}
