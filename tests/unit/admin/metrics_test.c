/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "admin/http.h"
#include "admin/metrics.h"
#include "base/cleanup.h"

static struct strbuf written(const char *status, enum metrics_format format)
{
	struct strbuf out = STRBUF_INIT;
	const struct strbuf more = STRBUF_INIT;
	json_error_t error;
	json_t *object = json_loads(status, 0, &error);

	assert_non_null(object);
	assert_int_equal(metrics_write(object, format, &more, &out), 0);
	json_decref(object);
	return out;
}

static void has(const struct strbuf *text, const char *part)
{
	if (!strstr(strbuf_text(text), part))
		fail_msg("no \"%s\" in\n%s", part, strbuf_text(text));
}

static void lacks(const struct strbuf *text, const char *part)
{
	if (strstr(strbuf_text(text), part))
		fail_msg("\"%s\" in\n%s", part, strbuf_text(text));
}

static void test_counters_end_in_total_and_gauges_do_not(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{\"version\":\"1\",\"generation\":7,\"requests\":{\"bypass\":12,\"slow\":3}}", METRICS_PROMETHEUS);

	has(&text, "# TYPE istio_build gauge\nistio_build{component=\"weft\",tag=\"1\"} 1\n");
	has(&text, "# TYPE weft_generation gauge\nweft_generation 7\n");
	has(&text, "# TYPE weft_requests_total counter\nweft_requests_total{path=\"bypass\"} 12\nweft_requests_total{path=\"slow\"} 3\n");
	lacks(&text, "# EOF");
}

static void test_lines_that_the_log_lacks_are_counted(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{\"limits\":{\"log_lines_per_second\":{\"value\":9,\"used\":0,\"beyond\":4,\"lost\":7}}}",
							       METRICS_PROMETHEUS);

	has(&text, "# TYPE weft_log_lines_lost_total counter\nweft_log_lines_lost_total 7\n");
	has(&text, "# TYPE weft_log_lines_left_out_total counter\nweft_log_lines_left_out_total 4\n");
}

static void test_openmetrics_names_the_family_and_ends(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{\"requests\":{\"bypass\":12}}", METRICS_OPENMETRICS);

	has(&text, "# TYPE weft_requests counter\nweft_requests_total{path=\"bypass\"} 12\n");
	assert_string_equal(strbuf_text(&text) + text.size - 6, "# EOF\n");
}

static void test_what_the_status_lacks_is_left_out(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{}", METRICS_PROMETHEUS);

	has(&text, "tag=\"unknown\"");
	lacks(&text, "weft_generation");
	lacks(&text, "weft_xds");
}

static void test_labels_are_escaped(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{\"slow_reasons\":{\"a\\\"b\\\\c\\nd\":1}}", METRICS_PROMETHEUS);

	has(&text, "weft_slow_path_total{reason=\"a\\\"b\\\\c\\nd\"} 1\n");
}

static void test_pods_are_counted_by_state_and_none_is_told_too(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text = written("{\"pods\":[{\"state\":\"serving\"},{\"state\":\"serving\"},{\"state\":\"refused\"}]}", METRICS_PROMETHEUS);

	has(&text, "weft_pods{state=\"serving\"} 2\nweft_pods{state=\"waiting\"} 0\nweft_pods{state=\"refused\"} 1\n");
}

static void test_streams_are_told_by_namespace_and_type(void **state)
{
	_cleanup_(strbuf_release) struct strbuf text =
		written("{\"scopes\":[{\"scope\":\"shop\",\"open\":true,\"ready\":false,\"connection\":{\"connects\":2},"
			"\"types\":[{\"type\":\"cluster\",\"responses\":4,\"acks\":3,\"nacks\":1,\"serving\":9}]},"
			"{\"scope\":\"bank\",\"open\":false,\"types\":[{\"type\":\"cluster\",\"responses\":1}]}]}", METRICS_PROMETHEUS);

	has(&text, "weft_xds_connected{namespace=\"shop\"} 1\nweft_xds_connected{namespace=\"bank\"} 0\n");
	has(&text, "weft_xds_ready{namespace=\"shop\"} 0\n");
	has(&text, "weft_xds_connects_total{namespace=\"shop\"} 2\n");
	has(&text, "weft_xds_nacks_total{namespace=\"shop\",type=\"cluster\"} 1\n");
	has(&text, "istio_xds_message_total{url=\"type.googleapis.com/envoy.config.cluster.v3.Cluster\"} 5\n");
}

static void test_a_scraper_that_knows_openmetrics_gets_it(void **state)
{
	assert_int_equal(metrics_format("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"), METRICS_OPENMETRICS);
	assert_int_equal(metrics_format("text/plain;version=0.0.4"), METRICS_PROMETHEUS);
	assert_int_equal(metrics_format(""), METRICS_PROMETHEUS);
}

static void test_numbers_stand_on_lines_of_their_own(void **state)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	json_t *object = json_pack("{s:i, s:{s:b, s:s}, s:[{s:i}]}", "a", 1, "b", "is", 1, "text", "no", "c", "d", 2);

	assert_int_equal(metrics_write_flat(object, &out), 0);
	assert_string_equal(strbuf_text(&out), "a: 1\nb.is: 1\nc.0.d: 2\n");
	json_decref(object);
}

static void test_addresses_to_listen_at_have_a_host_and_a_port(void **state)
{
	bool is_loopback;

	assert_true(http_address_is_good("0.0.0.0:15021", &is_loopback));
	assert_false(is_loopback);
	assert_true(http_address_is_good("127.0.0.1:15000", &is_loopback));
	assert_true(is_loopback);
	assert_true(http_address_is_good("[::1]:15000", &is_loopback));
	assert_true(is_loopback);
	assert_true(http_address_is_good("[::]:15020", &is_loopback));
	assert_false(is_loopback);
	assert_false(http_address_is_good("127.0.0.1", NULL));
	assert_false(http_address_is_good("127.0.0.1:0", NULL));
	assert_false(http_address_is_good(":15020", NULL));
	assert_false(http_address_is_good("localhost:15020", NULL));
	assert_false(http_address_is_good("127.0.0.1:99999", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters_end_in_total_and_gauges_do_not),
		cmocka_unit_test(test_lines_that_the_log_lacks_are_counted),
		cmocka_unit_test(test_openmetrics_names_the_family_and_ends),
		cmocka_unit_test(test_what_the_status_lacks_is_left_out),
		cmocka_unit_test(test_labels_are_escaped),
		cmocka_unit_test(test_pods_are_counted_by_state_and_none_is_told_too),
		cmocka_unit_test(test_streams_are_told_by_namespace_and_type),
		cmocka_unit_test(test_a_scraper_that_knows_openmetrics_gets_it),
		cmocka_unit_test(test_numbers_stand_on_lines_of_their_own),
		cmocka_unit_test(test_addresses_to_listen_at_have_a_host_and_a_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
