/* SPDX-License-Identifier: Apache-2.0 */
/* What one weftd hands to another: descriptors and what they are; and what is not understood changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "abi_layout.h"
#include "base/cleanup.h"
#include "keeper/pass.h"
#include "keeper/succeed.h"
#include "weft/abi.h"

static void pair(int ends[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static ino_t inode_of(int fd)
{
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	return info.st_ino;
}

static int open_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_descriptors_arrive_with_what_they_are(void **state)
{
	struct pass_message sent = { .kind = PASS_ENTRIES, .count = PASS_ENTRIES_MAX }, came;
	int ends[2], pipes[2], before;

	pair(ends);
	assert_int_equal(pipe(pipes), 0);
	before = open_fds();
	for (uint32_t i = 0; i < sent.count; i++) {
		/* every third is one without a descriptor */
		sent.entries[i] = (struct table_entry){ .kind = TABLE_ANCHOR, .fd = i % 3 ? pipes[i % 2] : -1, .cookie = 1000 + i };
	}
	assert_int_equal(pass_send(ends[0], &sent), 0);
	assert_int_equal(pass_receive(ends[1], &came), 0);
	assert_int_equal(came.kind, PASS_ENTRIES);
	assert_int_equal(came.count, PASS_ENTRIES_MAX);
	for (uint32_t i = 0; i < came.count; i++) {
		assert_int_equal(came.entries[i].cookie, 1000 + i);
		if (i % 3 == 0) {
			assert_int_equal(came.entries[i].fd, -1);
			continue;
		}
		assert_int_not_equal(came.entries[i].fd, sent.entries[i].fd);
		assert_int_equal(inode_of(came.entries[i].fd), inode_of(pipes[i % 2]));
		assert_true(fcntl(came.entries[i].fd, F_GETFD) & FD_CLOEXEC);
	}
	assert_int_not_equal(open_fds(), before);
	pass_close(&came);
	assert_int_equal(open_fds(), before);
	assert_int_equal(pass_receive(ends[1], &came), -EAGAIN);
	close(ends[0]);
	assert_int_equal(pass_receive(ends[1], &came), -EPIPE);
	assert_int_equal(pass_send(ends[1], &sent), -EPIPE);
	close(ends[1]);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_what_is_cut_short_is_refused_and_leaves_nothing_open(void **state)
{
	struct pass_message sent = { .kind = PASS_ENTRIES, .count = 2 }, came;
	int ends[2], before;

	pair(ends);
	before = open_fds();
	/* two entries are announced, one is there */
	assert_int_equal(send(ends[0], &sent, offsetof(struct pass_message, entries) + sizeof(sent.entries[0]), 0),
			 offsetof(struct pass_message, entries) + sizeof(sent.entries[0]));
	assert_int_equal(pass_receive(ends[1], &came), -EPROTO);
	/* a descriptor is announced that is not there */
	assert_int_equal(send(ends[0], &sent, offsetof(struct pass_message, entries) + 2 * sizeof(sent.entries[0]), 0),
			 offsetof(struct pass_message, entries) + 2 * sizeof(sent.entries[0]));
	assert_int_equal(pass_receive(ends[1], &came), -EPROTO);
	assert_int_equal(send(ends[0], "x", 1, 0), 1);
	assert_int_equal(pass_receive(ends[1], &came), -EPROTO);
	assert_int_equal(open_fds(), before);
	close(ends[0]);
	close(ends[1]);
}

static void test_waiting_has_an_end(void **state)
{
	struct pass_message message;
	int ends[2];

	pair(ends);
	assert_int_equal(pass_receive_wait(ends[1], &message, 10), -ETIMEDOUT);
	close(ends[0]);
	assert_int_equal(pass_receive_wait(ends[1], &message, 10000), -EPIPE);
	close(ends[1]);
}

/* ---- the conversation ------------------------------------------------------------------------------------------------------------ */

/* One that runs: says what it is told to, whatever it is asked. */
struct other {
	int channel;
	struct pass_message answers[4];
	int answer_count;
};

static void *talk(void *arg)
{
	struct other *other = arg;
	struct pass_message asked;

	if (pass_receive_wait(other->channel, &asked, 5000) == 0)
		for (int i = 0; i < other->answer_count; i++)
			pass_send(other->channel, &other->answers[i]);
	close(other->channel);
	return NULL;
}

/* Returns this one's end of the channel. */
static int begin_to_talk(struct other *other, pthread_t *thread)
{
	int ends[2];

	pair(ends);
	other->channel = ends[1];
	assert_int_equal(pthread_create(thread, NULL, talk, other), 0);
	return ends[0];
}

static int greet(struct other *other, bool *is_beside)
{
	pthread_t thread;
	int channel = begin_to_talk(other, &thread), r;

	r = succeed_greet(channel, "/nowhere/at/all", is_beside); /* where no pins are */
	close(channel);
	pthread_join(thread, NULL);
	return r;
}

static void test_only_the_same_abi_is_taken_over_and_only_the_same_pins(void **state)
{
	struct other same = { .answers = { { .kind = PASS_WELCOME, .value = PASS_ABI } }, .answer_count = 1 };
	struct other newer = { .answers = { { .kind = PASS_WELCOME, .value = PASS_ABI + 1 } }, .answer_count = 1 };
	struct other laid_out_otherwise = { .answers = { { .kind = PASS_WELCOME, .value = PASS_ABI ^ 1ull << 32 } }, .answer_count = 1 };
	struct other elsewhere_and_newer = { .answers = { { .kind = PASS_WELCOME, .value = PASS_ABI + 1, .cookie = 4711 } }, .answer_count = 1 };
	struct other elsewhere = { .answers = { { .kind = PASS_WELCOME, .value = PASS_ABI, .cookie = 4711 } }, .answer_count = 1 };
	struct other silent = { .answer_count = 0 };
	bool is_beside = true;

	assert_int_equal(greet(&same, &is_beside), 0);
	assert_false(is_beside);
	assert_int_equal(greet(&newer, &is_beside), 0);
	assert_true(is_beside);
	assert_int_equal(greet(&same, &is_beside), 0);
	assert_int_equal(greet(&laid_out_otherwise, &is_beside), 0);
	assert_true(is_beside);
	assert_int_equal(greet(&elsewhere, &is_beside), -EINVAL);
	assert_int_equal(greet(&elsewhere_and_newer, &is_beside), -EPROTONOSUPPORT);
	assert_int_equal(greet(&silent, &is_beside), -EBUSY);
}

static int ask_beside(struct other *other, struct table **table, struct succeed_yielded *yielded)
{
	pthread_t thread;
	int channel = begin_to_talk(other, &thread), r;

	assert_int_equal(table_new(table, 16), 0);
	r = succeed_beside(channel, *table, yielded);
	pthread_join(thread, NULL);
	return r;
}

static void test_who_is_to_drain_says_what_it_serves(void **state)
{
	_cleanup_(table_free) struct table *table = NULL, *none = NULL, *some = NULL;
	struct other yields = { .answers = { { .kind = PASS_YIELDED, .count = 3, .value = 9 } }, .answer_count = 1 };
	struct other old = { .answer_count = 0 }; /* which knows of no such thing */
	struct other other_words = { .answers = { { .kind = PASS_END } }, .answer_count = 1 };
	struct succeed_yielded yielded;

	assert_int_equal(ask_beside(&yields, &table, &yielded), 0);
	assert_int_equal(yielded.generation, 9);
	assert_int_equal(yielded.pod_count, 3);
	assert_int_equal(table_count(table, TABLE_CHANNEL), 1);
	assert_int_equal(ask_beside(&old, &none, &yielded), -EPROTONOSUPPORT);
	assert_int_equal(ask_beside(&other_words, &some, &yielded), -EPROTO);
}

static void test_places_come_without_entries(void **state)
{
	struct pass_message places = { .kind = PASS_PLACES, .entries = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } } }, came;
	int ends[2], before;

	pair(ends);
	before = open_fds();
	assert_int_equal(pass_send(ends[0], &places), 0);
	assert_int_equal(pass_receive(ends[1], &came), 0);
	for (int i = 0; i < PASS_PLACES_COUNT; i++)
		assert_int_equal(inode_of(came.entries[i].fd), inode_of(i));
	pass_close(&came);
	assert_int_equal(open_fds(), before);
	close(ends[0]);
	close(ends[1]);
}

static int take(struct other *other, struct table **table, uint64_t *generation)
{
	pthread_t thread;
	int channel = begin_to_talk(other, &thread), r;

	assert_int_equal(table_new(table, 16), 0);
	r = succeed_take(channel, *table, generation);
	pthread_join(thread, NULL);
	return r;
}

static void count_former(void *arg, struct table_entry *entry)
{
	(*(unsigned *)arg)++;
}

static void see_channel(void *arg, struct table_entry *entry)
{
	uint64_t *cookies = arg;

	if (entry->kind == TABLE_CHANNEL)
		cookies[0] = entry->cookie;
	else if (entry->kind == TABLE_ELSEWHERE)
		cookies[entry->slot == 5 ? 1 : 2] = entry->cookie;
}

static void test_what_is_taken_is_a_former_workers(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	uint64_t generation = 0;
	struct other other = {
		.answers = {
			{ .kind = PASS_ENTRIES, .count = 2, .entries = { { .kind = TABLE_KEEPER, .fd = 0 }, { .kind = TABLE_CONTROL, .fd = 1 } } },
			{ .kind = PASS_ENTRIES, .count = 3, .entries = { { .kind = TABLE_ANCHOR, .fd = 2, .cookie = 77, .pod_id = 7, .consumed = 9 },
									  { .kind = TABLE_ELSEWHERE, .fd = -1, .slot = 5 },
									  { .kind = TABLE_ELSEWHERE, .fd = -1, .slot = 6, .cookie = 44 } } },
			{ .kind = PASS_END, .count = 5, .value = 12, .cookie = 9 },
		},
		.answer_count = 3,
	};
	uint64_t cookies[3] = { 0 };
	unsigned former = 0;

	assert_int_equal(take(&other, &table, &generation), 0);
	assert_int_equal(inode_of(table_find(table, TABLE_KEEPER, 0)->fd), inode_of(0));
	assert_int_equal(inode_of(table_find(table, TABLE_CONTROL, 0)->fd), inode_of(1));
	assert_null(table_find(table, TABLE_KEEPER, TABLE_OWN_PINS));
	assert_int_equal(generation, 12);
	assert_int_equal(table_next_pod_id(table), 10);
	table_each_former(table, count_former, &former);
	assert_int_equal(former, 6); /* and the channel */
	/* What the other one keeps goes with its channel; what it was told of by one before it does not. */
	table_each(table, see_channel, cookies);
	assert_true(cookies[0] && cookies[0] == cookies[1]);
	assert_int_equal(cookies[2], 44);
}

static void test_what_is_not_whole_is_not_taken(void **state)
{
	_cleanup_(table_free) struct table *first = NULL, *second = NULL, *third = NULL;
	struct other cut = { .answers = { { .kind = PASS_ENTRIES, .count = 1, .entries = { { .kind = TABLE_KEEPER, .fd = 0 } } } }, .answer_count = 1 };
	struct other lossy = {
		.answers = { { .kind = PASS_ENTRIES, .count = 2, .entries = { { .kind = TABLE_KEEPER, .fd = 0 }, { .kind = TABLE_CONTROL, .fd = 1 } } },
			     { .kind = PASS_END, .count = 3 } },
		.answer_count = 2,
	};
	struct other locked = { .answers = { { .kind = PASS_ENTRIES, .count = 1, .entries = { { .kind = TABLE_CONTROL, .fd = 1 } } }, { .kind = PASS_END, .count = 1 } },
				.answer_count = 2 };
	uint64_t generation;

	assert_int_equal(take(&cut, &first, &generation), -EPIPE);
	assert_int_equal(take(&lossy, &second, &generation), -EPROTO);
	assert_int_equal(take(&locked, &third, &generation), -EPROTO);
}

static void test_a_kept_entry_says_what_it_was(void **state)
{
	_cleanup_(table_free) struct table *table = NULL;
	struct table_entry *entry;

	assert_int_equal(table_new(&table, 4), 0);
	entry = table_take(table, 0);
	table_publish(entry, TABLE_UPSTREAM);
	assert_int_equal(table_kept_kind(entry), TABLE_UPSTREAM);
	table_keep(entry);
	assert_int_equal(entry->kind, TABLE_KEPT);
	assert_int_equal(table_kept_kind(entry), TABLE_UPSTREAM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_descriptors_arrive_with_what_they_are),
		cmocka_unit_test(test_what_is_cut_short_is_refused_and_leaves_nothing_open),
		cmocka_unit_test(test_waiting_has_an_end),
		cmocka_unit_test(test_only_the_same_abi_is_taken_over_and_only_the_same_pins),
		cmocka_unit_test(test_who_is_to_drain_says_what_it_serves),
		cmocka_unit_test(test_places_come_without_entries),
		cmocka_unit_test(test_what_is_taken_is_a_former_workers),
		cmocka_unit_test(test_what_is_not_whole_is_not_taken),
		cmocka_unit_test(test_a_kept_entry_says_what_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
