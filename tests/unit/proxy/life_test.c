/* SPDX-License-Identifier: Apache-2.0 */
/* How connections survive a worker, how they end, and what keeps one pod from taking everything. */
#include <sys/resource.h>

#include "keeper/table.h"
#include "proxy/kernel.h"

static int setup(void **state)
{
	*state = harness_new(&(struct harness_options){.is_fast_path_on = true});
	return 0;
}

static int teardown(void **state)
{
	harness_free(*state);
	return 0;
}

/* ---- a worker's death ------------------------------------------------------------------------------------------------------------- */

static void count_entries(void *arg, struct table_entry *entry)
{
	(*(struct table_entry **)arg) = entry;
}

static struct table_entry *the_anchor(struct table *table)
{
	struct table_entry *entry = NULL;

	for (int i = 0; i < 100 && table_count(table, TABLE_ANCHOR) != 1; i++)
		usleep(10000);
	assert_int_equal(table_count(table, TABLE_ANCHOR), 1);
	table_each(table, count_entries, &entry);
	return entry;
}

/* kill -9, as far as descriptors and table are concerned: they outlive the threads. */
static void hand_busy_to(struct harness **first, struct harness *second, struct table *table, const uint32_t *busy, void (*comes)(int client), int client)
{
	struct table_entry *entry = the_anchor(table), copy = *entry;
	int fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 100);

	harness_free(*first);
	*first = NULL;
	assert_int_equal(table_count(table, TABLE_ANCHOR), 0);
	entry = table_take(table, fd);
	entry->cookie = copy.cookie;
	entry->pod_id = copy.pod_id;
	entry->is_busy = busy ? *busy : copy.is_busy;
	entry->consumed = copy.consumed;
	entry->written = copy.written;
	entry->peer = copy.peer;
	entry->peer_port_be = copy.peer_port_be;
	if (comes)
		comes(client);
	table_publish(entry, TABLE_ANCHOR);
	forget_commands(second);
	assert_int_equal(proxy_adopt_anchor(second->proxy, entry), 0);
}

static void hand_to(struct harness **first, struct harness *second, struct table *table)
{
	hand_busy_to(first, second, table, NULL, NULL, -1);
}

/* A second proxy takes what the first one left: its threads are gone, descriptors and table are not. */
static void test_the_next_worker_adopts_anchors(void **state)
{
	struct table *table;
	struct harness *first, *second;
	struct table_entry *entry;
	int client, server, busy[3] = {0, 1, 2};

	(void)state;
	assert_int_equal(table_new(&table, 64), 0);
	for (int i = 0; i < 3; i++) {
		first = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
		second = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
		client = client_new(first);
		put_text(client, REQUEST);
		server = server_accept(first, 0);
		expect_bytes(server, REQUEST);
		put_text(server, i == 2 ? "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello" : OK);
		free(get_head(client));
		expect_bytes(client, i == 2 ? "hello" : "ok");
		entry = the_anchor(table);
		for (int wait = 0; i != 2 && wait < 100 && __atomic_load_n(&entry->is_busy, __ATOMIC_ACQUIRE); wait++)
			usleep(1000);
		assert_int_equal(entry->is_busy, i == 2 ? 2 : 0);
		if (i == 1) {
			put_text(client, REQUEST);
			expect_bytes(server, REQUEST);
		}
		assert_int_equal(entry->is_busy, busy[i]);
		if (i == 0) {
			assert_int_equal(entry->consumed, strlen(REQUEST));
			assert_int_equal(entry->written, strlen(OK));
		}
		hand_to(&first, second, table);
		close(server);
		if (i == 0) {
			put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
			expect_reply(client, 200, "direct");
			assert_int_equal(last_command(second).proxy_consumed, strlen(REQUEST) + strlen("GET /direct HTTP/1.1\r\nHost: a\r\n\r\n"));
			assert_in_range(last_command(second).proxy_written, strlen(OK) + 50, strlen(OK) + 300);
		} else if (i == 1) {
			struct reply reply;

			get_reply(client, &reply);
			assert_int_equal(reply.status, 503);
			assert_true(has_line(reply.head, "connection: close"));
			reply_release(&reply);
			expect_end(client);
		} else {
			expect_end(client);
		}
		close(client);
		harness_free(second);
	}
	table_free(&table);
}

static void put_direct(int client)
{
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void put_fin(int client)
{
	assert_int_equal(shutdown(client, SHUT_WR), 0);
}

enum read_at_death { READ_NOTHING, READ_NOTHING_BUT_ONE_WAITS, READ_FIN, READ_REQUEST };

/* The worker dies around a read: whether that took anything is not told by the table, but by the socket. */
static void test_a_read_that_gave_nothing_is_answered_nothing(void **state)
{
	static void (*const comes[])(int) = { [READ_NOTHING_BUT_ONE_WAITS] = put_direct, [READ_FIN] = put_fin, [READ_REQUEST] = NULL };
	const uint32_t reading = 3; /* enum connection_busy */
	struct table *table;

	(void)state;
	assert_int_equal(table_new(&table, 64), 0);
	for (enum read_at_death i = READ_NOTHING; i <= READ_REQUEST; i++) {
		struct harness *first = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
		struct harness *second = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
		int client = client_new(first), server = -1;
		struct table_entry *entry;
		struct reply reply;

		put_direct(client);
		expect_reply(client, 200, "direct");
		entry = the_anchor(table);
		for (int wait = 0; wait < 5000 && __atomic_load_n(&entry->is_busy, __ATOMIC_ACQUIRE); wait++)
			usleep(1000);
		assert_int_equal(entry->is_busy, 0);
		if (i == READ_REQUEST) {
			put_text(client, REQUEST);
			server = server_accept(first, 0);
			expect_bytes(server, REQUEST);
		}
		hand_busy_to(&first, second, table, &reading, comes[i], client);
		if (i == READ_REQUEST) {
			get_reply(client, &reply);
			assert_int_equal(reply.status, 503);
			reply_release(&reply);
			close(server);
		} else if (i != READ_FIN) {
			if (i == READ_NOTHING)
				put_direct(client);
			expect_reply(client, 200, "direct");
			put_fin(client);
		}
		expect_end(client);
		close(client);
		harness_free(second);
	}
	table_free(&table);
}

/* The bytes of a tunnel are with its server: dialling another one would lose them, and an answer in HTTP would be noise. */
static void test_the_next_worker_ends_tunnels(void **state)
{
	struct harness *first, *second;
	struct table *table;
	int client, server;

	(void)state;
	assert_int_equal(table_new(&table, 64), 0);
	first = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
	second = harness_new(&(struct harness_options){.is_fast_path_on = true, .table = table});
	first->original_port_be = second->original_port_be = htons(90);
	client = client_new(first);
	server = server_accept(first, 0);
	put_text(client, "hello");
	expect_bytes(server, "hello");
	hand_to(&first, second, table);
	expect_end(client);
	assert_false(server_has_caller(second, 0, 50));
	close(client);
	close(server);
	harness_free(second);
	table_free(&table);
}

static void test_draining_ends_idle_connections_and_lets_the_others_finish(void **state)
{
	struct harness *h = *state;
	int idle = client_new(h), busy = client_new(h), server;
	struct reply reply;

	put_text(idle, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(idle, 200, "direct");
	put_text(busy, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	proxy_drain(h->proxy);
	expect_end(idle);
	put_text(server, OK);
	get_reply(busy, &reply);
	assert_true(has_line(reply.head, "connection: close"));
	reply_release(&reply);
	expect_end(busy);
	close(idle);
	close(busy);
	close(server);
}

static void connections_beyond(const struct proxy_limits *limits)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = *limits});
	int first = client_new(h), second = client_new(h), third = client_new(h);
	struct proxy_stats stats;

	put_text(third, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(what_comes(third, 100), -1);
	put_text(first, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	expect_reply(first, 200, "direct");
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.connections, 2);
	assert_true(stats.accept_pauses > 0);
	close(first);
	expect_reply(third, 200, "direct");
	close(second);
	close(third);
	harness_free(h);
}

static void test_connections_beyond_the_limit_wait(void **state)
{
	(void)state;
	connections_beyond(&(struct proxy_limits){.connections = 2, .connections_each = 9});
	connections_beyond(&(struct proxy_limits){.connections = 9, .connections_each = 2});
}

static void test_when_descriptors_run_out_clients_wait(void **state)
{
	struct harness *h = *state;
	struct rlimit before, tight;
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	harness_give_up_after_a_while(client);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)client + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&h->address, sizeof(h->address)), 0);
	put_text(client, "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(what_comes(client, 50), -1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_reply(client, 200, "direct");
	close(client);
}

static void test_a_removed_pod_leaves_nothing_behind(void **state)
{
	struct harness *h = *state;
	int idle = client_new(h), busy = client_new(h), server, other;
	struct proxy_pod pod = {.pod_id = 1, .netns_fd = -1, .netns_cookie = 1, .addresses = {WEFT_IP4(0)}, .listener_fds = {h->listener, -1}};

	proxy_set_fast_path(h->proxy, false);
	put_text(idle, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(busy, REQUEST);
	other = server_accept(h, 0);
	expect_bytes(other, REQUEST);
	put_text(server, OK);
	expect_reply(idle, 200, "ok");
	assert_int_equal(proxy_pod_remove(h->proxy, 1), 0);
	assert_int_equal(proxy_pod_remove(h->proxy, 1), -ENOENT);
	/* Unused upstreams go; what is open goes on, but is not kept. */
	expect_end(server);
	put_text(other, OK);
	expect_reply(busy, 200, "ok");
	expect_end(other);
	close(server);
	close(other);
	put_text(idle, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	put_text(server, OK);
	expect_reply(idle, 200, "ok");
	expect_end(server);
	close(server);
	close(idle);
	close(busy);
	assert_int_equal(proxy_pod_add(h->proxy, &pod), 0);
	assert_int_equal(proxy_pod_add(h->proxy, &pod), -EEXIST);
}

static void test_memory_for_bytes_in_flight_is_limited(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = {.buffer_bytes = 40000, .buffer_bytes_each = 1u << 20}});
	int clients[4];
	struct proxy_stats stats;

	(void)state;
	for (int i = 0; i < 4; i++) {
		clients[i] = client_new(h);
		put_text(clients[i], "GET /u HTTP/1.1\r\nHost: a\r\nX-Part");
		usleep(10000);
	}
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.connections, 2);
	assert_int_equal(stats.reasons[PROXY_REASON_NO_MEMORY], 2);
	assert_in_range(stats.buffers_bytes, 1, 40000);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	harness_free(h);
}

static void test_a_pod_with_its_share_of_memory_waits(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = {.buffer_bytes_each = 40000}});
	int clients[4];
	struct proxy_stats stats;

	(void)state;
	for (int i = 0; i < 4; i++) {
		clients[i] = client_new(h);
		put_text(clients[i], "GET /direct HTTP/1.1\r\nHost: a\r\nX-Part");
		usleep(10000);
	}
	put_text(clients[3], ": 1\r\n\r\n");
	assert_int_equal(what_comes(clients[3], 150), -1);
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.connections, 4);
	assert_int_equal(stats.reasons[PROXY_REASON_NO_MEMORY], 0);
	assert_true(stats.memory_waits >= 2);
	assert_in_range(stats.buffers_bytes, 1, 40000);
	close(clients[0]);
	close(clients[1]);
	expect_reply(clients[3], 200, "direct");
	close(clients[2]);
	close(clients[3]);
	harness_free(h);
}

static void test_requests_leave_room_for_responses(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = {.buffer_bytes_each = 40000}});
	int asking = client_new(h), others[3], server;
	struct proxy_stats stats;

	(void)state;
	put_text(asking, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	for (int i = 0; i < 3; i++) {
		others[i] = client_new(h);
		put_text(others[i], "GET /direct HTTP/1.1\r\nHost: a\r\nX-Part");
		usleep(10000);
	}
	proxy_stats(h->proxy, &stats);
	assert_true(stats.memory_waits >= 1);
	put_text(server, OK);
	expect_reply(asking, 200, "ok");
	close(server);
	close(asking);
	for (int i = 0; i < 3; i++)
		close(others[i]);
	harness_free(h);
}

/* Uploads whose servers don't read, a little at a time: each read fills what room there is, which is the sign of a large body. */
static void test_bodies_do_not_grow_beyond_their_share(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = {.buffer_bytes_each = 200000, .splice_pipes = 1, .splice_pipes_each = 1}});
	int asking = client_new(h), others[12], server;
	static const char part[8000];
	struct proxy_stats stats;
	bool is_taken = true;

	(void)state;
	put_text(asking, REQUEST);
	server = server_accept(h, 0);
	expect_bytes(server, REQUEST);
	for (int i = 0; i < 12; i++) {
		others[i] = client_new(h);
		put_text(others[i], "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n");
	}
	for (int round = 0; is_taken && round < 6000; round++) {
		is_taken = false;
		for (int i = 0; i < 12; i++)
			is_taken |= send(others[i], part, sizeof(part), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
		usleep(300);
	}
	proxy_stats(h->proxy, &stats);
	assert_in_range(stats.buffers_bytes, 1, 200000);
	put_text(server, OK);
	expect_reply(asking, 200, "ok");
	close(server);
	close(asking);
	for (int i = 0; i < 12; i++)
		close(others[i]);
	harness_free(h);
}

/* The second upload finds no pipe, and reads all that there is room for, again and again, into a buffer that has been emptied. */
static void test_a_large_piece_of_a_body_needs_room_for_it(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.limits = {.buffer_bytes_each = 60000, .splice_pipes = 1, .splice_pipes_each = 1}});
	int clients[2], servers[2];
	static const char part[200000];
	struct proxy_stats stats;

	(void)state;
	for (int i = 0; i < 2; i++) {
		clients[i] = client_new(h);
		put_text(clients[i], "POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n");
		servers[i] = server_accept(h, 0);
		for (int quiet = 0; quiet < 50; usleep(2000))
			quiet = send(clients[i], part, sizeof(part), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 ? 0 : quiet + 1;
	}
	proxy_stats(h->proxy, &stats);
	assert_in_range(stats.buffers_bytes, 1, 60000);
	for (int i = 0; i < 2; i++) {
		close(servers[i]);
		close(clients[i]);
	}
	harness_free(h);
}

static void test_a_stranger_on_the_loopback_listener_is_closed(void **state)
{
	struct harness *h = *state;
	int client;
	struct proxy_stats stats;

	h->original = (struct weft_address){};
	client = client_new(h);
	assert_int_equal(what_comes(client, 2000), 0);
	proxy_stats(h->proxy, &stats);
	assert_int_equal(stats.connections_unknown, 1);
	close(client);
}

static void test_without_an_image_the_answer_is_503(void **state)
{
	struct harness *h = harness_new(&(struct harness_options){.has_no_images = true});
	int client = client_new(h);

	(void)state;
	put_text(client, REQUEST);
	expect_reply(client, 503, "");
	close(client);
	harness_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_next_worker_adopts_anchors),
		cmocka_unit_test(test_a_read_that_gave_nothing_is_answered_nothing),
		cmocka_unit_test(test_the_next_worker_ends_tunnels),
		cmocka_unit_test_setup_teardown(test_draining_ends_idle_connections_and_lets_the_others_finish, setup, teardown),
		cmocka_unit_test(test_connections_beyond_the_limit_wait),
		cmocka_unit_test_setup_teardown(test_when_descriptors_run_out_clients_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_removed_pod_leaves_nothing_behind, setup, teardown),
		cmocka_unit_test(test_memory_for_bytes_in_flight_is_limited),
		cmocka_unit_test(test_a_pod_with_its_share_of_memory_waits),
		cmocka_unit_test(test_requests_leave_room_for_responses),
		cmocka_unit_test(test_bodies_do_not_grow_beyond_their_share),
		cmocka_unit_test(test_a_large_piece_of_a_body_needs_room_for_it),
		cmocka_unit_test_setup_teardown(test_a_stranger_on_the_loopback_listener_is_closed, setup, teardown),
		cmocka_unit_test(test_without_an_image_the_answer_is_503),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
