/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tcp.h"

#include <linux/tcp.h> /* for tcpi_min_rtt: not in netinet/tcp.h, and the two don't go together */
#include <netinet/in.h>
#include <sys/socket.h>

static const struct {
	uint32_t min_bytes, max_bytes;
	uint32_t bytes_per_us;
} windows[] = {
	[TCP_WINDOW_NARROW] = { 64u << 10, 256u << 10, 250 },
	[TCP_WINDOW_MESSAGE] = { 128u << 10, 256u << 10, 250 },
	[TCP_WINDOW_WIDE] = { 256u << 10, 16u << 20, 1250 },
};

uint32_t tcp_round_trip_us(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? 0 : info.tcpi_min_rtt;
}

uint32_t tcp_window_bytes(enum tcp_window window, uint32_t round_trip_us)
{
	uint64_t bytes = (uint64_t)round_trip_us * windows[window].bytes_per_us;

	if (bytes < windows[window].min_bytes)
		return windows[window].min_bytes;
	return bytes > windows[window].max_bytes ? windows[window].max_bytes : (uint32_t)bytes;
}

void tcp_set_window(int fd, enum tcp_window window)
{
	int bytes = (int)tcp_window_bytes(window, tcp_round_trip_us(fd));

	/* The kernel doubles it for its own overhead, and has the clamp follow only where it sizes the buffer itself. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes));
}
