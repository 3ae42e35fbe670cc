/* SPDX-License-Identifier: Apache-2.0 */
/* What served last, on disk. */
#include "fixture.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "xds/cache.h"

struct place {
	char folder[64], file[96], aside[112];
};

static struct place make_place(void)
{
	struct place place;

	strcpy(place.folder, "/tmp/weft-cache-XXXXXX");
	assert_non_null(mkdtemp(place.folder));
	snprintf(place.file, sizeof(place.file), "%s/default.xds", place.folder);
	snprintf(place.aside, sizeof(place.aside), "%s.damaged", place.file);
	return place;
}

static void drop_place(const struct place *place)
{
	unlink(place->file);
	unlink(place->aside);
	assert_int_equal(rmdir(place->folder), 0);
}

static struct xds_scope *new_scope(struct fixture *fx)
{
	static const struct xds_scope_callbacks callbacks = { fixture_on_send, fixture_on_publish };
	struct xds_scope *scope = NULL;

	assert_int_equal(xds_scope_new(fx->store, "default", NODE, sizeof(NODE) - 1, &callbacks, fx, &scope), 0);
	return scope;
}

static void test_what_was_written_serves_again(void **state)
{
	struct fixture *fx = *state;
	struct place place = make_place();
	struct xds_scope *scope = new_scope(fx);
	uint64_t unix_ms = 0;
	size_t published;

	begin_serving(fx);
	published = fx->published;
	assert_int_equal(xds_cache_write(place.folder, fx->scope, 12345), 0);
	assert_int_equal(xds_cache_read(place.folder, scope, 1000, &unix_ms), 0);
	assert_int_equal(unix_ms, 12345);
	assert_int_equal(fx->published, published + 1);
	assert_true(xds_scope_is_ready(scope));
	assert_non_null(mesh_find_cluster(xds_scope_mesh(scope), "a"));
	assert_non_null(mesh_find_load_assignment(xds_scope_mesh(scope), "a"));
	assert_non_null(mesh_find_listener(xds_scope_mesh(scope), "l"));
	assert_non_null(mesh_find_route_config(xds_scope_mesh(scope), "r"));
	xds_scope_free(&scope);
	drop_place(&place);
}

/* ---- what reaches the disk, in which order: these stand before libc's own ------------------------------------------------------------ */

static char steps[256];
static pthread_t stepper;
static int fsync_error;

static void step(const char *what, const char *name)
{
	stepper = pthread_self();
	snprintf(steps + strlen(steps), sizeof(steps) - strlen(steps), "%s %s; ", what, name);
}

int fsync(int fd)
{
	char link[64], path[256] = "";

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_true(readlink(link, path, sizeof(path) - 1) > 0);
	step("sync", strrchr(path, '/') + 1);
	errno = fsync_error;
	return fsync_error ? -1 : 0;
}

int rename(const char *from, const char *to)
{
	step("rename to", strrchr(to, '/') + 1);
	return (int)syscall(SYS_rename, from, to);
}

static void test_the_disk_has_the_file_before_its_name_and_then_the_name(void **state)
{
	struct fixture *fx = *state;
	struct place place = make_place();
	char expected[256];

	begin_serving(fx);
	steps[0] = '\0';
	assert_int_equal(xds_cache_write(place.folder, fx->scope, 1), 0);
	snprintf(expected, sizeof(expected), "sync default.xds.new; rename to default.xds; sync %s; ", strrchr(place.folder, '/') + 1);
	assert_string_equal(steps, expected);
	assert_false(pthread_equal(stepper, pthread_self())); /* nobody else waits for a disk */
	drop_place(&place);
}

static void test_what_the_disk_refuses_does_not_replace_the_former(void **state)
{
	struct fixture *fx = *state;
	struct place place = make_place();
	struct xds_scope *scope = new_scope(fx);
	char next[112];
	uint64_t unix_ms = 0;

	begin_serving(fx);
	assert_int_equal(xds_cache_write(place.folder, fx->scope, 1), 0);
	fsync_error = EIO;
	assert_int_equal(xds_cache_write(place.folder, fx->scope, 2), -EIO);
	fsync_error = 0;
	assert_int_equal(xds_cache_read(place.folder, scope, 1000, &unix_ms), 0);
	assert_int_equal(unix_ms, 1);
	xds_scope_free(&scope);
	snprintf(next, sizeof(next), "%s.new", place.file);
	unlink(next);
	drop_place(&place);
}

static void test_no_file_is_no_cache(void **state)
{
	struct fixture *fx = *state;
	struct place place = make_place();
	uint64_t unix_ms;

	assert_int_equal(xds_cache_read(place.folder, fx->scope, 1000, &unix_ms), -ENOENT);
	drop_place(&place);
}

static void put_file(const char *path, const char *bytes, size_t size)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	fclose(file);
}

/* Cut short anywhere, or with any byte changed. */
static void test_a_damaged_file_is_set_aside(void **state)
{
	struct fixture *fx = *state;
	struct place place = make_place();
	struct strbuf good = STRBUF_INIT;
	uint64_t unix_ms;

	begin_serving(fx);
	assert_int_equal(xds_cache_write(place.folder, fx->scope, 1), 0);
	assert_int_equal(file_read(place.file, 1 << 20, &good), 0);
	for (size_t at = 0; at < good.size; at += 7) {
		struct xds_scope *scope = new_scope(fx);
		struct stat info;

		put_file(place.file, good.data, at);
		assert_int_equal(xds_cache_read(place.folder, scope, 1000, &unix_ms), -EBADMSG);
		assert_int_equal(stat(place.aside, &info), 0);
		assert_int_equal(xds_cache_read(place.folder, scope, 1000, &unix_ms), -ENOENT);
		good.data[at] ^= 1;
		put_file(place.file, good.data, good.size);
		good.data[at] ^= 1;
		assert_int_equal(xds_cache_read(place.folder, scope, 1000, &unix_ms), -EBADMSG);
		assert_false(xds_scope_is_ready(scope));
		xds_scope_free(&scope);
	}
	strbuf_release(&good);
	drop_place(&place);
}

static void test_a_name_that_leads_elsewhere_is_refused(void **state)
{
	static const struct xds_scope_callbacks callbacks = { fixture_on_send, fixture_on_publish };
	struct fixture *fx = *state;
	struct xds_scope *scope = NULL;

	assert_int_equal(xds_scope_new(fx->store, "../x", NODE, sizeof(NODE) - 1, &callbacks, fx, &scope), 0);
	assert_int_equal(xds_cache_write("/tmp", scope, 1), -EINVAL);
	xds_scope_free(&scope);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_was_written_serves_again),
		TEST(test_the_disk_has_the_file_before_its_name_and_then_the_name),
		TEST(test_what_the_disk_refuses_does_not_replace_the_former),
		TEST(test_no_file_is_no_cache),
		TEST(test_a_damaged_file_is_set_aside),
		TEST(test_a_name_that_leads_elsewhere_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
