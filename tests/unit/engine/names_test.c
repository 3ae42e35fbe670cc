// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The table of known names is written by hand: here every entry is looked up. */
#include "engine/engine_test.h"
#include "weft/reason.h"

static void test_every_known_name_has_its_own_slot(void **state)
{
	u32 used = 0, name, slot;

	for (name = 1; name < WEFT_KNOWN_NAMES && weft_known_names[name].len; name++) {
		const struct weft_known_name *known = &weft_known_names[name];
		u32 hash = weft_name_hash(known->text, known->len);

		assert_int_equal(strnlen((const char *)known->text, WEFT_KNOWN_NAME_MAX), known->len + 1);
		assert_int_equal(known->text[known->len], ':');
		assert_int_equal(weft_name_slots[WEFT_NAME_SLOT(hash)], name);
	}
	for (slot = 0; slot < WEFT_NAME_SLOTS; slot++)
		used += !!weft_name_slots[slot];
	assert_int_equal(used, name - 1);
	assert_true(name > WEFT_NAME_COUNT);
	assert_true(WEFT_NAME_COUNT <= WEFT_SEEN_NAMES);
	for (; name < WEFT_KNOWN_NAMES; name++)
		assert_int_equal(weft_known_names[name].len, 0);
}

static u32 known(const char *name)
{
	u8 text[128] = {};

	strcpy((char *)text, name);
	return weft_known_name(text, strlen(name), weft_name_hash(text, strlen(name)));
}

static void test_known_names_are_found_in_any_case_and_others_are_not(void **state)
{
	assert_int_equal(known("content-length"), WEFT_NAME_CONTENT_LENGTH);
	assert_int_equal(known("CONTENT-LENGTH"), WEFT_NAME_CONTENT_LENGTH);
	assert_int_equal(known("Access-Control-Request-Headers"), WEFT_NAME_ACCESS_CONTROL_REQUEST_HEADERS);
	assert_int_equal(known("content_length"), WEFT_NAME_UNKNOWN);
	assert_int_equal(known("content-lengt"), WEFT_NAME_UNKNOWN);
	assert_int_equal(known("content-lengthx"), WEFT_NAME_UNKNOWN);
	assert_int_equal(known("x-custom"), WEFT_NAME_UNKNOWN);
	assert_int_equal(known("cookie"), WEFT_NAME_UNKNOWN);
}

/* A name that has a known one's hash must not pass for it: here all names with the hash's slot are tried. */
static void test_a_name_in_a_known_ones_slot_is_still_compared(void **state)
{
	u32 found = 0, i;

	for (i = 0; i < 100000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "x%013u", i);
		if (WEFT_NAME_SLOT(weft_name_hash((const u8 *)name, 14)) == WEFT_NAME_SLOT(weft_name_hash((const u8 *)"content-length", 14)))
			found++;
		assert_int_equal(known(name), WEFT_NAME_UNKNOWN);
	}
	assert_int_not_equal(found, 0);
}

static void test_the_parser_and_compile_hash_names_alike(void **state)
{
	static const char *const names[] = {"a", "host", "if-match", "accept-encoding", "x-a-name-of-exactly-24-by", "X_Odd~Name!of$many`bytes.and-more-than-32"};
	struct weft_head head;
	char request[128];
	size_t i;

	for (i = 0; i < WEFT_ARRAY_SIZE(names); i++) {
		snprintf(request, sizeof(request), "GET http://h/ HTTP/1.1\r\n%s: v\r\n\r\n", names[i]);
		assert_int_equal(parse_request(request, strlen(request), &head), WEFT_PARSE_DONE);
		assert_int_equal(head.fields[0].name_hash, weft_name_hash((const u8 *)names[i], strlen(names[i])));
	}
}

static void test_every_reason_has_a_name(void **state)
{
	assert_int_equal(WEFT_ARRAY_SIZE(weft_reason_names), WEFT_REASON_COUNT);
	assert_string_equal(weft_reason_names[WEFT_REASON_NONE], "none");
	assert_string_equal(weft_reason_names[WEFT_REASON_NOT_FOUND], "not_found");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_known_name_has_its_own_slot),
		cmocka_unit_test(test_known_names_are_found_in_any_case_and_others_are_not),
		cmocka_unit_test(test_a_name_in_a_known_ones_slot_is_still_compared),
		cmocka_unit_test(test_the_parser_and_compile_hash_names_alike),
		cmocka_unit_test(test_every_reason_has_a_name),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
