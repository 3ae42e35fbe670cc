/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/leftovers.h"
#include "base/lock.h"
#include "base/log.h"

#include "folder.h"

#define BPFFS "/sys/fs/bpf/weft-test"

static void test_a_second_daemon_learns_who_is_first(void **state)
{
	pid_t holder = 0, child;
	char path[128];
	int first = -1, second = -1, status;

	assert_int_equal(lock_take(folder, BPFFS, &first, &holder), 0);
	assert_int_equal(lock_sign(first, getpid()), 0);
	child = fork();
	if (child == 0) {
		int r = lock_take(folder, "//sys/fs/./bpf/weft-test/", &second, &holder);

		_exit(r == -EBUSY && holder == getppid() ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(lock_holder(folder, BPFFS), getpid());
	assert_int_equal(lock_holder(folder, "/sys/fs/bpf/weft-test-2"), 0);
	/* other pins, other daemon */
	assert_int_equal(lock_take(folder, "/sys/fs/bpf/weft-test-2", &second, &holder), 0);
	lock_give(folder, "/sys/fs/bpf/weft-test-2", &second);
	/* killed: its file stays and is in nobody's way */
	close(first);
	assert_int_equal(lock_holder(folder, BPFFS), 0);
	assert_int_equal(lock_take(folder, BPFFS, &first, &holder), 0);
	lock_give(folder, BPFFS, &first);
	assert_int_equal(first, -1);
	snprintf(path, sizeof(path), "%s/sys-fs-bpf-weft-test.lock", folder);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_a_lock_without_a_place_is_an_error(void **state)
{
	pid_t holder = 0;
	int fd = -1;

	assert_int_equal(lock_take("/nowhere/at/all", "/sys/fs/bpf/weft", &fd, &holder), -ENOENT);
	assert_int_equal(fd, -1);
}

static void equal_notes(int fd, const char *key, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf notes = STRBUF_INIT;

	assert_int_equal(lock_notes(fd, key, &notes), 0);
	assert_string_equal(strbuf_text(&notes), expected);
}

static void test_notes_outlive_their_writer_until_the_next_one_signs(void **state)
{
	pid_t holder = 0;
	int fd = -1;

	assert_int_equal(lock_take(folder, BPFFS, &fd, &holder), 0);
	assert_int_equal(lock_sign(fd, getpid()), 0);
	equal_notes(fd, "control", "");
	assert_int_equal(lock_note(fd, "control", "/run/a b"), 0);
	assert_int_equal(lock_note(fd, "cgroup", "/cg"), 0);
	assert_int_equal(lock_note(fd, "control", "/run/c"), 0);
	assert_true(lock_is_noted(folder, BPFFS, "cgroup"));
	assert_false(lock_is_noted(folder, BPFFS, "cgr"));
	assert_false(lock_is_noted(folder, "/sys/fs/bpf/weft-test-2", "cgroup"));
	close(fd);
	assert_int_equal(lock_take(folder, BPFFS, &fd, &holder), 0);
	equal_notes(fd, "control", "/run/a b\n/run/c\n");
	equal_notes(fd, "cgroup", "/cg\n");
	equal_notes(fd, "contro", "");
	assert_int_equal(lock_sign(fd, getpid()), 0);
	equal_notes(fd, "control", "");
	lock_give(folder, BPFFS, &fd);
}

static int make_socket(const char *path, bool is_served)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (is_served)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_only_sockets_that_nobody_serves_are_cleared(void **state)
{
	char left[64], served[64], file[64];
	pid_t holder = 0;
	int fd = -1, other, listener;
	FILE *stream;

	snprintf(left, sizeof(left), "%s/left.sock", folder);
	snprintf(served, sizeof(served), "%s/served.sock", folder);
	snprintf(file, sizeof(file), "%s/file", folder);
	other = make_socket(left, false);
	close(other);
	listener = make_socket(served, true);
	stream = fopen(file, "w");
	fclose(stream);
	assert_int_equal(lock_take(folder, BPFFS, &fd, &holder), 0);
	assert_int_equal(lock_sign(fd, getpid()), 0);
	assert_int_equal(lock_note(fd, NOTE_CONTROL, left), 0);
	assert_int_equal(lock_note(fd, NOTE_CONTROL, served), 0);
	assert_int_equal(lock_note(fd, NOTE_CONTROL, file), 0);
	assert_int_equal(lock_note(fd, NOTE_CGROUP, folder), 0); /* none */
	leftovers_clear(fd);
	assert_int_equal(access(left, F_OK), -1);
	assert_int_equal(access(served, F_OK), 0);
	assert_int_equal(access(file, F_OK), 0);
	assert_int_equal(access(folder, F_OK), 0);
	close(listener);
	lock_give(folder, BPFFS, &fd);
}

static void test_who_signed_in_vain_gives_the_name_back(void **state)
{
	struct strbuf former = STRBUF_INIT, notes = STRBUF_INIT, now = STRBUF_INIT;
	pid_t holder = 0;
	int fd = -1;

	assert_int_equal(lock_take(folder, BPFFS, &fd, &holder), 0);
	assert_int_equal(lock_sign(fd, getpid()), 0);
	assert_int_equal(lock_note(fd, NOTE_CGROUP, "/a"), 0);
	assert_int_equal(lock_text(fd, &former), 0);
	assert_int_equal(lock_sign(fd, getpid()), 0);
	assert_int_equal(lock_note(fd, NOTE_CGROUP, "/another/and/longer"), 0);
	assert_int_equal(lock_set_text(fd, &former), 0);
	assert_int_equal(lock_text(fd, &now), 0);
	assert_string_equal(strbuf_text(&now), strbuf_text(&former));
	assert_int_equal(lock_notes(fd, NOTE_CGROUP, &notes), 0);
	assert_string_equal(strbuf_text(&notes), "/a\n");
	strbuf_release(&former);
	strbuf_release(&now);
	strbuf_release(&notes);
	lock_give(folder, BPFFS, &fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_second_daemon_learns_who_is_first),
		cmocka_unit_test(test_a_lock_without_a_place_is_an_error),
		cmocka_unit_test(test_notes_outlive_their_writer_until_the_next_one_signs),
		cmocka_unit_test(test_who_signed_in_vain_gives_the_name_back),
		cmocka_unit_test(test_only_sockets_that_nobody_serves_are_cleared),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
