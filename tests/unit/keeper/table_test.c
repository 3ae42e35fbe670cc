/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "keeper/table.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int some_fd(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static struct table_entry *publish(struct table *table, int fd, enum table_kind kind)
{
	struct table_entry *entry = table_take(table, fd);

	assert_non_null(entry);
	table_publish(entry, kind);
	return entry;
}

/* A process that shares this one's descriptors, as a worker does; it ends by SIGKILL after `work`. */
static void in_worker(void (*work)(struct table *table), struct table *table)
{
	long pid = syscall(SYS_clone, (unsigned long)(CLONE_FILES | SIGCHLD), NULL, NULL, NULL, NULL);
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		work(table);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid((pid_t)pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_an_entry_has_a_life(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry;

	assert_int_equal(table_new(&table, 4), 0);
	assert_int_equal(table_capacity(table), 4);
	entry = table_take(table, 7);
	assert_non_null(entry);
	assert_int_equal(entry->kind, TABLE_RESERVED);
	assert_int_equal(entry->fd, 7);
	entry->cookie = 99;
	assert_int_equal(table_count(table, TABLE_ANCHOR), 0);
	table_publish(entry, TABLE_ANCHOR);
	assert_int_equal(table_count(table, TABLE_ANCHOR), 1);
	table_release(table, entry);
	assert_int_equal(table_count(table, TABLE_ANCHOR), 0);
}

static void test_a_taken_entry_knows_nothing_of_the_one_before(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry;

	assert_int_equal(table_new(&table, 1), 0);
	entry = publish(table, 7, TABLE_ANCHOR);
	entry->cookie = 99;
	entry->is_busy = 1;
	table_release(table, entry);
	entry = table_take(table, 8);
	assert_int_equal(entry->cookie, 0);
	assert_int_equal(entry->is_busy, 0);
}

static void test_a_full_table_has_no_entry(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entries[3];

	assert_int_equal(table_new(&table, 3), 0);
	for (int i = 0; i < 3; i++)
		entries[i] = publish(table, i + 10, TABLE_ANCHOR);
	assert_null(table_take(table, 20));
	table_release(table, entries[1]);
	assert_ptr_equal(table_take(table, 20), entries[1]);
	assert_null(table_take(table, 21));
}

static void look_on(void *arg, struct table_entry *entry)
{
	(*(unsigned *)arg)++;
}

/* Pages of the table that are there. */
static size_t pages_of(const struct table *table)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), count = table_capacity(table) * sizeof(struct table_entry) / page, used = 0;
	unsigned char *pages = calloc(count, 1);

	assert_non_null(pages);
	assert_int_equal(mincore((void *)table, count * page, pages), 0);
	for (size_t i = 0; i < count; i++)
		used += pages[i] & 1;
	free(pages);
	return used;
}

static void test_a_large_table_costs_what_is_in_it(void **state)
{
	struct table *table = NULL;
	struct table_entry *some[300];
	unsigned met = 0;

	assert_int_equal(table_new(&table, 1u << 18), 0);
	for (int i = 0; i < 300; i++) {
		some[i] = table_take(table, 3 + i);
		table_publish(some[i], TABLE_UPSTREAM);
	}
	/* connections come and go */
	for (int i = 0; i < 100000; i++) {
		struct table_entry **one = &some[i % 300];

		table_release(table, *one);
		*one = table_take(table, 3);
		table_publish(*one, TABLE_ANCHOR);
	}
	table_each(table, look_on, &met);
	assert_int_equal(met, 300);
	assert_int_equal(table_count(table, TABLE_ANCHOR), 300);
	assert_in_range(pages_of(table), 1, 40); /* of 4,096 */
	table_free(&table);
}

static void test_a_table_grows_until_it_is_full(void **state)
{
	enum { CAPACITY = 5000 };
	struct table *table = NULL;
	struct table_entry *last = NULL;
	unsigned met = 0;

	assert_int_equal(table_new(&table, CAPACITY), 0);
	for (int i = 0; i < CAPACITY; i++) {
		last = table_take(table, 3);
		assert_non_null(last);
		table_publish(last, TABLE_UPSTREAM);
	}
	assert_null(table_take(table, 3));
	table_each(table, look_on, &met);
	assert_int_equal(met, CAPACITY);
	table_release(table, last);
	assert_ptr_equal(table_take(table, 3), last);
	table_free(&table);
}

static void test_a_table_of_nothing_is_refused(void **state)
{
	struct table *table = NULL;

	assert_int_equal(table_new(&table, 0), -EINVAL);
	assert_null(table);
}

static void release_all(void *arg, struct table_entry *entry)
{
	table_release(arg, entry);
}

static void test_a_visitor_may_release_what_it_is_given(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;

	assert_int_equal(table_new(&table, 8), 0);
	for (int i = 0; i < 5; i++)
		publish(table, i + 10, TABLE_UPSTREAM);
	table_take(table, 30);
	table_each(table, release_all, table);
	assert_int_equal(table_count(table, TABLE_UPSTREAM), 0);
	assert_int_equal(table_count(table, TABLE_RESERVED), 1);
}

static void count(void *arg, struct table_entry *entry)
{
	(*(int *)arg)++;
}

/* Who adopts has accepted connections of its own by then: taken for a former worker's, each would be served twice. */
static void test_a_worker_tells_its_own_entries_from_those_before(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry;
	int all = 0, former = 0;

	assert_int_equal(table_new(&table, 8), 0);
	publish(table, some_fd(), TABLE_ANCHOR);
	table_each_former(table, count, &former);
	assert_int_equal(former, 0);
	assert_int_equal(table_close_strays(table), 0);
	entry = publish(table, some_fd(), TABLE_ANCHOR);
	table_take(table, 30);
	table_each_former(table, count, &former);
	assert_int_equal(former, 1);
	table_each(table, count, &all);
	assert_int_equal(all, 2);
	assert_int_equal(table_close_strays(table), 0);
	former = 0;
	table_each_former(table, count, &former);
	assert_int_equal(former, 2);
	table_release(table, entry);
	table_each_former(table, count, &former);
	assert_int_equal(former, 3);
}

static void worker_opens(struct table *table)
{
	publish(table, some_fd(), TABLE_ANCHOR);
	table_take(table, some_fd());
	some_fd();
}

static void find_anchor(void *arg, struct table_entry *entry)
{
	if (entry->kind == TABLE_ANCHOR)
		*(int *)arg = entry->fd;
}

/* Published stays open, half made and unnamed are closed, whatever the worker was doing when it was killed. */
static void test_what_a_killed_worker_named_stays_and_the_rest_is_closed(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	int anchor = -1, own = some_fd(), next;

	assert_int_equal(table_new(&table, 64), 0);
	publish(table, own, TABLE_KEEPER);
	in_worker(worker_opens, table);
	table_each(table, find_anchor, &anchor);
	assert_true(anchor > own);
	assert_true(is_open(anchor));
	assert_true(is_open(anchor + 1));
	assert_true(is_open(anchor + 2));

	assert_int_equal(table_close_strays(table), 0);
	assert_true(is_open(own));
	assert_true(is_open(anchor));
	assert_false(is_open(anchor + 1));
	assert_false(is_open(anchor + 2));
	assert_int_equal(table_count(table, TABLE_RESERVED), 0);
	assert_int_equal(table_count(table, TABLE_ANCHOR), 1);
	for (int fd = 0; fd < 3; fd++)
		assert_true(is_open(fd));

	/* The next one adopts it: the same entry, now its own. */
	next = some_fd();
	assert_true(next != anchor);
	close(next);
	close(anchor);
	close(own);
}

static void test_strays_between_and_behind_named_descriptors_are_closed(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	int fds[12];

	assert_int_equal(table_new(&table, 64), 0);
	assert_int_equal(table_close_strays(table), 0);
	for (int i = 0; i < 12; i++)
		fds[i] = some_fd();
	/* named out of order, and one twice, as after a worker that died between taking and releasing */
	publish(table, fds[7], TABLE_ANCHOR);
	publish(table, fds[2], TABLE_LISTENER);
	publish(table, fds[3], TABLE_NETNS);
	publish(table, fds[7], TABLE_UPSTREAM);
	assert_int_equal(table_close_strays(table), 0);
	for (int i = 0; i < 12; i++)
		assert_int_equal(is_open(fds[i]), i == 2 || i == 3 || i == 7);
	close(fds[2]);
	close(fds[3]);
	close(fds[7]);
}

#define THREADS 4
#define ROUNDS 20000

static void *take_and_release(void *arg)
{
	struct table *table = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct table_entry *entry = table_take(table, i);

		/* fewer entries than threads could hold: full is an answer too */
		if (!entry)
			continue;
		if (entry->fd != i || entry->cookie != 0)
			return (void *)1;
		entry->cookie = (uint64_t)i + 1;
		table_publish(entry, TABLE_ANCHOR);
		table_release(table, entry);
	}
	return NULL;
}

static void test_threads_never_get_the_same_entry(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	pthread_t threads[THREADS];
	void *failed;

	assert_int_equal(table_new(&table, 3), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_release, table), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_int_equal(table_count(table, TABLE_ANCHOR), 0);
	assert_int_equal(table_count(table, TABLE_RESERVED), 0);
}

static void test_an_id_of_a_pod_is_never_given_twice(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry, other = { .kind = TABLE_NETNS, .fd = -1, .pod_id = 40 };

	(void)state;
	assert_int_equal(table_new(&table, 8), 0);
	assert_int_equal(table_next_pod_id(table), 1);
	assert_int_equal(table_next_pod_id(table), 2);
	entry = table_take(table, -1);
	entry->pod_id = 2;
	table_publish(entry, TABLE_NETNS);
	table_release(table, entry);
	/* the next worker knows nothing of pod 2 */
	table_begin_generation(table);
	assert_int_equal(table_next_pod_id(table), 3);
	/* nor does a weftd that replaces another one of its pods, but by what it is handed */
	assert_non_null(table_import(table, &other));
	assert_int_equal(table_next_pod_id(table), 41);
	other.pod_id = 7;
	assert_non_null(table_import(table, &other));
	assert_int_equal(table_next_pod_id(table), 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_entry_has_a_life),
		cmocka_unit_test(test_a_taken_entry_knows_nothing_of_the_one_before),
		cmocka_unit_test(test_a_full_table_has_no_entry),
		cmocka_unit_test(test_a_large_table_costs_what_is_in_it),
		cmocka_unit_test(test_a_table_grows_until_it_is_full),
		cmocka_unit_test(test_a_table_of_nothing_is_refused),
		cmocka_unit_test(test_a_visitor_may_release_what_it_is_given),
		cmocka_unit_test(test_a_worker_tells_its_own_entries_from_those_before),
		cmocka_unit_test(test_what_a_killed_worker_named_stays_and_the_rest_is_closed),
		cmocka_unit_test(test_strays_between_and_behind_named_descriptors_are_closed),
		cmocka_unit_test(test_threads_never_get_the_same_entry),
		cmocka_unit_test(test_an_id_of_a_pod_is_never_given_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
