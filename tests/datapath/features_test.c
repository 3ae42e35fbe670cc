/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel can do, what the option takes away, and that the programs load without it. In the running kernel, as root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "datapath/datapath.h"

static char bpffs[64];

static void states_with(uint32_t disabled, bool adopt, struct datapath_feature_state out[FEATURE_COUNT])
{
	const struct datapath_options options = { .bpffs = bpffs, .fast_path = WEFT_FAST_PATH_ON, .disabled = disabled, .adopt = adopt };
	struct datapath *dp;

	assert_int_equal(datapath_new(&dp, &options), 0);
	datapath_features(dp, out);
	assert_int_equal(datapath_fast_path(dp), out[FEATURE_SOCKMAP].is_on ? WEFT_FAST_PATH_ON : WEFT_FAST_PATH_OFF);
	datapath_free(&dp);
}

static int clean(void **state)
{
	return datapath_uninstall(bpffs);
}

/* "none integrity [confidentiality]"; where the file is missing, the kernel knows no lockdown. */
static bool is_locked_down(void)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	return file_read("/sys/kernel/security/lockdown", 4096, &text) == 0 && strstr(strbuf_text(&text), "[confidentiality]");
}

static void test_names_are_those_of_the_status(void **state)
{
	_cleanup_(strbuf_release) struct strbuf complaint = STRBUF_INIT;
	uint32_t bits = 0;

	assert_int_equal(datapath_features_parse("sockmap", &bits, &complaint), 0);
	assert_int_equal(bits, 1u << FEATURE_SOCKMAP);
	assert_int_equal(datapath_features_parse("cork,push_pop,cork", &bits, &complaint), 0);
	assert_int_equal(bits, 1u << FEATURE_CORK | 1u << FEATURE_PUSH_POP);
	assert_int_equal(complaint.size, 0);
}

static void test_an_unknown_name_is_refused_with_a_list_of_the_known(void **state)
{
	static const char *const wrong[] = { "corks", "cork,", "", ",cork", "cork,sock" };

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_(strbuf_release) struct strbuf complaint = STRBUF_INIT;
		uint32_t bits = 77;

		assert_int_equal(datapath_features_parse(wrong[i], &bits, &complaint), -EINVAL);
		assert_int_equal(bits, 77);
		assert_non_null(strstr(strbuf_text(&complaint), "sockmap, sk_skb, fionread_mend, fionread_redirected, direct_reads, cork, push_pop"));
	}
}

static void test_each_feature_can_be_disabled(void **state)
{
	for (uint32_t i = 0; i < FEATURE_COUNT; i++) {
		struct datapath_feature_state states[FEATURE_COUNT], adopted[FEATURE_COUNT];

		states_with(1u << i, false, states);
		assert_string_equal(states[i].name, datapath_feature_names[i]);
		assert_false(states[i].is_on);
		assert_string_equal(states[i].detail, "disabled by option");
		/* A worker that follows another one says the same. */
		states_with(1u << i, true, adopted);
		for (size_t j = 0; j < FEATURE_COUNT; j++) {
			assert_int_equal(adopted[j].is_on, states[j].is_on);
			assert_string_equal(adopted[j].detail, states[j].detail);
		}
		assert_int_equal(datapath_uninstall(bpffs), 0);
	}
}

static void test_everything_can_be_disabled_at_once(void **state)
{
	struct datapath_feature_state states[FEATURE_COUNT];

	states_with((1u << FEATURE_COUNT) - 1, false, states);
	for (size_t i = 0; i < FEATURE_COUNT; i++) {
		assert_false(states[i].is_on);
		assert_string_equal(states[i].detail, "disabled by option");
	}
}

static enum weft_fast_path in_force(enum weft_fast_path wanted, uint32_t disabled)
{
	const struct datapath_options options = { .bpffs = bpffs, .fast_path = wanted, .disabled = disabled };
	enum weft_fast_path mode;
	struct datapath *dp;

	assert_int_equal(datapath_new(&dp, &options), 0);
	mode = datapath_fast_path(dp);
	datapath_free(&dp);
	assert_int_equal(datapath_uninstall(bpffs), 0);
	return mode;
}

static void test_auto_is_off_where_fionread_misses_redirected_bytes(void **state)
{
	const uint32_t missing = 1u << FEATURE_FIONREAD_REDIRECTED;
	struct datapath_feature_state states[FEATURE_COUNT];

	states_with(0, false, states);
	assert_int_equal(datapath_uninstall(bpffs), 0);
	assert_int_equal(in_force(WEFT_FAST_PATH_AUTO, 0), states[FEATURE_FIONREAD_REDIRECTED].is_on ? WEFT_FAST_PATH_ON : WEFT_FAST_PATH_OFF);
	assert_int_equal(in_force(WEFT_FAST_PATH_AUTO, missing), WEFT_FAST_PATH_OFF);
	if (!states[FEATURE_SOCKMAP].is_on)
		return;
	assert_int_equal(in_force(WEFT_FAST_PATH_ON, missing), WEFT_FAST_PATH_ON);
	assert_int_equal(in_force(WEFT_FAST_PATH_REMOTE, missing), WEFT_FAST_PATH_REMOTE);
}

/* Lockdown in its stricter form forbids programs to read kernel memory: the proxy then serves everything, and status says why. */
static void test_features_are_what_the_kernel_allows(void **state)
{
	struct datapath_feature_state states[FEATURE_COUNT];

	states_with(0, false, states);
	for (size_t i = 0; i < FEATURE_COUNT; i++)
		print_message("  %-19s %-4s %s\n", states[i].name, states[i].is_on ? "on" : "off", states[i].detail);
	if (is_locked_down()) {
		assert_false(states[FEATURE_SOCKMAP].is_on);
		assert_string_equal(states[FEATURE_SOCKMAP].detail,
				    "this kernel has no bpf_probe_read_kernel (lockdown: confidentiality): the proxy serves everything");
		return;
	}
	assert_true(states[FEATURE_SOCKMAP].is_on);
	assert_true(states[FEATURE_SK_SKB].is_on);
	if (states[FEATURE_FIONREAD_REDIRECTED].is_on)
		assert_non_null(strstr(states[FEATURE_FIONREAD_REDIRECTED].detail, "tried"));
	else
		assert_non_null(strstr(states[FEATURE_FIONREAD_REDIRECTED].detail, "misses"));
	if (states[FEATURE_PUSH_POP].is_on)
		assert_non_null(strstr(states[FEATURE_PUSH_POP].detail, "tried"));
	else
		assert_non_null(strstr(states[FEATURE_PUSH_POP].detail, "overflow"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_those_of_the_status),
		cmocka_unit_test(test_an_unknown_name_is_refused_with_a_list_of_the_known),
		cmocka_unit_test_teardown(test_features_are_what_the_kernel_allows, clean),
		cmocka_unit_test_teardown(test_auto_is_off_where_fionread_misses_redirected_bytes, clean),
		cmocka_unit_test_teardown(test_each_feature_can_be_disabled, clean),
		cmocka_unit_test_teardown(test_everything_can_be_disabled_at_once, clean),
	};

	snprintf(bpffs, sizeof(bpffs), "/sys/fs/bpf/weft-features-%d", (int)getpid());
	log_set_level(LOG_LEVEL_WARNING);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
