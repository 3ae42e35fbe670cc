/* SPDX-License-Identifier: Apache-2.0 */
/* Responses taken apart where they lie. */
#include "fixture.h"

#include "xds/response.h"

static int parse(const char *bytes, size_t size, struct xds_response *out)
{
	const char *problem;

	return xds_response_parse(bytes, size, out, &problem);
}

static bool is_text(struct xds_bytes bytes, const char *text)
{
	return bytes.size == strlen(text) && memcmp(bytes.at, text, bytes.size) == 0;
}

static void test_a_response_is_taken_apart(void **state)
{
	/* version "v", resource {type "t/u", value {name "n"}}, type "t", nonce "o", and field 6, which is skipped */
	static const char bytes[] = "\x0a\x01v\x12\x0a\x0a\x03t/u\x12\x03\x0a\x01n\x22\x01t\x2a\x01o\x32\x01x";
	struct xds_response response;

	assert_int_equal(parse(bytes, sizeof(bytes) - 1, &response), 0);
	assert_string_equal(response.version, "v");
	assert_string_equal(response.type_url, "t");
	assert_string_equal(response.nonce, "o");
	assert_int_equal(response.count, 1);
	assert_true(is_text(response.items[0].type_url, "t/u"));
	assert_true(is_text(response.items[0].value, "\x0a\x01n"));
	assert_true(is_text(response.items[0].name, "n"));
	xds_response_release(&response);
}

static void test_a_resource_in_a_wrapper_is_unwrapped(void **state)
{
	Google__Protobuf__Any inner = GOOGLE__PROTOBUF__ANY__INIT, any = GOOGLE__PROTOBUF__ANY__INIT, *anys[] = { &any };
	Envoy__Service__Discovery__V3__Resource wrapper = ENVOY__SERVICE__DISCOVERY__V3__RESOURCE__INIT;
	Envoy__Service__Discovery__V3__DiscoveryResponse message = ENVOY__SERVICE__DISCOVERY__V3__DISCOVERY_RESPONSE__INIT;
	uint8_t bytes[256], whole[256];
	struct xds_response response;

	inner.type_url = (char *)"t/inner";
	inner.value.data = (uint8_t *)"\x0a\x01n";
	inner.value.len = 3;
	wrapper.name = (char *)"other";
	wrapper.resource = &inner;
	any.type_url = (char *)"type.googleapis.com/envoy.service.discovery.v3.Resource";
	any.value.len = envoy__service__discovery__v3__resource__pack(&wrapper, bytes);
	any.value.data = bytes;
	message.n_resources = 1;
	message.resources = anys;
	assert_int_equal(parse((char *)whole, envoy__service__discovery__v3__discovery_response__pack(&message, whole), &response), 0);
	assert_int_equal(response.count, 1);
	assert_true(is_text(response.items[0].type_url, "t/inner"));
	assert_true(is_text(response.items[0].name, "n"));
	xds_response_release(&response);
}

static void test_an_empty_resource_has_no_name(void **state)
{
	struct xds_response response;

	assert_int_equal(parse("\x12\x00", 2, &response), 0);
	assert_int_equal(response.count, 1);
	assert_int_equal(response.items[0].name.size, 0);
	xds_response_release(&response);
}

/* Cut anywhere but between fields. */
static void test_what_is_cut_off_is_no_response(void **state)
{
	static const char bytes[] = "\x0a\x01v\x12\x0a\x0a\x03t/u\x12\x03\x0a\x01n\x22\x01t";
	struct xds_response response;

	for (size_t size = 1; size < sizeof(bytes) - 1; size++) {
		int expected = size == 3 || size == 15 ? 0 : -EBADMSG;

		assert_int_equal(parse(bytes, size, &response), expected);
		xds_response_release(&response);
	}
}

static void test_a_nonce_with_a_zero_byte_is_refused(void **state)
{
	struct xds_response response;

	assert_int_equal(parse("\x2a\x02" "a\0", 4, &response), -EBADMSG);
	xds_response_release(&response);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_response_is_taken_apart),     cmocka_unit_test(test_a_resource_in_a_wrapper_is_unwrapped),
		cmocka_unit_test(test_an_empty_resource_has_no_name), cmocka_unit_test(test_what_is_cut_off_is_no_response),
		cmocka_unit_test(test_a_nonce_with_a_zero_byte_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
