/* SPDX-License-Identifier: Apache-2.0 */
/* Clusters whose endpoints are names: what the image makes of the addresses that DNS has for them. */
#include <arpa/inet.h>
#include <event2/event.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "compile/compile.h"
#include "dns/dns.h"
#include "fixture.h"
#include "mesh/mesh.h"
#include "weft/balance.h"
#include "weft/address_host.h"

#define CLUSTER(name, type, localities) \
	"  - {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: " name ", type: " type ", lb_policy: ROUND_ROBIN,\n" \
	"     load_assignment: {cluster_name: a, endpoints: [" localities "]}}\n"
#define ENDPOINT(name, port, weight) \
	"{endpoint: {address: {socket_address: {address: " name ", port_value: " port "}}}, load_balancing_weight: " weight "}"

static const char config[] =
	"resources:\n"
	CLUSTER("all", "STRICT_DNS", "{lb_endpoints: [" ENDPOINT("three.test", "80", "2") ", " ENDPOINT("10.0.9.9", "81", "4") "]}")
	CLUSTER("twice", "STRICT_DNS", "{lb_endpoints: [" ENDPOINT("three.test", "80", "1") ", " ENDPOINT("one.test", "80", "1") "]}")
	CLUSTER("first", "LOGICAL_DNS", "{priority: 3, lb_endpoints: [" ENDPOINT("three.test", "80", "1") "]}")
	CLUSTER("gone", "STRICT_DNS", "{lb_endpoints: [" ENDPOINT("gone.test", "80", "1") "]}")
	CLUSTER("stays", "LOGICAL_DNS", "{lb_endpoints: [" ENDPOINT("gone.test", "80", "1") "]}")
	CLUSTER("unknown", "STRICT_DNS", "{lb_endpoints: [" ENDPOINT("unknown.test", "80", "1") "]}");

static const char known[] =
	"three.test 10.0.0.3 10.0.0.1 10.0.0.2 10.0.0.3\n"
	"one.test 10.0.0.2 10.0.0.2\n"
	"gone.test 10.0.0.7\n";

static void changed(void *arg)
{
	(void)arg;
}

/* "address:port weight, ..." of the cluster. */
static void has(const struct image *image, const struct ids *ids, const char *cluster, const char *expected)
{
	const struct weft_image_handle handle = { image->base, image->size_bytes };
	const struct weft_image_header *header = (const struct weft_image_header *)image->base;
	const weft_ref *directory = weft_at(&handle, header->cluster_directory);
	const struct weft_cluster *found = weft_at(&handle, directory[ids_cluster_find(ids, cluster)]);
	const struct weft_endpoint *endpoints = weft_at(&handle, found->endpoints);
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;

	for (uint32_t i = 0; i < found->endpoint_count; i++)
		strbuf_printf(&text, "%s%s %u", i ? ", " : "", weft_host_text(&endpoints[i].address, endpoints[i].port_be).text, endpoints[i].weight);
	assert_string_equal(strbuf_text(&text), expected);
}

static const struct compile_verdict *verdict(const struct compile_report *report, const char *cluster)
{
	for (size_t i = 0; i < report->count; i++)
		if (!strcmp(report->verdicts[i].kind, "cluster") && !strcmp(report->verdicts[i].name, cluster))
			return &report->verdicts[i];
	fail_msg("cluster %s has no verdict", cluster);
	return NULL;
}

static void test_names_become_their_addresses(void **state)
{
	_cleanup_(compile_report_release) struct compile_report verdicts = COMPILE_REPORT_INIT;
	struct mesh_report report = MESH_REPORT_INIT;
	struct event_base *base = event_base_new();
	struct image *image = NULL;
	struct mesh *mesh = NULL;
	struct ids *ids = NULL;
	struct dns *dns = NULL;

	assert_int_equal(dns_new(&dns, &(struct dns_options){ base, "/dev/null", changed, NULL }), 0);
	assert_int_equal(dns_restore(dns, known), 0);
	assert_int_equal(mesh_load_text("test", config, strlen(config), &mesh, &report), 0);
	assert_int_equal(ids_new(&ids, NULL), 0);
	assert_int_equal(compile_endpoints(mesh, dns, ids, &image, &verdicts), 0);

	has(image, ids, "all", "10.0.0.1:80 2, 10.0.0.2:80 2, 10.0.0.3:80 2, 10.0.9.9:81 4");
	has(image, ids, "twice", "10.0.0.1:80 1, 10.0.0.2:80 1, 10.0.0.3:80 1");
	has(image, ids, "first", "10.0.0.3:80 1");
	has(image, ids, "gone", "");
	has(image, ids, "stays", "10.0.0.7:80 1");
	has(image, ids, "unknown", "");
	assert_int_equal(verdict(&verdicts, "all")->verdict, WEFT_VERDICT_KERNEL);
	assert_string_equal(verdict(&verdicts, "all")->reason, "");
	assert_non_null(strstr(verdict(&verdicts, "gone")->reason, "gone.test has no IPv4 address"));
	assert_non_null(strstr(verdict(&verdicts, "unknown")->reason, "unknown.test has no IPv4 address yet"));

	image_free(&image);
	ids_free(&ids);
	mesh_free(&mesh);
	mesh_report_release(&report);
	dns_free(&dns);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_become_their_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
