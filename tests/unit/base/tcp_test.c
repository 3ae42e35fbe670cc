/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/tcp.h"

static void test_a_window_is_what_the_distance_needs_within_bounds(void **state)
{
	/* The first of a connection says nothing of the distance. */
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_NARROW, 20000), 64 << 10);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_MESSAGE, 20000), 128 << 10);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_FAR_MESSAGE, 50), 128 << 10);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_FAR_MESSAGE, 800), 200000);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_FAR_MESSAGE, 20000), 256 << 10);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_WIDE, 0), 256 << 10);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_WIDE, 1000), 1250000);
	assert_int_equal(tcp_window_bytes(TCP_WINDOW_WIDE, UINT32_MAX), 16 << 20);
}

/* How much a sender gets rid of while nobody reads. */
static size_t sent_unread(int from)
{
	static char bytes[65536];
	size_t sent = 0;

	for (int quiet = 0; quiet < 20; quiet++) {
		ssize_t n;

		while ((n = send(from, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
			sent += (size_t)n;
			quiet = 0;
		}
		usleep(5000);
	}
	return sent;
}

static void connect_pair(int pair[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), small = 64 << 10;

	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&address, sizeof(address)), 0);
	pair[1] = accept(listener, NULL, NULL);
	assert_true(pair[1] >= 0);
	/* So that what the sender holds is the same each time. */
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	close(listener);
}

static void test_a_window_bounds_what_comes_unread_and_can_grow(void **state)
{
	size_t narrow, wide;
	int pair[2];

	connect_pair(pair);
	tcp_set_window(pair[1], TCP_WINDOW_NARROW);
	narrow = sent_unread(pair[0]);
	/* The 64 KiB window, and twice 64 KiB of send buffer with its overhead. */
	assert_in_range(narrow, 64 << 10, 400 << 10);
	tcp_set_window(pair[1], TCP_WINDOW_WIDE);
	wide = narrow + sent_unread(pair[0]);
	if (wide == narrow) { /* the window is told with the next read */
		static char bytes[128 << 10];

		assert_true(recv(pair[1], bytes, sizeof(bytes), 0) > 0);
		wide += sent_unread(pair[0]);
	}
	assert_in_range(wide, narrow + (64 << 10), 1 << 20);
	close(pair[0]);
	close(pair[1]);
}

static void pass(int pair[2], size_t count)
{
	static char bytes[64 << 10];

	for (; count; count--) {
		assert_int_equal(send(pair[0], bytes, sizeof(bytes), 0), sizeof(bytes));
		assert_int_equal(recv(pair[1], bytes, sizeof(bytes), MSG_WAITALL), sizeof(bytes));
	}
}

static void test_what_was_promised_finds_room_when_a_window_becomes_smaller(void **state)
{
	static char bytes[192 << 10];
	int pair[2], large = 2 << 20, unread = 0;

	connect_pair(pair);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
	tcp_set_window(pair[1], TCP_WINDOW_WIDE);
	pass(pair, 400); /* until the window is as wide as it may be */
	tcp_set_window(pair[1], TCP_WINDOW_NARROW);
	assert_int_equal(send(pair[0], bytes, sizeof(bytes), 0), sizeof(bytes));
	usleep(50000); /* What is dropped would come again after 200 ms. */
	assert_int_equal(ioctl(pair[1], FIONREAD, &unread), 0);
	assert_int_equal(unread, sizeof(bytes));
	close(pair[0]);
	close(pair[1]);
}

static void test_a_socket_without_a_connection_has_no_round_trip(void **state)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	assert_int_equal(tcp_round_trip_us(fd), 0);
	tcp_set_window(fd, TCP_WINDOW_NARROW);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_window_is_what_the_distance_needs_within_bounds),
		cmocka_unit_test(test_a_window_bounds_what_comes_unread_and_can_grow),
		cmocka_unit_test(test_what_was_promised_finds_room_when_a_window_becomes_smaller),
		cmocka_unit_test(test_a_socket_without_a_connection_has_no_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
