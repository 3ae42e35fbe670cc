/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "kube/enrol.h"

#define LABELLED &(struct kube_namespace){ .name = "shop", .dataplane_mode = "weft" }
#define PLAIN &(struct kube_namespace){ .name = "shop", .dataplane_mode = "" }

static const char *ips[] = { "10.244.1.17" };

static struct kube_pod pod_of(struct pod_label *labels, size_t label_count, struct pod_label *annotations, size_t annotation_count)
{
	return (struct kube_pod){ .name = "cart", .namespace_name = "shop", .uid = "u", .phase = "Running", .ips = ips, .ip_count = 1, .labels = labels,
				  .label_count = label_count, .annotations = annotations, .annotation_count = annotation_count };
}

static void assert_verdict(const struct kube_pod *pod, const struct kube_namespace *name, enum enrol_verdict verdict, enum enrol_reason reason)
{
	struct enrol got;

	enrol_judge(pod, name, &got);
	if (got.verdict != verdict || got.reason != reason)
		fail_msg("wanted %s %s, got %s %s: %s", enrol_verdict_name(verdict), enrol_reason_name(reason), enrol_verdict_name(got.verdict),
			 enrol_reason_name(got.reason), got.text);
	assert_true((verdict == ENROL_WANTED) == (got.text[0] == '\0'));
}

static void test_a_label_on_the_pod_or_on_its_namespace_enrols(void **state)
{
	struct pod_label weft[] = { { ENROL_MODE_LABEL, "weft" } };
	struct kube_pod plain = pod_of(NULL, 0, NULL, 0), labelled = pod_of(weft, 1, NULL, 0);

	assert_verdict(&plain, LABELLED, ENROL_WANTED, ENROL_NONE);
	assert_verdict(&labelled, PLAIN, ENROL_WANTED, ENROL_NONE);
	assert_verdict(&labelled, NULL, ENROL_WANTED, ENROL_NONE);
	assert_verdict(&plain, PLAIN, ENROL_UNASKED, ENROL_NOT_LABELLED);
	assert_verdict(&plain, NULL, ENROL_UNASKED, ENROL_NOT_LABELLED);
}

static void test_none_on_the_pod_wins(void **state)
{
	struct pod_label none[] = { { ENROL_MODE_LABEL, "none" } };
	struct kube_pod pod = pod_of(none, 1, NULL, 0), plain = pod_of(NULL, 0, NULL, 0);

	assert_verdict(&pod, LABELLED, ENROL_UNASKED, ENROL_OPTED_OUT);
	assert_verdict(&plain, &(struct kube_namespace){ .dataplane_mode = "none" }, ENROL_UNASKED, ENROL_OPTED_OUT);
}

static void test_another_mesh_keeps_its_pods(void **state)
{
	struct pod_label ambient[] = { { ENROL_MODE_LABEL, "ambient" } };
	struct kube_pod pod = pod_of(ambient, 1, NULL, 0), plain = pod_of(NULL, 0, NULL, 0);

	assert_verdict(&pod, LABELLED, ENROL_UNASKED, ENROL_OTHER_MODE);
	assert_verdict(&plain, &(struct kube_namespace){ .dataplane_mode = "ambient" }, ENROL_UNASKED, ENROL_OTHER_MODE);
}

static void test_a_pod_with_a_sidecar_is_skipped(void **state)
{
	struct pod_label injected[] = { { "sidecar.istio.io/status", "{}" } };
	struct kube_container container = { .name = "istio-proxy" }, native = { .name = "istio-proxy", .is_init = true, .is_sidecar = true };
	struct kube_container init = { .name = "istio-proxy", .is_init = true };
	struct kube_pod pod = pod_of(NULL, 0, injected, 1);

	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_SIDECAR);
	pod = pod_of(NULL, 0, NULL, 0);
	pod.container_count = 1;
	pod.containers = &container;
	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_SIDECAR);
	pod.containers = &native;
	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_SIDECAR);
	pod.containers = &init;
	assert_verdict(&pod, LABELLED, ENROL_WANTED, ENROL_NONE);
}

static void test_what_has_no_network_of_its_own_is_skipped(void **state)
{
	struct kube_pod pod = pod_of(NULL, 0, NULL, 0);

	pod.is_host_network = true;
	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_HOST_NETWORK);
	pod = pod_of(NULL, 0, NULL, 0);
	pod.phase = "Succeeded";
	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_TERMINATED);
	pod.phase = "Failed";
	assert_verdict(&pod, LABELLED, ENROL_SKIPPED, ENROL_TERMINATED);
	pod.phase = "Pending";
	pod.ip_count = 0;
	assert_verdict(&pod, LABELLED, ENROL_WAITING, ENROL_NO_IP);
	pod.ip_count = 1;
	assert_verdict(&pod, LABELLED, ENROL_WANTED, ENROL_NONE);
	/* it serves on until it has ended */
	pod.is_deleting = true;
	assert_verdict(&pod, LABELLED, ENROL_WANTED, ENROL_NONE);
}

static void test_exceptions_of_traffic_that_cannot_be_made_keep_a_pod_out(void **state)
{
	static const struct {
		const char *name, *value;
		bool is_made;
	} cases[] = {
		{ "excludeOutboundPorts", "3306,6379", true }, { "excludeOutboundPorts", "", true }, { "excludeOutboundPorts", "all", false },
		{ "excludeOutboundIPRanges", "10.0.0.0/8", true }, { "excludeOutboundIPRanges", "10.0.0.0", false }, { "includeOutboundIPRanges", "*", true },
		{ "includeOutboundIPRanges", "10.0.0.0/8", true }, { "includeOutboundIPRanges", "", true }, { "includeOutboundPorts", "80", true }, { "excludeInboundPorts", "9090", true }, { "includeInboundPorts", "*", true },
		{ "kubevirtInterfaces", "net1", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char key[96];
		struct pod_label annotation[] = { { key, cases[i].value } };
		struct kube_pod pod = pod_of(NULL, 0, annotation, 1);

		snprintf(key, sizeof(key), "traffic.sidecar.istio.io/%s", cases[i].name);
		assert_verdict(&pod, LABELLED, cases[i].is_made ? ENROL_WANTED : ENROL_SKIPPED, cases[i].is_made ? ENROL_NONE : ENROL_TRAFFIC_ANNOTATION);
	}
}

/* ---- the pods of a recorded node ------------------------------------------------------------------------------------------------------- */

static int put(void *arg, const uint8_t *raw, size_t size)
{
	char version[KUBE_VERSION_MAX + 1];

	return kube_store_put(arg, KUBE_PODS, 1, raw, size, version);
}

/* The body of a recorded response: chunked. */
static void read_recording(const char *path, struct strbuf *out)
{
	struct strbuf text = STRBUF_INIT;
	const char *at;
	char *end;

	assert_int_equal(file_read(path, 1 << 20, &text), 0);
	at = strstr(text.data, "\r\n\r\n") + 4;
	for (size_t size; (size = strtoul(at, &end, 16)) > 0; at = end + 2 + size + 2)
		strbuf_append(out, end + 2, size);
	strbuf_release(&text);
}

static void test_pods_of_a_recorded_node(void **state)
{
	static const struct {
		const char *namespace_name, *name;
		enum enrol_verdict verdict;
		enum enrol_reason reason;
	} cases[] = {
		{ "shop", "cart-7d9c6b5f4-x2k8p", ENROL_WANTED, ENROL_NONE },
		{ "shop", "catalog-0", ENROL_WANTED, ENROL_NONE },
		{ "shop", "queue-worker-84d6f7c95-9tq4w", ENROL_WANTED, ENROL_NONE },
		{ "shop", "six-only-7b6c5d4f3-v6v6v", ENROL_WANTED, ENROL_NONE },
		{ "legacy", "crashy-7f6e5d4c3-zz9zz", ENROL_WANTED, ENROL_NONE },
		{ "legacy", "migrate-9d8c7b6a5-i1n1t", ENROL_WANTED, ENROL_NONE },
		{ "shop", "nightly-report-29384640-7qzvn", ENROL_SKIPPED, ENROL_TERMINATED },
		{ "legacy", "cache-6f5d4c3b2-evict", ENROL_SKIPPED, ENROL_TERMINATED },
		{ "shop", "no-mesh-5b8c4d7f6-ppl2d", ENROL_UNASKED, ENROL_OPTED_OUT },
		{ "weft-system", "weftd-x7k2p", ENROL_UNASKED, ENROL_OPTED_OUT },
		{ "shop", "checkout-6c9f8d7b5-k4m2r", ENROL_WAITING, ENROL_NO_IP },
		{ "billing", "ledger-6d5c4b3a2-h7j9k", ENROL_SKIPPED, ENROL_SIDECAR },
		{ "billing", "invoice-58f7d6c4b-2w3e4", ENROL_SKIPPED, ENROL_SIDECAR },
		{ "kube-system", "kube-proxy-4hv9t", ENROL_SKIPPED, ENROL_HOST_NETWORK },
		{ "kube-system", "etcd-node-a", ENROL_SKIPPED, ENROL_HOST_NETWORK },
	};
	struct kube_list_meta meta = { .next = STRBUF_INIT };
	struct strbuf body = STRBUF_INIT;
	struct kube_envelope list;
	struct kube_store *store;

	read_recording("tests/data/kubeapi/pods-list-pb.resp", &body);
	assert_int_equal(kube_store_new(&store), 0);
	assert_int_equal(kube_envelope_read(body.data, body.size, &list), 0);
	assert_int_equal(kube_list_read(list.raw, list.size, &meta, put, store), 0);
	assert_int_equal(kube_store_count(store, KUBE_PODS), ARRAY_SIZE(cases));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct kube_pod *pod = kube_store_find_pod(store, cases[i].namespace_name, cases[i].name);

		assert_non_null(pod);
		assert_verdict(pod, LABELLED, cases[i].verdict, cases[i].reason);
	}
	assert_string_equal(kube_pod_annotation(kube_store_find_pod(store, "kube-system", "etcd-node-a"), "kubernetes.io/config.hash") ? "there" : "", "there");
	kube_store_free(&store);
	strbuf_release(&body);
	strbuf_release(&meta.next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_label_on_the_pod_or_on_its_namespace_enrols),
		cmocka_unit_test(test_none_on_the_pod_wins),
		cmocka_unit_test(test_another_mesh_keeps_its_pods),
		cmocka_unit_test(test_a_pod_with_a_sidecar_is_skipped),
		cmocka_unit_test(test_what_has_no_network_of_its_own_is_skipped),
		cmocka_unit_test(test_exceptions_of_traffic_that_cannot_be_made_keep_a_pod_out),
		cmocka_unit_test(test_pods_of_a_recorded_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
