/* SPDX-License-Identifier: Apache-2.0 */
#include "base/tcp.h"

#include <linux/tcp.h> /* for tcpi_min_rtt: not in netinet/tcp.h, and the two don't go together */
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static const struct {
	uint32_t min_bytes, max_bytes;
	uint32_t bytes_per_us;
} windows[] = {
	[TCP_WINDOW_NARROW] = { 64u << 10, 64u << 10, 0 },
	[TCP_WINDOW_MESSAGE] = { 128u << 10, 128u << 10, 0 },
	[TCP_WINDOW_FAR_MESSAGE] = { 128u << 10, 256u << 10, 250 },
	[TCP_WINDOW_WIDE] = { 256u << 10, 16u << 20, 1250 },
};

uint32_t tcp_round_trip_us(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ? 0 : info.tcpi_min_rtt;
}

/* Bytes that came, without the FIN, which the kernel numbers and counts as one. */
static int received_bytes(int fd, uint32_t *received)
{
	enum { TIME_WAIT = 6, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	bool has_fin;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	has_fin = info.tcpi_state == TIME_WAIT || info.tcpi_state == CLOSE_WAIT || info.tcpi_state == LAST_ACK || info.tcpi_state == CLOSING;
	*received = (uint32_t)info.tcpi_bytes_received - has_fin;
	return 0;
}

int tcp_taken_bytes(int fd, uint32_t *taken)
{
	uint32_t before, after;
	int unread, r;

	for (int tries = 0; tries < 10; tries++) {
		r = received_bytes(fd, &before);
		if (r)
			return r;
		if (ioctl(fd, SIOCINQ, &unread) < 0)
			return -errno;
		r = received_bytes(fd, &after);
		if (r)
			return r;
		if (before == after) {
			*taken = before - (uint32_t)unread;
			return 0;
		}
	}
	return -EAGAIN;
}

uint32_t tcp_window_bytes(enum tcp_window window, uint32_t round_trip_us)
{
	uint64_t bytes = (uint64_t)round_trip_us * windows[window].bytes_per_us;

	if (bytes < windows[window].min_bytes)
		return windows[window].min_bytes;
	return bytes > windows[window].max_bytes ? windows[window].max_bytes : (uint32_t)bytes;
}

/* What was promised to the sender must find room, else it is dropped and comes again after a time-out of 200 ms: so the buffer never shrinks. The
 * clamp makes the window smaller as bytes are read, until the kernel moves it, having learned how much of the buffer is payload (since 6.7). */
void tcp_set_window(int fd, enum tcp_window window)
{
	int clamp = (int)tcp_window_bytes(window, tcp_round_trip_us(fd)), buffer = 0, bytes;
	socklen_t len = sizeof(buffer);

	/* The kernel doubles what is set, for its own overhead. To set it also ends the kernel's own sizing, which would move the clamp. */
	(void)getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, &len);
	bytes = buffer / 2 > clamp ? buffer / 2 : clamp;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &clamp, sizeof(clamp));
}
