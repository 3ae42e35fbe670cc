/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper runs in a child of the test and is watched from outside, as an administrator would. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/keeper.h"

struct notes { /* shared with keeper and workers */
	volatile pid_t worker;
	volatile uint32_t begun, hangups, restarts, quick_deaths, found_fd, closed_stray;
	volatile int fd, stray;
};

struct scene {
	struct notes *notes;
	struct table *table;
	pid_t keeper;
};

typedef int (*work_fn)(void *arg, struct keeper_state *state);

static void nap(unsigned ms)
{
	const struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000l };

	nanosleep(&time, NULL);
}

#define wait_for(condition) \
	do { \
		for (int tries_ = 0; !(condition) && tries_ < 1000; tries_++) \
			nap(5); \
		assert_true(condition); \
	} while (0)

static void begin_job(struct scene *scene, bool is_replacement, bool stays, work_fn work, uint32_t stop_timeout_ms)
{
	scene->notes = mmap(NULL, sizeof(*scene->notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(scene->notes != MAP_FAILED);
	assert_int_equal(table_new(&scene->table, 64), 0);
	scene->keeper = fork();
	if (scene->keeper == 0) {
		const struct keeper_job job = { .name = "test-worker", .work = work, .arg = scene, .is_replacement = is_replacement,
			.stays_when_replaced = stays, .stop_timeout_ms = stop_timeout_ms };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		log_set_level(LOG_LEVEL_ERROR);
		if (keeper_block_signals())
			_exit(99);
		_exit(keeper_run(scene->table, &job));
	}
	assert_true(scene->keeper > 0);
}

static void begin_as(struct scene *scene, bool is_replacement, work_fn work, uint32_t stop_timeout_ms)
{
	begin_job(scene, is_replacement, false, work, stop_timeout_ms);
}

static void scene_begin(struct scene *scene, work_fn work, uint32_t stop_timeout_ms)
{
	begin_as(scene, false, work, stop_timeout_ms);
}

static int scene_end(struct scene *scene)
{
	int status;

	assert_int_equal(waitpid(scene->keeper, &status, 0), scene->keeper);
	table_free(&scene->table);
	munmap(scene->notes, sizeof(*scene->notes));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static bool is_alive(pid_t pid)
{
	char path[64], text[64] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return !strstr(text, ") Z");
}

static int serve(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;
	sigset_t set;
	int signal_number;

	state->has_served = 1;
	scene->notes->restarts = state->restarts;
	scene->notes->quick_deaths = state->quick_deaths;
	scene->notes->worker = getpid();
	scene->notes->begun++;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	while (sigwait(&set, &signal_number) == 0 && signal_number == SIGHUP)
		scene->notes->hangups++;
	return KEEPER_EXIT_DONE;
}

static void test_a_signal_ends_worker_and_keeper(void **state)
{
	struct scene scene;
	pid_t worker;

	scene_begin(&scene, serve, 0);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
	assert_false(is_alive(worker));
}

static void test_a_killed_worker_is_replaced_and_counted(void **state)
{
	struct scene scene;

	scene_begin(&scene, serve, 0);
	for (uint32_t i = 1; i <= 3; i++) {
		wait_for(scene.notes->begun == i);
		assert_int_equal(scene.notes->restarts, i - 1);
		assert_int_equal(scene.notes->quick_deaths, i - 1);
		kill(scene.notes->worker, SIGKILL);
	}
	wait_for(scene.notes->begun == 4);
	/* one that lived is no quick death, and forgives those before */
	nap(1100);
	kill(scene.notes->worker, SIGKILL);
	wait_for(scene.notes->begun == 5);
	assert_int_equal(scene.notes->quick_deaths, 0);
	kill(scene.keeper, SIGINT);
	assert_int_equal(scene_end(&scene), 0);
}

static void test_a_worker_that_leaves_by_itself_is_replaced(void **state)
{
	struct scene scene;

	scene_begin(&scene, serve, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGTERM); /* somebody told the wrong process */
	wait_for(scene.notes->begun == 2);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

static void test_hangup_is_passed_on(void **state)
{
	struct scene scene;

	scene_begin(&scene, serve, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGHUP);
	wait_for(scene.notes->hangups == 1);
	kill(scene.keeper, SIGHUP);
	wait_for(scene.notes->hangups == 2);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

static void test_the_worker_dies_with_its_keeper(void **state)
{
	struct scene scene;
	pid_t worker;
	int status;

	scene_begin(&scene, serve, 0);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	kill(scene.keeper, SIGKILL);
	assert_int_equal(waitpid(scene.keeper, &status, 0), scene.keeper);
	wait_for(!is_alive(worker));
	table_free(&scene.table);
	munmap(scene.notes, sizeof(*scene.notes));
}

static int fail_at_once(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	scene->notes->begun++;
	return KEEPER_EXIT_FAILED;
}

static void test_a_worker_that_can_not_begin_ends_the_keeper(void **state)
{
	struct scene scene;

	scene_begin(&scene, fail_at_once, 0);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_FAILED);
}

static int fail_the_second_time(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	return scene->notes->begun == 1 || scene->notes->begun == 2 ? fail_at_once(arg, state) : serve(arg, state);
}

static void test_after_serving_the_keeper_never_gives_up(void **state)
{
	struct scene scene;

	scene_begin(&scene, fail_the_second_time, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGKILL);
	wait_for(scene.notes->begun == 4);
	assert_int_equal(scene.notes->restarts, 3);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

static int ignore_signals(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	scene->notes->worker = getpid();
	scene->notes->begun++;
	for (;;)
		pause(); /* SIGTERM is blocked */
	return KEEPER_EXIT_DONE;
}

static void test_a_worker_that_hangs_is_killed_in_the_end(void **state)
{
	struct scene scene;
	pid_t worker;

	scene_begin(&scene, ignore_signals, 200);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
	assert_false(is_alive(worker));
}

static void test_a_second_signal_does_not_wait(void **state)
{
	struct scene scene;

	scene_begin(&scene, ignore_signals, 60000);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGTERM);
	nap(50);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

/* The first worker opens a descriptor and names it, and one that it does not name; the second one looks for both. */
static int hand_on(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;
	struct notes *notes = scene->notes;

	if (state->restarts == 0) {
		notes->fd = memfd_create("kept", 0);
		notes->stray = memfd_create("stray", 0);
		if (write(notes->fd, "hello", 5) != 5)
			return KEEPER_EXIT_FAILED;
		table_publish(table_take(scene->table, notes->fd), TABLE_ANCHOR);
	} else {
		char text[6] = "";

		notes->found_fd = table_count(scene->table, TABLE_ANCHOR) == 1 && pread(notes->fd, text, 5, 0) == 5 && strcmp(text, "hello") == 0;
		notes->closed_stray = fcntl(notes->stray, F_GETFD) < 0 && errno == EBADF;
	}
	return serve(arg, state);
}

static void test_what_a_worker_opened_and_named_is_open_in_the_next(void **state)
{
	struct scene scene;

	scene_begin(&scene, hand_on, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGKILL);
	wait_for(scene.notes->begun == 2);
	assert_true(scene.notes->found_fd);
	assert_true(scene.notes->closed_stray);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

/* ---- replacement ----------------------------------------------------------------------------------------------------------------- */

static int fail_before_it_takes_over(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	(void)state;
	scene->notes->begun++;
	return KEEPER_EXIT_FAILED;
}

static int hang_before_it_takes_over(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	(void)state;
	scene->notes->worker = getpid();
	scene->notes->begun++;
	while (pause() < 0)
		;
	return KEEPER_EXIT_DONE;
}

/* Another try, while the other one waits for the end of this one, would be the end of both. */
static void test_a_replacement_that_fails_before_it_takes_over_is_given_up(void **state)
{
	struct scene scene;

	begin_as(&scene, true, fail_before_it_takes_over, 0);
	wait_for(scene.notes->begun == 1);
	nap(200);
	assert_int_equal(scene.notes->begun, 1);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_UNTAKEN);
}

static void test_a_replacement_that_is_killed_before_it_takes_over_is_given_up(void **state)
{
	struct scene scene;

	begin_as(&scene, true, hang_before_it_takes_over, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGKILL);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_UNTAKEN);
}

static void test_a_replacement_that_is_stopped_before_it_takes_over_has_nothing_to_clear_away(void **state)
{
	struct scene scene;

	begin_as(&scene, true, hang_before_it_takes_over, 100);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_UNTAKEN);
}

static void test_a_replacement_that_took_over_has_further_workers(void **state)
{
	struct scene scene;

	begin_as(&scene, true, serve, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGKILL);
	wait_for(scene.notes->begun == 2);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

static int give_all_away(void *arg, struct keeper_state *state)
{
	state->is_replaced = 1;
	return serve(arg, state);
}

/* What was given away goes on by itself: a further worker would serve the same beside it. */
static void test_a_killed_worker_that_gave_all_away_is_the_last(void **state)
{
	struct scene scene;

	scene_begin(&scene, give_all_away, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.notes->worker, SIGKILL);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_REPLACED);
}

static bool has_ended(const struct scene *scene)
{
	siginfo_t info = { 0 };

	assert_int_equal(waitid(P_PID, (id_t)scene->keeper, &info, WEXITED | WNOHANG | WNOWAIT), 0);
	return info.si_pid == scene->keeper;
}

/* Nothing of it can be seen but that it does not end: its worker was reaped, and then nobody told it to. */
static void test_one_that_stays_when_replaced_ends_when_told_to(void **state)
{
	struct scene scene;
	pid_t worker;

	begin_job(&scene, false, true, give_all_away, 0);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	kill(worker, SIGTERM); /* nothing is open in it any more */
	wait_for(kill(worker, 0) && errno == ESRCH);
	nap(50);
	assert_false(has_ended(&scene));
	assert_int_equal(scene.notes->begun, 1);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_REPLACED);
}

static void test_one_that_stays_when_replaced_lets_its_worker_end_what_is_open(void **state)
{
	struct scene scene;
	pid_t worker;

	begin_job(&scene, false, true, give_all_away, 0);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	kill(scene.keeper, SIGTERM);
	nap(50);
	assert_true(is_alive(worker));
	kill(worker, SIGTERM); /* the last of it is over */
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_REPLACED);
}

static int give_all_away_in_vain(void *arg, struct keeper_state *state)
{
	give_all_away(arg, state);
	state->is_replaced = 0;
	return KEEPER_EXIT_FAILED;
}

static void test_one_that_was_told_to_end_does_not_go_on_when_its_successor_is_lost(void **state)
{
	struct scene scene;

	begin_job(&scene, false, true, give_all_away_in_vain, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGTERM);
	nap(50);
	kill(scene.notes->worker, SIGTERM);
	wait_for(has_ended(&scene));
	assert_int_equal(scene.notes->begun, 1);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_DONE);
}

/* Its successor goes before it serves, after a signal that was left alone. */
static int take_places_back(void *arg, struct keeper_state *state)
{
	struct scene *scene = arg;

	state->has_served = state->is_draining = 1;
	scene->notes->worker = getpid();
	scene->notes->begun++;
	while (!__atomic_load_n(&state->is_told_to_end, __ATOMIC_SEQ_CST))
		nap(5);
	__atomic_store_n(&state->is_draining, 0, __ATOMIC_SEQ_CST);
	return KEEPER_EXIT_DONE;
}

static void test_who_has_its_places_back_hears_that_it_was_told_to_end(void **state)
{
	struct scene scene;

	begin_job(&scene, false, true, take_places_back, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGTERM);
	wait_for(has_ended(&scene));
	assert_int_equal(scene.notes->begun, 1);
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_DONE);
}

static void test_one_that_stays_when_replaced_ends_its_worker_when_told_twice(void **state)
{
	struct scene scene;
	pid_t worker;

	begin_job(&scene, false, true, give_all_away, 0);
	wait_for(scene.notes->begun == 1);
	worker = scene.notes->worker;
	/* two at once are one */
	for (int i = 0; !has_ended(&scene) && i < 200; i++) {
		kill(scene.keeper, SIGTERM);
		nap(50);
	}
	assert_int_equal(scene_end(&scene), KEEPER_EXIT_REPLACED);
	assert_false(is_alive(worker));
}

/* Not replaced, it makes no difference. */
static void test_one_that_would_stay_ends_when_told_to(void **state)
{
	struct scene scene;

	begin_job(&scene, false, true, serve, 0);
	wait_for(scene.notes->begun == 1);
	kill(scene.keeper, SIGTERM);
	assert_int_equal(scene_end(&scene), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_signal_ends_worker_and_keeper),
		cmocka_unit_test(test_a_killed_worker_is_replaced_and_counted),
		cmocka_unit_test(test_a_worker_that_leaves_by_itself_is_replaced),
		cmocka_unit_test(test_hangup_is_passed_on),
		cmocka_unit_test(test_the_worker_dies_with_its_keeper),
		cmocka_unit_test(test_a_worker_that_can_not_begin_ends_the_keeper),
		cmocka_unit_test(test_after_serving_the_keeper_never_gives_up),
		cmocka_unit_test(test_a_worker_that_hangs_is_killed_in_the_end),
		cmocka_unit_test(test_a_second_signal_does_not_wait),
		cmocka_unit_test(test_what_a_worker_opened_and_named_is_open_in_the_next),
		cmocka_unit_test(test_a_replacement_that_fails_before_it_takes_over_is_given_up),
		cmocka_unit_test(test_a_replacement_that_is_killed_before_it_takes_over_is_given_up),
		cmocka_unit_test(test_a_replacement_that_is_stopped_before_it_takes_over_has_nothing_to_clear_away),
		cmocka_unit_test(test_a_replacement_that_took_over_has_further_workers),
		cmocka_unit_test(test_a_killed_worker_that_gave_all_away_is_the_last),
		cmocka_unit_test(test_one_that_stays_when_replaced_ends_when_told_to),
		cmocka_unit_test(test_one_that_stays_when_replaced_lets_its_worker_end_what_is_open),
		cmocka_unit_test(test_one_that_stays_when_replaced_ends_its_worker_when_told_twice),
		cmocka_unit_test(test_one_that_was_told_to_end_does_not_go_on_when_its_successor_is_lost),
		cmocka_unit_test(test_who_has_its_places_back_hears_that_it_was_told_to_end),
		cmocka_unit_test(test_one_that_would_stay_ends_when_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
