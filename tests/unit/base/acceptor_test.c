/* SPDX-License-Identifier: Apache-2.0 */
#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/acceptor.h"

struct scene {
	struct event_base *base;
	struct acceptor *acceptor;
	struct sockaddr_un at;
	socklen_t size;
	int listener, accepted;
};

static void on_accepted(void *arg, int fd)
{
	struct scene *scene = arg;

	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	scene->accepted++;
}

static void scene_begin(struct scene *scene)
{
	*scene = (struct scene){ .at.sun_family = AF_UNIX, .size = sizeof(scene->at) };
	scene->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* a name that the kernel chooses */
	assert_int_equal(bind(scene->listener, (struct sockaddr *)&scene->at, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(scene->listener, 8), 0);
	assert_int_equal(getsockname(scene->listener, (struct sockaddr *)&scene->at, &scene->size), 0);
	scene->base = event_base_new();
	assert_int_equal(acceptor_new(&scene->acceptor, scene->base, scene->listener, on_accepted, scene), 0);
}

static void scene_end(struct scene *scene)
{
	acceptor_free(&scene->acceptor);
	event_base_free(scene->base);
	close(scene->listener);
}

static void dial(const struct scene *scene)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&scene->at, scene->size), 0);
	close(fd); /* its end waits to be accepted all the same */
}

static void turn(const struct scene *scene, int ms)
{
	const struct timeval moment = { .tv_usec = ms * 1000 };

	event_base_loopexit(scene->base, &moment);
	event_base_dispatch(scene->base);
}

static void leave_no_descriptor(struct rlimit *before)
{
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit none;

	assert_true(next >= 0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
	none = (struct rlimit){ (rlim_t)next, before->rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How often the loop is woken. */
static int turns_in(const struct scene *scene, long ms)
{
	const long end_ms = now_ms() + ms;
	int turns = 0;

	for (; now_ms() < end_ms; turns++)
		event_base_loop(scene->base, EVLOOP_ONCE);
	return turns;
}

static void test_whoever_connects_is_accepted(void **state)
{
	struct scene scene;

	scene_begin(&scene);
	for (int i = 0; i < 3; i++)
		dial(&scene);
	turn(&scene, 20);
	assert_int_equal(scene.accepted, 3);
	scene_end(&scene);
}

static void test_without_a_descriptor_the_loop_rests(void **state)
{
	struct rlimit before;
	struct scene scene;
	int turns;

	scene_begin(&scene);
	dial(&scene);
	leave_no_descriptor(&before);
	turns = turns_in(&scene, 3 * ACCEPT_REST_MS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_in_range(turns, 1, 10);
	assert_int_equal(scene.accepted, 0);
	turn(&scene, 2 * ACCEPT_REST_MS);
	assert_int_equal(scene.accepted, 1);
	scene_end(&scene);
}

static void test_who_is_paused_accepts_nothing_though_he_has_rested(void **state)
{
	struct rlimit before;
	struct scene scene;

	scene_begin(&scene);
	dial(&scene);
	leave_no_descriptor(&before);
	turn(&scene, ACCEPT_REST_MS / 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	acceptor_pause(scene.acceptor);
	turn(&scene, 2 * ACCEPT_REST_MS);
	assert_int_equal(scene.accepted, 0);
	acceptor_resume(scene.acceptor);
	turn(&scene, 20);
	assert_int_equal(scene.accepted, 1);
	scene_end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whoever_connects_is_accepted),
		cmocka_unit_test(test_without_a_descriptor_the_loop_rests),
		cmocka_unit_test(test_who_is_paused_accepts_nothing_though_he_has_rested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
