/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the verifier's budget the programs take as the daemon loads them. In the running kernel, as root. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "weft/abi.h"

/* Instructions that the verifier looks at before it gives up are a million: a quarter is left for other compilers and kernels. */
#define BUDGET 1000000u
#define BUDGET_USED_MAX (BUDGET - BUDGET / 4)
/* It looks at about one in a microsecond, and that is how long a start takes: the programs that weftd waits for before it serves, and all. */
#define FIRST_MAX 60000u
#define ALL_MAX 600000u

static char bpffs[64];

static int clean(void **state)
{
	return datapath_uninstall(bpffs);
}

struct totals {
	int count;
	uint32_t first, all;
};

/* Of a program that is in an array of those that the stubs call; socket messages are loaded while weftd serves. */
static void check_program(uint32_t id, struct totals *totals)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	printf("  %-16s %7u instructions, %2u %% of the budget\n", info.name, info.verified_insns, info.verified_insns / (BUDGET / 100));
	assert_in_range(info.verified_insns, 1, BUDGET_USED_MAX);
	totals->count++;
	totals->all += info.verified_insns;
	if (info.type != BPF_PROG_TYPE_SK_MSG && info.type != BPF_PROG_TYPE_SK_SKB)
		totals->first += info.verified_insns;
}

static void check_map(const char *path, struct totals *totals)
{
	struct bpf_map_info info = { 0 };
	uint32_t size = sizeof(info), i, id;
	_cleanup_close_ int fd = bpf_obj_get(path);

	if (fd < 0)
		return; /* a folder */
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &size), 0);
	for (i = 0; info.type == BPF_MAP_TYPE_PROG_ARRAY && i < info.max_entries; i++)
		if (!bpf_map_lookup_elem(fd, &i, &id))
			check_program(id, totals);
}

static void check_programs(uint32_t disabled)
{
	const struct datapath_options options = { .bpffs = bpffs, .fast_path = WEFT_FAST_PATH_ON, .disabled = disabled };
	struct datapath_feature_state states[FEATURE_COUNT];
	struct datapath *dp;
	struct dirent *entry;
	struct totals totals = { 0 };
	char path[512];
	DIR *dir;

	assert_int_equal(datapath_new(&dp, &options), 0);
	datapath_features(dp, states);
	assert_true(states[FEATURE_SOCKMAP].is_on);
	assert_true(states[FEATURE_SK_SKB].is_on);
	for (int i = 0; i < FEATURE_COUNT; i++) {
		if (strstr(states[i].detail, "refuse"))
			fail_msg("%s: %s", states[i].name, states[i].detail);
	}
	dir = opendir(datapath_pins(dp));
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s", datapath_pins(dp), entry->d_name);
		check_map(path, &totals);
	}
	closedir(dir);
	printf("  %-16s %7u instructions, %u of them before weftd serves\n", "all", totals.all, totals.first);
	assert_true(totals.count >= 8);
	assert_in_range(totals.first, 1, FIRST_MAX);
	assert_in_range(totals.all, 1, ALL_MAX);
	datapath_free(&dp);
}

static void test_a_quarter_of_the_budget_is_left(void **state)
{
	check_programs(0);
}

static void test_a_quarter_of_the_budget_is_left_without_direct_reads(void **state)
{
	check_programs(1u << FEATURE_DIRECT_READS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a_quarter_of_the_budget_is_left, clean),
		cmocka_unit_test_teardown(test_a_quarter_of_the_budget_is_left_without_direct_reads, clean),
	};

	snprintf(bpffs, sizeof(bpffs), "/sys/fs/bpf/weft-budget-%d", (int)getpid());
	log_set_level(LOG_LEVEL_WARNING);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
