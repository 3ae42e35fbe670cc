/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "admin/http.h"
#include "base/cleanup.h"

#define MANY (HTTP_CONNECTIONS_MAX * 3)

struct scene {
	struct event_base *base;
	struct http *http;
	struct sockaddr_in at;
	int asked;
	int held[MANY];
};

static void answer(void *arg, const struct http_request *request, struct http_answer *out)
{
	struct scene *scene = arg;

	scene->asked++;
	out->status = 200;
	/* more than sockets take: whoever does not read has the server wait */
	if (strcmp(request->path, "/much") == 0)
		for (int i = 0; i < 1 << 16; i++)
			strbuf_append_text(&out->body, "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456");
	strbuf_append_text(&out->body, "here");
}

static int free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void scene_begin(struct scene *scene)
{
	char address[64];
	int port = free_port();

	*scene = (struct scene){ .at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
	memset(scene->held, -1, sizeof(scene->held));
	snprintf(address, sizeof(address), "127.0.0.1:%d", port);
	scene->base = event_base_new();
	assert_int_equal(http_new(&scene->http, scene->base, address, answer, scene), 0);
}

static void scene_end(struct scene *scene)
{
	for (int i = 0; i < MANY; i++)
		if (scene->held[i] >= 0)
			close(scene->held[i]);
	http_free(&scene->http);
	event_base_free(scene->base);
}

static void turn(struct scene *scene, int ms)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (int i = 0; i < ms; i++) {
		event_base_loop(scene->base, EVLOOP_NONBLOCK);
		nanosleep(&pause, NULL);
	}
}

static int dial(const struct scene *scene)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	connect(fd, (const struct sockaddr *)&scene->at, sizeof(scene->at)); /* the kernel's queue takes it */
	return fd;
}

static void ask(int fd, const char *path)
{
	char text[128];
	int size = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);

	assert_int_equal(send(fd, text, (size_t)size, MSG_NOSIGNAL), size);
}

static bool is_answered(int fd)
{
	char text[512];
	ssize_t size = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (size <= 0)
		return false;
	text[size] = '\0';
	return strstr(text, "HTTP/1.1 200") && strstr(text, "here");
}

static bool is_open(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) != 0;
}

static uint32_t count(const struct scene *scene, int from, int until)
{
	uint32_t open = 0;

	for (int i = from; i < until; i++)
		open += is_open(scene->held[i]);
	return open;
}

static struct http_stats stats_of(struct scene *scene)
{
	struct http_stats stats;

	http_get_stats(scene->http, &stats);
	return stats;
}

static void hold(struct scene *scene, int from, int until)
{
	for (int i = from; i < until; i++) {
		scene->held[i] = dial(scene);
		turn(scene, 1);
	}
	turn(scene, 200);
}

static void test_who_holds_connections_keeps_no_other_out(void **state)
{
	struct scene scene;
	int fd;

	(void)state;
	scene_begin(&scene);
	hold(&scene, 0, MANY);
	assert_in_range(stats_of(&scene).connections, 1, HTTP_CONNECTIONS_MAX - 1);
	assert_int_equal(count(&scene, 0, MANY), stats_of(&scene).connections);
	assert_int_equal(stats_of(&scene).evicted, MANY - stats_of(&scene).connections);
	assert_false(is_open(scene.held[0])); /* the oldest first */
	assert_true(is_open(scene.held[MANY - 1]));
	fd = dial(&scene);
	turn(&scene, 20);
	ask(fd, "/");
	turn(&scene, 20);
	assert_true(is_answered(fd));
	close(fd);
	scene_end(&scene);
}

static void test_all_at_once_wait_for_each_other(void **state)
{
	struct scene scene;

	(void)state;
	scene_begin(&scene);
	/* as many as wait in the kernel's queue are accepted by one turn of the loop, if nothing keeps them from it */
	for (int i = 0; i < HTTP_CONNECTIONS_MAX - 1; i++) {
		scene.held[i] = dial(&scene);
		turn(&scene, 1);
	}
	for (int i = HTTP_CONNECTIONS_MAX; i < HTTP_CONNECTIONS_MAX + 32; i++)
		scene.held[i] = dial(&scene);
	event_base_loop(scene.base, EVLOOP_NONBLOCK);
	assert_in_range(stats_of(&scene).connections, 1, HTTP_CONNECTIONS_MAX);
	for (int i = HTTP_CONNECTIONS_MAX; i < HTTP_CONNECTIONS_MAX + 32; i++)
		ask(scene.held[i], "/");
	turn(&scene, 300);
	for (int i = HTTP_CONNECTIONS_MAX; i < HTTP_CONNECTIONS_MAX + 32; i++)
		assert_true(is_answered(scene.held[i]));
	scene_end(&scene);
}

static void test_who_asks_is_kept_before_who_does_not(void **state)
{
	struct scene scene;

	(void)state;
	scene_begin(&scene);
	hold(&scene, 0, 8);
	ask(scene.held[0], "/");
	turn(&scene, 20);
	assert_true(is_answered(scene.held[0]));
	hold(&scene, 8, HTTP_CONNECTIONS_MAX);
	hold(&scene, HTTP_CONNECTIONS_MAX, HTTP_CONNECTIONS_MAX + 2);
	assert_true(stats_of(&scene).evicted > 0);
	assert_false(is_open(scene.held[1]));
	ask(scene.held[0], "/");
	turn(&scene, 20);
	assert_true(is_answered(scene.held[0]));
	scene_end(&scene);
}

static void test_who_does_not_read_his_answer_gives_place_too(void **state)
{
	struct scene scene;
	int fd;

	(void)state;
	scene_begin(&scene);
	for (int i = 0; i < 3; i++) {
		hold(&scene, i, i + 1);
		ask(scene.held[i], "/much");
		turn(&scene, 20);
	}
	assert_int_equal(stats_of(&scene).connections, 3);
	hold(&scene, 3, HTTP_CONNECTIONS_MAX + 3);
	assert_true(stats_of(&scene).evicted >= 3);
	assert_in_range(stats_of(&scene).connections, 1, HTTP_CONNECTIONS_MAX - 1);
	fd = dial(&scene);
	turn(&scene, 20);
	ask(fd, "/");
	turn(&scene, 20);
	assert_true(is_answered(fd));
	close(fd);
	scene_end(&scene);
}

static void test_ended_connections_are_not_counted(void **state)
{
	struct scene scene;

	(void)state;
	scene_begin(&scene);
	for (int i = 0; i < MANY; i++) {
		int fd = dial(&scene);

		turn(&scene, 1);
		ask(fd, "/");
		turn(&scene, 2);
		assert_true(is_answered(fd));
		close(fd);
	}
	turn(&scene, 10);
	assert_int_equal(stats_of(&scene).connections, 0);
	assert_int_equal(stats_of(&scene).evicted, 0);
	assert_int_equal(scene.asked, MANY);
	scene_end(&scene);
}

static void test_an_idle_connection_is_closed(void **state)
{
	struct scene scene;

	(void)state;
	scene_begin(&scene);
	hold(&scene, 0, 2);
	turn(&scene, 1000);
	assert_int_equal(stats_of(&scene).connections, 2);
	for (int i = 0; i < HTTP_IDLE_S && stats_of(&scene).connections; i++)
		turn(&scene, 1000);
	assert_int_equal(stats_of(&scene).connections, 0);
	assert_int_equal(stats_of(&scene).evicted, 0);
	assert_false(is_open(scene.held[0]));
	scene_end(&scene);
}

static long thread_cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void test_without_a_descriptor_who_asks_waits_and_the_loop_rests(void **state)
{
	const struct timeval moment = { .tv_usec = 600000 };
	struct rlimit limit, none;
	struct scene scene;
	long spent_ms;
	int next;

	(void)state;
	scene_begin(&scene);
	hold(&scene, 1, 2);
	scene.held[0] = dial(&scene);
	ask(scene.held[0], "/");
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ (rlim_t)next, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	spent_ms = thread_cpu_ms();
	event_base_loopexit(scene.base, &moment);
	event_base_dispatch(scene.base);
	spent_ms = thread_cpu_ms() - spent_ms;
	/* what is open is served meanwhile */
	ask(scene.held[1], "/");
	turn(&scene, 20);
	assert_true(is_answered(scene.held[1]));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_in_range(spent_ms, 0, 50);
	assert_int_equal(scene.asked, 1);
	for (int i = 0; i < 20 && scene.asked < 2; i++)
		turn(&scene, 100);
	turn(&scene, 10);
	assert_true(is_answered(scene.held[0]));
	scene_end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_holds_connections_keeps_no_other_out),
		cmocka_unit_test(test_all_at_once_wait_for_each_other),
		cmocka_unit_test(test_who_asks_is_kept_before_who_does_not),
		cmocka_unit_test(test_who_does_not_read_his_answer_gives_place_too),
		cmocka_unit_test(test_ended_connections_are_not_counted),
		cmocka_unit_test(test_without_a_descriptor_who_asks_waits_and_the_loop_rests),
		cmocka_unit_test(test_an_idle_connection_is_closed),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
