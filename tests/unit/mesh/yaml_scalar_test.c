/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include <math.h>

#include "mesh/yaml_scalar.h"

static struct yaml_node scalar(const char *text, bool is_plain)
{
	struct yaml_node node = { .kind = NODE_SCALAR, .is_plain = is_plain };

	node.scalar.text = text;
	node.scalar.size = strlen(text);
	return node;
}

static enum scalar_kind kind_of(const char *text)
{
	struct yaml_node node = scalar(text, true);

	return scalar_kind(&node);
}

static void test_plain_scalars_follow_the_core_schema(void **state)
{
	static const struct {
		const char *text;
		enum scalar_kind kind;
	} cases[] = {
		{ "", SCALAR_NULL },       { "~", SCALAR_NULL },      { "null", SCALAR_NULL },    { "true", SCALAR_BOOL },  { "False", SCALAR_BOOL },
		{ "0", SCALAR_NUMBER },    { "-12", SCALAR_NUMBER },  { "+3", SCALAR_NUMBER },    { "0x1F", SCALAR_NUMBER }, { "0o17", SCALAR_NUMBER },
		{ "1.5", SCALAR_NUMBER },  { ".5", SCALAR_NUMBER },   { "1.", SCALAR_NUMBER },    { "1e3", SCALAR_NUMBER }, { ".inf", SCALAR_NUMBER },
		{ "-.inf", SCALAR_NUMBER }, { ".nan", SCALAR_NUMBER }, { "yes", SCALAR_TEXT },     { "on", SCALAR_TEXT },    { "1.2.3", SCALAR_TEXT },
		{ "1e", SCALAR_TEXT },     { "0x", SCALAR_TEXT },     { ".", SCALAR_TEXT },       { "-", SCALAR_TEXT },     { "NaN", SCALAR_TEXT },
		{ "10.0.0.1", SCALAR_TEXT }, { "5s", SCALAR_TEXT },   { "Infinity", SCALAR_TEXT }, { "TRUE", SCALAR_BOOL }, { "tRUE", SCALAR_TEXT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (kind_of(cases[i].text) != cases[i].kind)
			fail_msg("`%s` is %d, not %d", cases[i].text, kind_of(cases[i].text), cases[i].kind);
}

static void test_quotes_make_a_text(void **state)
{
	struct yaml_node node = scalar("5", false);
	bool truth;

	assert_int_equal(scalar_kind(&node), SCALAR_TEXT);
	node = scalar("true", false);
	assert_int_equal(scalar_bool(&node, &truth), -EINVAL);
}

static void test_whole_numbers_are_checked_against_their_range(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t value;
	} cases[] = {
		{ "0", 0, 0 },
		{ "-0", 0, 0 },
		{ "2147483647", 0, INT32_MAX },
		{ "2147483648", -ERANGE, 0 },
		{ "-2147483648", 0, INT32_MIN },
		{ "-2147483649", -ERANGE, 0 },
		{ "0x10", 0, 16 },
		{ "0o10", 0, 8 },
		{ "010", 0, 10 },
		{ "1e3", 0, 1000 },
		{ "5.0", 0, 5 },
		{ "5.5", -EINVAL, 0 },
		{ "99999999999999999999", -ERANGE, 0 },
		{ "1e30", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "x", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "--1", -EINVAL, 0 },
		{ "NaN", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct yaml_node node = scalar(cases[i].text, true);
		int64_t value = 0;
		int r = scalar_int64(&node, INT32_MIN, INT32_MAX, &value);

		if (r != cases[i].r || value != cases[i].value)
			fail_msg("`%s` gave %d, %lld", cases[i].text, r, (long long)value);
	}
}

static void test_64_bit_numbers_reach_their_ends(void **state)
{
	struct yaml_node max = scalar("18446744073709551615", false), over = scalar("18446744073709551616", true);
	struct yaml_node min = scalar("-9223372036854775808", true), under = scalar("-9223372036854775809", true);
	struct yaml_node negative = scalar("-1", true);
	uint64_t value;
	int64_t low;

	assert_int_equal(scalar_uint64(&max, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(scalar_uint64(&over, UINT64_MAX, &value), -ERANGE);
	assert_int_equal(scalar_uint64(&negative, UINT64_MAX, &value), -ERANGE);
	assert_int_equal(scalar_int64(&min, INT64_MIN, INT64_MAX, &low), 0);
	assert_true(low == INT64_MIN);
	assert_int_equal(scalar_int64(&under, INT64_MIN, INT64_MAX, &low), -ERANGE);
}

static void test_reals_know_infinity_and_hexadecimals(void **state)
{
	struct yaml_node inf = scalar("-Infinity", false), nan_ = scalar(".nan", true), hex = scalar("-0x10", true), huge = scalar("1e999", true);
	double value;

	assert_int_equal(scalar_double(&inf, &value), 0);
	assert_true(isinf(value) && value < 0);
	assert_int_equal(scalar_double(&nan_, &value), 0);
	assert_true(isnan(value));
	assert_int_equal(scalar_double(&hex, &value), 0);
	assert_true(value == -16);
	assert_int_equal(scalar_double(&huge, &value), -ERANGE);
}

static void test_durations_are_seconds_with_a_unit(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t seconds;
		int32_t nanos;
	} cases[] = {
		{ "0s", 0, 0, 0 },
		{ "1.5s", 0, 1, 500000000 },
		{ "0.000000001s", 0, 0, 1 },
		{ "-1.25s", 0, -1, -250000000 },
		{ "315576000000s", 0, 315576000000, 0 },
		{ "315576000000.1s", -ERANGE, 0, 0 },
		{ "315576000001s", -ERANGE, 0, 0 },
		{ "99999999999999999999s", -ERANGE, 0, 0 },
		{ "1", -EINVAL, 0, 0 },
		{ "s", -EINVAL, 0, 0 },
		{ "1.s", -EINVAL, 0, 0 },
		{ ".5s", -EINVAL, 0, 0 },
		{ "1.0000000001s", -EINVAL, 0, 0 },
		{ "1m", -EINVAL, 0, 0 },
		{ "1s ", -EINVAL, 0, 0 },
		{ "1ms", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct yaml_node node = scalar(cases[i].text, true);
		int64_t seconds = 0;
		int32_t nanos = 0;
		int r = scalar_duration(&node, &seconds, &nanos);

		if (r != cases[i].r || seconds != cases[i].seconds || nanos != cases[i].nanos)
			fail_msg("`%s` gave %d, %lld, %d", cases[i].text, r, (long long)seconds, nanos);
	}
}

/* As google.protobuf's own reader in Python (7.36) has them, but for a point without digits, which that takes and RFC 3339 does not. */
static void test_times_are_rfc_3339(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t seconds;
		int32_t nanos;
	} cases[] = {
		{ "1970-01-01T00:00:00Z", 0, 0, 0 },
		{ "2026-11-21T23:00:41Z", 0, 1795302041, 0 },
		{ "2026-11-21T23:00:41.5Z", 0, 1795302041, 500000000 },
		{ "2026-11-21T23:00:41.000000001Z", 0, 1795302041, 1 },
		{ "2026-11-22T00:00:41+01:00", 0, 1795302041, 0 },
		{ "2026-11-21T17:30:41.25-05:30", 0, 1795302041, 250000000 },
		{ "1969-12-31T23:59:59.5Z", 0, -1, 500000000 },
		{ "2024-02-29T00:00:00Z", 0, 1709164800, 0 },
		{ "0001-01-01T00:00:00Z", 0, -62135596800, 0 },
		{ "9999-12-31T23:59:59.999999999Z", 0, 253402300799, 999999999 },
		{ "2026-11-21T23:00:41", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:41.Z", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:41.0000000001Z", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:41+0100", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:41+01:00Z", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:41 CET", -EINVAL, 0, 0 },
		{ "2026-11-21 23:00:41Z", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00Z", -EINVAL, 0, 0 },
		{ "2026-02-29T00:00:00Z", -EINVAL, 0, 0 },
		{ "2026-13-01T00:00:00Z", -EINVAL, 0, 0 },
		{ "2026-11-21T24:00:00Z", -EINVAL, 0, 0 },
		{ "2026-11-21T23:00:60Z", -EINVAL, 0, 0 },
		{ "26-11-21T23:00:41Z", -EINVAL, 0, 0 },
		{ "0000-01-01T00:00:00Z", -EINVAL, 0, 0 },
		{ "0001-01-01T00:00:00+01:00", -EINVAL, 0, 0 },
		{ "yesterday", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct yaml_node node = scalar(cases[i].text, true);
		int64_t seconds = 0;
		int32_t nanos = 0;
		int r = scalar_timestamp(&node, &seconds, &nanos);

		if (r != cases[i].r || seconds != cases[i].seconds || nanos != cases[i].nanos)
			fail_msg("`%s` gave %d, %lld, %d", cases[i].text, r, (long long)seconds, nanos);
	}
}

static void test_base64_takes_both_alphabets_with_or_without_padding(void **state)
{
	static const struct {
		const char *text;
		const char *bytes;
		int size;
	} cases[] = {
		{ "", "", 0 },           { "aGVsbG8=", "hello", 5 }, { "aGVsbG8", "hello", 5 }, { "//79", "\xff\xfe\xfd", 3 }, { "__79", "\xff\xfe\xfd", 3 },
		{ "AA==", "\0", 1 },     { "A", NULL, 0 },           { "AA=", NULL, 0 },        { "A===", NULL, 0 },           { "AA=A", NULL, 0 },
		{ "AA A", NULL, 0 },     { "AAAA=", NULL, 0 },       { "====", NULL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(arena_release) struct arena arena = ARENA_INIT;
		struct yaml_node node = scalar(cases[i].text, false);
		uint8_t *bytes = NULL;
		size_t size = 0;
		int r = scalar_base64(&node, &arena, &bytes, &size);

		if (!cases[i].bytes) {
			if (r != -EINVAL)
				fail_msg("`%s` was taken", cases[i].text);
			continue;
		}
		if (r || size != (size_t)cases[i].size)
			fail_msg("`%s` gave %d, %zu bytes", cases[i].text, r, size);
		assert_memory_equal(bytes, cases[i].bytes, size);
	}
}

static void test_utf8_is_told_from_other_bytes(void **state)
{
	static const char *const good[] = { "", "abc", "é", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf" };
	static const char *const bad[] = { "\x80", "\xc0\x80", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "a\xff" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(text_is_utf8(good[i], strlen(good[i])));
	assert_true(text_is_utf8(NULL, 0));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (text_is_utf8(bad[i], strlen(bad[i])))
			fail_msg("bad text %zu was taken", i);
}

static void test_one_wrong_byte_is_found_wherever_it_stands(void **state)
{
	char text[25];

	memset(text, 'a', sizeof(text));
	for (size_t size = 1; size <= sizeof(text); size++) {
		assert_true(text_is_utf8(text, size));
		for (size_t i = 0; i < size; i++) {
			text[i] = (char)0x80;
			assert_false(text_is_utf8(text, size));
			text[i] = 'a';
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_scalars_follow_the_core_schema),
		cmocka_unit_test(test_quotes_make_a_text),
		cmocka_unit_test(test_whole_numbers_are_checked_against_their_range),
		cmocka_unit_test(test_64_bit_numbers_reach_their_ends),
		cmocka_unit_test(test_reals_know_infinity_and_hexadecimals),
		cmocka_unit_test(test_durations_are_seconds_with_a_unit),
		cmocka_unit_test(test_times_are_rfc_3339),
		cmocka_unit_test(test_base64_takes_both_alphabets_with_or_without_padding),
		cmocka_unit_test(test_utf8_is_told_from_other_bytes),
		cmocka_unit_test(test_one_wrong_byte_is_found_wherever_it_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
