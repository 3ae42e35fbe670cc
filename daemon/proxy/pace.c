/* SPDX-License-Identifier: Apache-2.0 */
/* What a stream pins whose reader has stopped: all that the sockets and buffers between it and its sender may hold. Left alone, the kernel
 * fills the client's receive buffer, which is large for what is redirected, and lets the window of an upstream that is read fast grow to
 * tens of megabytes. So both begin small and grow, as TCP's own buffers do, with what the client has read. */
#include "proxy/internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/tcp.h"

/* What may wait at the client unread when the proxy looks, and writes half as much before it looks again. */
#define AHEAD_MIN (64u << 10)
#define AHEAD_MAX (512u << 10)
/* Where nobody tells what it has read: whoever has taken so much by TCP has. */
#define TAKEN_MIN (4u << 20)

/* Nothing tells when a client reads on: a few turns of the loop look again, then a timer, ever more seldom. */
#define LOOK_TURNS 8u
#define LOOK_DOUBLINGS 6u /* from 1 ms */

/* Of what goes out, this may wait beyond what is in flight. */
#define UNSENT_BYTES (128 << 10)

static void set_pace(struct upstream *upstream, u8 pace)
{
	int unsent = UNSENT_BYTES;

	/* Of the pool's, what the kernel sends must fit whole. */
	if (upstream->pace == PACE_NONE && !upstream->is_borrowed)
		(void)setsockopt(upstream->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	upstream->pace = pace;
	tcp_set_window(upstream->fd, pace == PACE_WIDE ? TCP_WINDOW_WIDE : TCP_WINDOW_NARROW);
}

void pace_upstream(struct upstream *upstream)
{
	bool is_wide = upstream->exchange->connection->pace_ahead == AHEAD_MAX;

	if (upstream->pace == PACE_NONE || (upstream->pace == PACE_NARROW && is_wide))
		set_pace(upstream, is_wide ? PACE_WIDE : PACE_NARROW);
}

void pace_upstream_over(struct upstream *upstream)
{
	if (upstream->is_borrowed) {
		/* As the pool had it. */
		if (upstream->pace != PACE_NONE)
			tcp_set_window(upstream->fd, TCP_WINDOW_MESSAGE);
		upstream->pace = PACE_NONE;
	} else if (upstream->pace != PACE_NARROW) {
		/* What was read until now has made its window grow, too. */
		set_pace(upstream, PACE_NARROW);
	}
}

static void look_later(struct connection *connection)
{
	u32 looks = connection->pace_looks++;

	COUNT(connection->thread, paces);
	if (looks < LOOK_TURNS) {
		connection_again(connection);
		return;
	}
	connection->pace_at_ms = now_ms() + (1u << WEFT_MIN(looks - LOOK_TURNS, LOOK_DOUBLINGS));
	connection_timer(connection);
}

bool pace_allows(struct connection *connection)
{
	u32 unread, read, ahead = WEFT_MAX(connection->pace_ahead, AHEAD_MIN);

	if (!connection->is_ordered) {
		if (connection->written - connection->pace_written >= TAKEN_MIN)
			connection->pace_ahead = AHEAD_MAX;
		return true;
	}
	if (connection->written - connection->pace_written < ahead / 2)
		return true;
	if (connection->pace_at_ms > now_ms())
		return false;
	connection->pace_at_ms = 0;
	if (order_unread(connection, &unread))
		return true;
	if (unread > ahead) {
		look_later(connection);
		return false;
	}
	connection->pace_written = connection->written;
	connection->pace_looks = 0;
	/* Whoever has read little may stop after it: what it read last counts for nothing, but how much. */
	read = connection->written - unread;
	if (unread <= ahead / 4 && read - connection->pace_read >= 2 * ahead) {
		connection->pace_ahead = WEFT_MIN(ahead * 2, AHEAD_MAX);
		connection->pace_read = read;
	}
	return true;
}
