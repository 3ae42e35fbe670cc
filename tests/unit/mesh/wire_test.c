/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#include "envoy/config/route/v3/route.pb-c.h"
#include "google/protobuf/struct.pb-c.h"
#include "mesh/wire.h"

static int unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t size, const char **problem)
{
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	ProtobufCMessage *message;

	return wire_unpack(descriptor, bytes, size, &arena, &message, problem);
}

#define ROUTE &envoy__config__route__v3__route__descriptor

static void test_broken_bytes_are_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} cases[] = {
		{ "\x72", 1 },                 /* a key without a value */
		{ "\x72\x05" "ab", 4 },        /* a text cut off */
		{ "\x72\xff\xff\xff\xff\x0f", 6 }, /* a length past the end */
		{ "\x00\x01", 2 },             /* field number 0 */
		{ "\x73\x74", 2 },             /* a group */
		{ "\x77", 1 },                 /* wire type 7 */
		{ "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
		{ "\x79\x01\x02", 3 },         /* 64 bits cut off */
		{ "\x72\x02" "a\0", 4 },       /* a zero byte in the name */
		{ "\x72\x01\xff", 3 },         /* not UTF-8 */
		{ "\x70\x05", 2 },             /* the name as a number */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *problem = NULL;

		if (unpack(ROUTE, cases[i].bytes, cases[i].size, &problem) != -EBADMSG || !problem)
			fail_msg("case %zu was taken", i);
	}
}

static void test_a_zero_byte_deep_inside_is_found(void **state)
{
	/* match { prefix: "/a\0b" } */
	static const char bytes[] = "\x0a\x06\x0a\x04/a\0b";
	const char *problem = NULL;

	assert_int_equal(unpack(ROUTE, bytes, sizeof(bytes) - 1, &problem), -EBADMSG);
	assert_non_null(strstr(problem, "zero byte"));
}

static void test_unknown_fields_pass_whatever_they_hold(void **state)
{
	/* field 100: bytes that are neither text nor message */
	static const char bytes[] = "\x72\x01r\xa2\x06\x03\xff\0\xff";
	_cleanup_(arena_release) struct arena arena = ARENA_INIT;
	ProtobufCMessage *message;
	const char *problem;

	assert_int_equal(wire_unpack(ROUTE, bytes, sizeof(bytes) - 1, &arena, &message, &problem), 0);
	assert_string_equal(((Envoy__Config__Route__V3__Route *)message)->name, "r");
	assert_int_equal(message->n_unknown_fields, 1);
	assert_int_equal(message->unknown_fields[0].tag, 100);
}

static void test_no_bytes_are_an_empty_message(void **state)
{
	const char *problem;

	assert_int_equal(unpack(ROUTE, NULL, 0, &problem), 0);
}

/* ListValue { values { list_value { values { ... */
static size_t nest(uint8_t *bytes, size_t capacity, int levels)
{
	size_t at = capacity, size = 0;

	for (int i = 0; i < levels; i++) {
		uint8_t key = i % 2 ? 0x0a : 0x32;
		size_t rest = size, digits = 1;

		for (size_t s = size; s >= 0x80; s >>= 7)
			digits++;
		at -= digits;
		for (size_t d = 0; d < digits; d++, rest >>= 7)
			bytes[at + d] = (uint8_t)((rest & 0x7f) | (d + 1 < digits ? 0x80 : 0));
		bytes[--at] = key;
		size = capacity - at;
	}
	memmove(bytes, bytes + at, size);
	return size;
}

static void test_nesting_is_bounded(void **state)
{
	static uint8_t bytes[1 << 20];
	const char *problem = NULL;
	size_t size;

	size = nest(bytes, sizeof(bytes), 100);
	assert_int_equal(unpack(&google__protobuf__list_value__descriptor, bytes, size, &problem), 0);
	size = nest(bytes, sizeof(bytes), 102);
	assert_int_equal(unpack(&google__protobuf__list_value__descriptor, bytes, size, &problem), -EBADMSG);
	assert_non_null(strstr(problem, "nested too deeply"));
	size = nest(bytes, sizeof(bytes), 200000);
	assert_int_equal(unpack(&google__protobuf__list_value__descriptor, bytes, size, &problem), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_broken_bytes_are_refused),
		cmocka_unit_test(test_a_zero_byte_deep_inside_is_found),
		cmocka_unit_test(test_unknown_fields_pass_whatever_they_hold),
		cmocka_unit_test(test_no_bytes_are_an_empty_message),
		cmocka_unit_test(test_nesting_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
