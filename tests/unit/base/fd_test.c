/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"

static void test_flags_go_on_and_off(void **state)
{
	int pair[2];

	assert_int_equal(pipe(pair), 0);
	assert_int_equal(fd_set_nonblocking(pair[0], true), 0);
	assert_true(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_nonblocking(pair[0], false), 0);
	assert_false(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_cloexec(pair[0], true), 0);
	assert_true(fcntl(pair[0], F_GETFD) & FD_CLOEXEC);
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(fd_set_cloexec(pair[0], true), -EBADF);
}

static void test_a_file_is_replaced_as_a_whole_and_read_back(void **state)
{
	char folder[] = "/tmp/weft-fd-test.XXXXXX";
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf content = STRBUF_INIT;
	struct stat info;

	assert_non_null(mkdtemp(folder));
	strbuf_printf(&path, "%s/file", folder);
	assert_int_equal(file_write_atomic(path.data, "old", 3, 0600), 0);
	assert_int_equal(file_write_atomic(path.data, "newer", 5, 0640), 0);
	assert_int_equal(file_read(path.data, 5, &content), 0);
	assert_string_equal(content.data, "newer");
	assert_int_equal(stat(path.data, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0640);

	strbuf_truncate(&content, 0);
	assert_int_equal(file_read(path.data, 4, &content), -EFBIG);
	assert_string_equal(content.data, "newe");
	assert_int_equal(file_read(folder, 100, &content), -EISDIR);
	unlink(path.data);
	assert_int_equal(file_read(path.data, 100, &content), -ENOENT);
	assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
}

static void test_a_pipe_without_a_writer_keeps_nobody_waiting(void **state)
{
	char folder[] = "/tmp/weft-fd-test.XXXXXX";
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf content = STRBUF_INIT;

	assert_non_null(mkdtemp(folder));
	strbuf_printf(&path, "%s/file", folder);
	assert_int_equal(mkfifo(path.data, 0600), 0);
	assert_int_equal(file_read_regular(path.data, 100, &content), -ENODEV);
	unlink(path.data);
	assert_int_equal(file_read_regular(path.data, 100, &content), -ENOENT);
	assert_int_equal(file_read_regular("/dev/zero", 100, &content), -ENODEV);
	assert_int_equal(file_read_regular(folder, 100, &content), -EISDIR);
	assert_int_equal(file_write_atomic(path.data, "text", 4, 0600), 0);
	assert_int_equal(file_read_regular(path.data, 100, &content), 0);
	assert_string_equal(content.data, "text");
	unlink(path.data);
	assert_int_equal(rmdir(folder), 0);
}

static void test_a_socket_takes_the_place_of_a_dead_one_and_of_nothing_else(void **state)
{
	char folder[] = "/tmp/weft-fd-test.XXXXXX";
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;
	_cleanup_(strbuf_release) struct strbuf content = STRBUF_INIT;
	int fd = -1, second = -1;

	assert_non_null(mkdtemp(folder));
	strbuf_printf(&path, "%s/socket", folder);
	assert_int_equal(socket_listen(path.data, SOCK_STREAM, 1, &fd), 0);
	assert_int_equal(socket_listen(path.data, SOCK_STREAM, 1, &second), -EADDRINUSE);
	assert_true(socket_is_served(path.data));
	close(fd);
	assert_false(socket_is_served(path.data));
	assert_int_equal(socket_listen(path.data, SOCK_STREAM, 1, &second), 0);
	close(second);
	unlink(path.data);

	assert_int_equal(file_write_atomic(path.data, "precious", 8, 0600), 0);
	assert_int_equal(socket_listen(path.data, SOCK_STREAM, 1, &second), -EEXIST);
	assert_int_equal(file_read(path.data, 100, &content), 0);
	assert_string_equal(content.data, "precious");
	unlink(path.data);
	assert_int_equal(rmdir(folder), 0);
}

static void test_taken_descriptors_are_not_closed(void **state)
{
	int kept;

	{
		_cleanup_close_ int fd = dup(0);

		assert_true(fd >= 0);
		kept = TAKE_FD(fd);
		assert_int_equal(fd, -1);
	}
	assert_true(fcntl(kept, F_GETFD) >= 0);
	close(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flags_go_on_and_off),
		cmocka_unit_test(test_a_file_is_replaced_as_a_whole_and_read_back),
		cmocka_unit_test(test_a_pipe_without_a_writer_keeps_nobody_waiting),
		cmocka_unit_test(test_a_socket_takes_the_place_of_a_dead_one_and_of_nothing_else),
		cmocka_unit_test(test_taken_descriptors_are_not_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
