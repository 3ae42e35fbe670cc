/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/preflight.h"

#include "folder.h"

static const char *write_file(const char *name, const char *text)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	assert_int_equal(file_write_atomic(path, text, strlen(text), 0644), 0);
	return path;
}

static void test_missing_capabilities_are_named(void **state)
{
	_cleanup_(strbuf_release) struct strbuf names = STRBUF_INIT;

	assert_int_equal(preflight_missing(UINT64_MAX, &names), 0);
	assert_int_equal(names.size, 0);
	assert_int_equal(preflight_missing(0, &names), 0);
	assert_string_equal(strbuf_text(&names), "CAP_NET_ADMIN, CAP_SYS_ADMIN");
	strbuf_truncate(&names, 0);
	assert_int_equal(preflight_missing(1u << 12, &names), 0);
	assert_string_equal(strbuf_text(&names), "CAP_SYS_ADMIN");
}

static void test_cgroup2_is_found_wherever_it_is_mounted(void **state)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;

	assert_int_equal(preflight_cgroup2(write_file("hybrid", "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n"
								"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
								"cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"), &path), 0);
	assert_string_equal(path.data, "/sys/fs/cgroup/unified");
	strbuf_truncate(&path, 0);
	assert_int_equal(preflight_cgroup2(write_file("odd", "none /mnt/my\\040groups cgroup2 rw 0 0\n"), &path), 0);
	assert_string_equal(path.data, "/mnt/my groups");
	assert_int_equal(preflight_cgroup2(write_file("v1", "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), &path), -ENOENT);
}

static void worker_cgroup(const char *self, const char *wanted, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf path = STRBUF_INIT;

	assert_int_equal(preflight_worker_cgroup("/cg", write_file("self", self), wanted, &path), 0);
	assert_string_equal(path.data, expected);
}

static void test_the_worker_gets_a_cgroup_below_the_one_it_began_in(void **state)
{
	worker_cgroup("0::/\n", NULL, "/cg/weft");
	worker_cgroup("0::/system.slice/weftd.service\n", NULL, "/cg/system.slice/weftd.service/weft");
	worker_cgroup("4:memory:/x\n1:name=systemd:/y\n0::/demo/daemon\n", NULL, "/cg/demo/daemon/weft");
	worker_cgroup("4:memory:/x\n", NULL, "/cg/weft");
	worker_cgroup("0::/../other\n", NULL, "/cg/weft");
	worker_cgroup("0::/demo\n", "/cg/mine", "/cg/mine");
}

static void test_descriptors_are_what_the_system_gives(void **state)
{
	assert_true(preflight_descriptors(64) >= 64);
}

static const char *in_folder(const char *name)
{
	static char paths[2][256];
	static unsigned turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void test_what_lies_in_a_folder_is_found_by_every_way_to_it(void **state)
{
	static const struct {
		const char *path, *folder;
		bool is_inside;
	} cases[] = {
		{ "pins/x.sock", "pins", true }, { "pins", "pins", true }, { "pins//new/../x.sock", "./pins//", true }, { "pins/a/b/x.sock", "pins/a", true },
		{ "new/x.sock", "new", true }, { "new/../pins/x.sock", "pins", true }, { "link/x.sock", "pins", true }, { "pins/x.sock", "link/", true },
		{ "link/new/x.sock", "pins/new", true }, { "pins-more/x.sock", "pins", false }, { "x.sock", "pins", false }, { "pins/../x.sock", "pins", false },
		{ "pins/x.sock", "pins/a", false }, { "link/../x.sock", "deep", false }, { "link/../x.sock", ".", true }, { "deep/up/x.sock", "deep", false },
		{ "deep/up/pins/x.sock", "pins", true },
	};
	char way[256];

	assert_int_equal(mkdir(in_folder("pins"), 0700), 0);
	assert_int_equal(mkdir(in_folder("deep"), 0700), 0);
	assert_int_equal(symlink(in_folder("pins"), in_folder("link")), 0);
	assert_int_equal(symlink("..", in_folder("deep/up")), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (preflight_is_inside(in_folder(cases[i].path), in_folder(cases[i].folder)) != cases[i].is_inside)
			fail_msg("%s in %s", cases[i].path, cases[i].folder);
	assert_true(preflight_is_inside("/x", "/"));
	assert_true(preflight_is_inside("/../x/y", "//x"));
	assert_false(preflight_is_inside("/", "/x"));
	assert_non_null(getcwd(way, sizeof(way)));
	assert_int_equal(chdir(folder), 0);
	assert_true(preflight_is_inside("pins/x.sock", in_folder("pins")));
	assert_true(preflight_is_inside("deep/../pins/x.sock", in_folder("pins")));
	assert_false(preflight_is_inside("x.sock", in_folder("pins")));
	assert_int_equal(chdir(way), 0);
	assert_false(preflight_is_on_bpffs(in_folder("pins/new/x.sock")));
	assert_false(preflight_is_on_bpffs("/weft-is-not-there"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing_capabilities_are_named),
		cmocka_unit_test(test_cgroup2_is_found_wherever_it_is_mounted),
		cmocka_unit_test(test_the_worker_gets_a_cgroup_below_the_one_it_began_in),
		cmocka_unit_test(test_what_lies_in_a_folder_is_found_by_every_way_to_it),
		cmocka_unit_test(test_descriptors_are_what_the_system_gives),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
