/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"

/* Runs with the log in a memory file; `out` gets what was written. */
static void captured(void (*body)(void), struct strbuf *out)
{
	_cleanup_close_ int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(fd >= 0);
	/* a memory file has no lock on its position: only appending writes of threads stay apart */
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	log_set_fd(fd);
	body();
	log_set_fd(STDERR_FILENO);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(fd_read_all(fd, 1 << 20, out), 0);
}

static void one_of_each(void)
{
	log_set_level(LOG_LEVEL_INFO);
	log_error("first %d", 1);
	log_debug("hidden");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("shown");
	log_set_level(LOG_LEVEL_INFO);
}

static void test_a_line_has_time_level_area_and_text(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	const char *text;

	captured(one_of_each, &out);
	text = strbuf_text(&out);
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[23], 'Z');
	assert_memory_equal(text + 24, " error base: first 1\n", 21);
	assert_null(strstr(text, "hidden"));
	assert_non_null(strstr(text, " debug base: shown\n"));
}

static void with_meaning(void)
{
	errno = EAGAIN;
	assert_int_equal(log_err(-ENOENT, "opening %s", "x"), -ENOENT);
	assert_int_equal(log_warn(0, "nothing wrong"), 0);
	assert_int_equal(errno, EAGAIN);
}

static void test_an_error_is_returned_and_its_meaning_written(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	captured(with_meaning, &out);
	assert_non_null(strstr(strbuf_text(&out), " error base: opening x: No such file or directory\n"));
	assert_non_null(strstr(strbuf_text(&out), " warning base: nothing wrong\n"));
}

static void hostile(void)
{
	char large[8000];

	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	log_error("a\nb\r\x1b[0m\x7f");
	log_error("%s", large);
}

static void test_control_bytes_and_long_texts_stay_one_line(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	int lines = 0;

	captured(hostile, &out);
	assert_non_null(strstr(strbuf_text(&out), "a\\nb\\x0d\\x1b[0m\\x7f\n"));
	for (size_t i = 0; i < out.size; i++)
		lines += out.data[i] == '\n';
	assert_int_equal(lines, 2);
}

static void *many_lines(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_info("thread %s line %d", (const char *)arg, i);
	return NULL;
}

static void two_threads(void)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, many_lines, (char[]){ "b" }), 0);
	many_lines((char[]){ "a" });
	pthread_join(thread, NULL);
}

static void test_lines_of_threads_do_not_mix(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	int lines = 0;

	captured(two_threads, &out);
	for (char *line = strtok(out.data, "\n"); line; line = strtok(NULL, "\n"), lines++)
		assert_memory_equal(line + 24, " info base: thread ", 19);
	assert_int_equal(lines, 1000);
}

static void one_area_says_more(void)
{
	log_set_level(LOG_LEVEL_INFO);
	assert_int_equal(log_set_area_level("base", LOG_LEVEL_DEBUG), 0);
	log_debug("from here");
	log_write(LOG_LEVEL_DEBUG, "daemon/xds/x.c", "from elsewhere");
	log_set_level(LOG_LEVEL_INFO); /* of every area */
	log_debug("no more");
	assert_int_equal(log_set_area_level("kube", LOG_LEVEL_ERROR), 0);
	log_write(LOG_LEVEL_WARNING, "daemon/kube/x.c", "too little");
	log_set_level(LOG_LEVEL_INFO);
}

static void more_than_the_rate(void)
{
	log_set_rate(10);
	for (int i = 0; i < 25; i++)
		log_info("line %d", i);
	usleep(1100000);
	log_info("the next second");
	log_set_rate(0);
	for (int i = 0; i < 25; i++)
		log_info("any number");
}

static size_t times(const char *text, const char *what)
{
	size_t count = 0;

	while ((text = strstr(text, what))) {
		count++;
		text++;
	}
	return count;
}

/* The 25 lines may lie in two seconds. */
static void test_lines_beyond_the_rate_are_left_out_and_told_of(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	unsigned long long before = log_left_out(), left_out;

	(void)state;
	captured(more_than_the_rate, &out);
	left_out = log_left_out() - before;
	assert_in_range(left_out, 5, 15);
	assert_int_equal(times(strbuf_text(&out), ": line "), 25 - left_out);
	assert_in_range(times(strbuf_text(&out), " lines were left out: more than 10 in a second (--log-rate)"), 1, 2);
	assert_int_equal(times(strbuf_text(&out), "the next second"), 1);
	assert_int_equal(times(strbuf_text(&out), "any number"), 25);
}

static void wait_too_long(int signal)
{
	static const char text[] = "a line that nobody reads was waited for\n";

	(void)signal;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(1);
}

/* Until nothing more is in there. */
static void read_what_is_there(int fd, struct strbuf *out)
{
	char bytes[4096];
	ssize_t n;

	assert_int_equal(fd_set_nonblocking(fd, true), 0);
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		assert_int_equal(strbuf_append(out, bytes, (size_t)n), 0);
}

static void nobody_reads(int reader, int writer)
{
	_cleanup_(strbuf_release) struct strbuf first = STRBUF_INIT, then = STRBUF_INIT;
	const unsigned long long before = log_lost();
	unsigned long long lost;
	char expected[64];

	log_set_fd(writer);
	signal(SIGALRM, wait_too_long);
	alarm(20);
	for (int i = 0; i < 20000; i++)
		log_info("one of many");
	lost = log_lost() - before;
	read_what_is_there(reader, &first);
	log_info("read again");
	log_info("and again");
	log_set_fd(STDERR_FILENO);
	alarm(0);
	assert_in_range(lost, 1, 19999);
	assert_int_equal(times(strbuf_text(&first), "one of many\n"), 20000 - lost);
	assert_int_equal(first.data[first.size - 1], '\n');
	read_what_is_there(reader, &then);
	snprintf(expected, sizeof(expected), " warning base: %llu lines were lost", lost);
	assert_int_equal(times(strbuf_text(&then), expected), 1);
	assert_int_equal(times(strbuf_text(&then), "\n"), 3);
	assert_non_null(strstr(strbuf_text(&then), " info base: and again\n"));
	assert_int_equal(log_lost() - before, lost);
}

static void test_nobody_waits_for_who_does_not_read(void **state)
{
	int ends[2], former;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	former = dup(ends[1]);
	assert_int_equal(fd_write_without_waiting(ends[1]), 0);
	nobody_reads(ends[0], ends[1]);
	assert_false(fcntl(former, F_GETFL) & O_NONBLOCK); /* it is somebody else's */
	close(former);
	close(ends[0]);
	close(ends[1]);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(fd_write_without_waiting(ends[1]), 0);
	nobody_reads(ends[0], ends[1]);
	close(ends[0]);
	close(ends[1]);
}

/* In a process of its own; nobody reads. */
static void loses(int writer, int lines)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		log_set_fd(writer);
		for (int i = 0; i < lines; i++)
			log_info("a line of another process");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Keeper and worker, and the worker after that. */
static void test_processes_count_together_what_the_log_lacks(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	unsigned long long lost = log_lost(), left_out = log_left_out(), last;
	char bytes[4096] = "", expected[64];
	int ends[2];

	assert_int_equal(log_share_counts(), 0);
	assert_int_equal(log_lost(), lost);
	assert_int_equal(log_left_out(), left_out);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fd_set_nonblocking(ends[1], true), 0);
	while (write(ends[1], bytes, sizeof(bytes)) > 0)
		;
	loses(ends[1], 3);
	loses(ends[1], 2);
	assert_int_equal(log_lost() - lost, 5);
	log_set_fd(ends[1]);
	log_info("and one of this");
	read_what_is_there(ends[0], &out);
	strbuf_truncate(&out, 0);
	log_info("read again");
	log_set_fd(STDERR_FILENO);
	assert_int_equal(log_lost() - lost, 6);
	read_what_is_there(ends[0], &out);
	assert_int_equal(times(strbuf_text(&out), " 6 lines were lost"), 1);
	assert_int_equal(times(strbuf_text(&out), "\n"), 2);

	log_set_rate(1);
	loses(ends[1], 100);
	log_set_rate(0);
	last = log_left_out() - left_out;
	assert_in_range(last, 90, 100); /* this second may have had its line, or another one may begin */
	close(ends[0]);
	close(ends[1]);

	usleep(1100000);
	strbuf_truncate(&out, 0);
	log_set_rate(100);
	captured(one_of_each, &out);
	log_set_rate(0);
	snprintf(expected, sizeof(expected), " %llu lines were left out", last);
	assert_int_equal(times(strbuf_text(&out), expected), 1);
}

static void test_an_area_has_a_level_of_its_own(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	captured(one_area_says_more, &out);
	assert_memory_equal(strbuf_text(&out) + 24, " debug base: from here\n", 23);
	assert_int_equal(out.size, 24 + 23);
	assert_int_equal(log_set_area_level("nowhere", LOG_LEVEL_INFO), -ENOENT);
}

/* Each folder of the daemon is an area that can be named. */
static void test_every_stage_is_an_area(void **state)
{
	static const char *const stages[] = { "main", "base", "keeper", "kube", "mesh", "xds", "dns", "compile", "datapath", "pool", "proxy", "admin", "worker" };

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++)
		assert_int_equal(log_set_area_level(stages[i], LOG_LEVEL_INFO), 0);
	log_set_level(LOG_LEVEL_INFO);
}

static void as_json(void)
{
	log_set_format(LOG_FORMAT_JSON);
	log_error("\"a\"\\b\n\xc3\xa9\xff");
	log_set_format(LOG_FORMAT_TEXT);
}

static void test_a_line_may_be_an_object(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	enum log_format format;

	captured(as_json, &out);
	assert_memory_equal(strbuf_text(&out), "{\"time\":\"20", 11);
	assert_non_null(strstr(strbuf_text(&out), "Z\",\"level\":\"error\",\"area\":\"base\",\"message\":\"\\\"a\\\"\\\\b\\u000a\xc3\xa9\\ufffd\"}\n"));
	assert_int_equal(log_format_parse("json", &format), 0);
	assert_int_equal(format, LOG_FORMAT_JSON);
	assert_int_equal(log_format_parse("xml", &format), -EINVAL);
}

static void test_levels_are_parsed_by_name(void **state)
{
	enum log_level level;

	assert_int_equal(log_level_parse("warning", &level), 0);
	assert_int_equal(level, LOG_LEVEL_WARNING);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_string_equal(log_level_name(LOG_LEVEL_DEBUG), "debug");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_has_time_level_area_and_text),
		cmocka_unit_test(test_an_error_is_returned_and_its_meaning_written),
		cmocka_unit_test(test_control_bytes_and_long_texts_stay_one_line),
		cmocka_unit_test(test_lines_of_threads_do_not_mix),
		cmocka_unit_test(test_lines_beyond_the_rate_are_left_out_and_told_of),
		cmocka_unit_test(test_nobody_waits_for_who_does_not_read),
		cmocka_unit_test(test_processes_count_together_what_the_log_lacks),
		cmocka_unit_test(test_an_area_has_a_level_of_its_own),
		cmocka_unit_test(test_every_stage_is_an_area),
		cmocka_unit_test(test_a_line_may_be_an_object),
		cmocka_unit_test(test_levels_are_parsed_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
