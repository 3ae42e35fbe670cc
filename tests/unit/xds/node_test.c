/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a stream speaks for. */
#include "fixture.h"

#include "envoy/config/core/v3/core.pb-c.h"
#include "kube/pods.h"
#include "xds/node.h"

static const Google__Protobuf__Value *field(const Google__Protobuf__Struct *object, const char *key)
{
	for (size_t i = 0; i < object->n_fields; i++)
		if (strcmp(object->fields[i]->key, key) == 0)
			return object->fields[i]->value;
	return NULL;
}

static const char *text(const Google__Protobuf__Struct *object, const char *key)
{
	const Google__Protobuf__Value *value = field(object, key);

	return value && value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE ? value->string_value : NULL;
}

static void test_a_node_says_what_a_sidecar_of_the_pod_would(void **state)
{
	struct pod_ip ips[] = { { .text = "10.44.0.10" }, { .text = "fd00::10" } };
	struct pod_label labels[] = { { "app", "client" }, { "version", "v1" } };
	const struct pod given = { .name = "client-0", .namespace_name = "shop", .service_account = "buyer", .network_namespace = "n", .cgroup = "c",
				   .ips = ips, .ip_count = 2, .labels = labels, .label_count = 2, .file = "" };
	struct xds_node node = { .service_account = "buyer", .cluster_id = "Kubernetes", .node_name = "" };
	Envoy__Config__Core__V3__Node *message;
	struct strbuf bytes = STRBUF_INIT;
	struct pods *pods = NULL;

	assert_int_equal(pods_new(&pods), 0);
	assert_int_equal(pods_add(pods, &given), 0);
	node.pod = pods_at(pods, 0);
	assert_int_equal(xds_node_make(&node, &bytes), 0);
	message = envoy__config__core__v3__node__unpack(NULL, bytes.size, (const uint8_t *)bytes.data);
	assert_non_null(message);
	assert_string_equal(message->id, "sidecar~10.44.0.10~client-0.shop~shop.svc.cluster.local");
	assert_string_equal(message->cluster, "client-0.shop");
	assert_string_equal(text(message->metadata, "NAMESPACE"), "shop");
	assert_string_equal(text(message->metadata, "SERVICE_ACCOUNT"), "buyer");
	assert_string_equal(text(message->metadata, "CLUSTER_ID"), "Kubernetes");
	assert_string_equal(text(message->metadata, "INSTANCE_IPS"), "10.44.0.10,fd00::10");
	assert_string_equal(text(message->metadata, "DISABLE_HBONE_SEND"), "true");
	assert_null(field(message->metadata, "NODE_NAME"));
	assert_string_equal(text(field(message->metadata, "LABELS")->struct_value, "version"), "v1");
	envoy__config__core__v3__node__free_unpacked(message, NULL);
	strbuf_release(&bytes);
	pods_free(&pods);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_a_node_says_what_a_sidecar_of_the_pod_would) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
