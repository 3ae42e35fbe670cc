/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <setjmp.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "admin/server.h"
#include "base/cleanup.h"
#include "base/fd.h"

#include "folder.h"

struct scene {
	struct event_base *base;
	struct admin *admin;
	int listener;
	char path[128];
	int asked;
};

/* Echoes the request; {"size": n} gives an answer of n bytes. */
static json_t *answer(void *arg, const json_t *request)
{
	struct scene *scene = arg;
	json_t *size = json_object_get(request, "size"), *value;
	char *text;

	scene->asked++;
	if (!size)
		return json_pack("{s:O}", "asked", request);
	text = calloc(1, (size_t)json_integer_value(size) + 1);
	memset(text, 'x', (size_t)json_integer_value(size));
	value = json_pack("{s:s}", "text", text);
	free(text);
	return value;
}

static void scene_begin(struct scene *scene, uint32_t clients_max, uint32_t timeout_ms)
{
	struct admin_options options = { .clients_max = clients_max, .timeout_ms = timeout_ms, .answer = answer, .arg = scene };

	*scene = (struct scene){ 0 };
	snprintf(scene->path, sizeof(scene->path), "%s/deep/er/weft.sock", folder);
	assert_int_equal(admin_listen(scene->path, &scene->listener), 0);
	scene->base = event_base_new();
	options.base = scene->base;
	options.listener_fd = scene->listener;
	assert_int_equal(admin_new(&scene->admin, &options), 0);
}

static void scene_end(struct scene *scene)
{
	admin_free(&scene->admin);
	event_base_free(scene->base);
	close(scene->listener);
	unlink(scene->path);
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
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, scene->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything up to the end of the connection, or what came within `ms`. */
static bool hear(struct scene *scene, int fd, struct strbuf *out, int ms)
{
	char bytes[65536];

	for (int i = 0; i < ms; i++) {
		ssize_t n;

		turn(scene, 1);
		while ((n = read(fd, bytes, sizeof(bytes))) > 0)
			strbuf_append(out, bytes, (size_t)n);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return true;
	}
	return false;
}

static void talk(struct scene *scene, const char *request, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	int fd = dial(scene);

	say(fd, request);
	assert_true(hear(scene, fd, &heard, 2000));
	assert_string_equal(strbuf_text(&heard), expected);
	close(fd);
}

static void test_a_line_is_answered_by_a_line_and_the_end(void **state)
{
	struct scene scene;

	scene_begin(&scene, 0, 0);
	talk(&scene, "{\"command\":\"status\"}\n", "{\"asked\":{\"command\":\"status\"}}\n");
	talk(&scene, "{}\n", "{\"asked\":{}}\n");
	scene_end(&scene);
}

static void test_a_request_may_come_in_pieces(void **state)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	struct scene scene;
	int fd;

	scene_begin(&scene, 0, 0);
	fd = dial(&scene);
	for (const char *at = "{\"a\":[1,2]}\n"; *at; at++) {
		assert_int_equal(write(fd, at, 1), 1);
		turn(&scene, 1);
	}
	assert_true(hear(&scene, fd, &heard, 2000));
	assert_string_equal(strbuf_text(&heard), "{\"asked\":{\"a\":[1,2]}}\n");
	close(fd);
	scene_end(&scene);
}

static void test_what_is_no_object_is_an_error_and_not_asked(void **state)
{
	_cleanup_(strbuf_release) struct strbuf long_one = STRBUF_INIT;
	static const char *const bad[] = { "hello\n", "[1]\n", "{\"a\":1,\"a\":2}\n", "{\n", "\n" };
	struct scene scene;

	scene_begin(&scene, 0, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
		int fd = dial(&scene);

		say(fd, bad[i]);
		assert_true(hear(&scene, fd, &heard, 2000));
		assert_non_null(strstr(strbuf_text(&heard), "{\"error\":\""));
		close(fd);
	}
	assert_int_equal(scene.asked, 0);
	scene_end(&scene);
}

static void test_a_request_has_a_bound(void **state)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	char bytes[80000];
	struct scene scene;
	int fd;

	scene_begin(&scene, 0, 0);
	fd = dial(&scene);
	memset(bytes, 'a', sizeof(bytes));
	for (size_t sent = 0; sent < sizeof(bytes); turn(&scene, 1)) {
		ssize_t n = send(fd, bytes + sent, sizeof(bytes) - sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
	}
	assert_true(hear(&scene, fd, &heard, 2000));
	assert_int_equal(scene.asked, 0);
	close(fd);
	scene_end(&scene);
}

static void test_a_large_answer_arrives_whole(void **state)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	struct scene scene;
	int fd;

	scene_begin(&scene, 0, 0);
	fd = dial(&scene);
	say(fd, "{\"size\":5000000}\n");
	assert_true(hear(&scene, fd, &heard, 5000));
	assert_int_equal(heard.size, 5000000 + strlen("{\"text\":\"\"}\n"));
	close(fd);
	scene_end(&scene);
}

static void test_slow_clients_are_cut_and_others_then_served(void **state)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	struct scene scene;
	int slow[3], fd;

	scene_begin(&scene, 3, 1000);
	slow[0] = dial(&scene); /* says nothing */
	slow[1] = dial(&scene); /* does not finish */
	say(slow[1], "{\"a\"");
	slow[2] = dial(&scene); /* does not read */
	say(slow[2], "{\"size\":5000000}\n");
	turn(&scene, 20);
	fd = dial(&scene);
	say(fd, "{}\n");
	assert_false(hear(&scene, fd, &heard, 20)); /* waits in the queue */
	assert_true(hear(&scene, fd, &heard, 5000));
	assert_string_equal(strbuf_text(&heard), "{\"asked\":{}}\n");
	for (int i = 0; i < 3; i++)
		close(slow[i]);
	close(fd);
	scene_end(&scene);
}

static void test_clients_that_leave_leave_nothing(void **state)
{
	struct scene scene;

	scene_begin(&scene, 4, 0);
	for (int i = 0; i < 100; i++) {
		int fd = dial(&scene);

		if (i % 2)
			say(fd, "{\"size\":5000000}\n");
		turn(&scene, i % 3);
		close(fd);
		turn(&scene, 1);
	}
	talk(&scene, "{}\n", "{\"asked\":{}}\n");
	scene_end(&scene);
}

static void test_clients_in_service_end_with_the_server(void **state)
{
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	struct scene scene;
	char byte;
	int fd;

	scene_begin(&scene, 0, 0);
	fd = dial(&scene);
	say(fd, "{\"a\"");
	turn(&scene, 10);
	scene_end(&scene);
	assert_true(read(fd, &byte, 1) <= 0);
	close(fd);
}

static void test_the_socket_is_roots_alone_and_served_once(void **state)
{
	struct scene scene;
	struct stat info;
	int second = -1;

	scene_begin(&scene, 0, 0);
	assert_int_equal(stat(scene.path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0600);
	assert_int_equal(admin_listen(scene.path, &second), -EADDRINUSE);
	/* A socket that a dead daemon left is in nobody's way. */
	close(scene.listener);
	admin_free(&scene.admin);
	assert_int_equal(admin_listen(scene.path, &scene.listener), 0);
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
	const struct timeval moment = { .tv_usec = 300000 };
	_cleanup_(strbuf_release) struct strbuf heard = STRBUF_INIT;
	struct rlimit limit, none;
	struct scene scene;
	long before;
	int fd, next;

	scene_begin(&scene, 0, 0);
	fd = dial(&scene);
	say(fd, "{}\n");
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ (rlim_t)next, limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	before = thread_cpu_ms();
	event_base_loopexit(scene.base, &moment);
	event_base_dispatch(scene.base);
	before = thread_cpu_ms() - before;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_in_range(before, 0, 50);
	assert_int_equal(scene.asked, 0);
	assert_true(hear(&scene, fd, &heard, 2000));
	assert_string_equal(strbuf_text(&heard), "{\"asked\":{}}\n");
	close(fd);
	scene_end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_is_answered_by_a_line_and_the_end),
		cmocka_unit_test(test_a_request_may_come_in_pieces),
		cmocka_unit_test(test_what_is_no_object_is_an_error_and_not_asked),
		cmocka_unit_test(test_a_request_has_a_bound),
		cmocka_unit_test(test_a_large_answer_arrives_whole),
		cmocka_unit_test(test_slow_clients_are_cut_and_others_then_served),
		cmocka_unit_test(test_clients_that_leave_leave_nothing),
		cmocka_unit_test(test_clients_in_service_end_with_the_server),
		cmocka_unit_test(test_the_socket_is_roots_alone_and_served_once),
		cmocka_unit_test(test_without_a_descriptor_who_asks_waits_and_the_loop_rests),
	};

	signal(SIGPIPE, SIG_IGN); /* as the keeper does */
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
