/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: YAML -> messages -> mesh. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/log.h"
#include "envoy/admin/v3/config_dump.pb-c.h"
#include "mesh/load.h"
#include "mesh/mesh_internal.h"
#include "mesh/registry.h"
#include "mesh/yaml_message.h"
#include "mesh/yaml_tree.h"
#include "weft/config/v1/config.pb-c.h"

static void fail(struct loader *l, const char *path, const char *text)
{
	const struct yaml_node *node = yaml_find(l->root, path);

	l->error_count++;
	mesh_report_add(l->report, MESH_ERROR, l->file, node->line, node->column, path, "%s", text);
}

/* The name of a resource before it is built: to see that none is given twice. */
static bool is_duplicate(struct loader *l, const char *type_url, const struct yaml_node *node, const char *path)
{
	const struct yaml_node *name = yaml_get(node, "name");

	if (!name)
		name = yaml_get(node, "cluster_name");
	if (!name)
		name = yaml_get(node, "clusterName");
	if (!name || name->kind != NODE_SCALAR)
		return false;
	if ((strcmp(type_url, mesh_kind_type_url(MESH_LISTENER)) == 0 && mesh_find_listener(l->mesh, name->scalar.text)) ||
	    (strcmp(type_url, mesh_kind_type_url(MESH_CLUSTER)) == 0 && mesh_find_cluster(l->mesh, name->scalar.text)) ||
	    (strcmp(type_url, mesh_kind_type_url(MESH_ROUTE_CONFIG)) == 0 && mesh_find_route_config(l->mesh, name->scalar.text)) ||
	    (strcmp(type_url, mesh_kind_type_url(MESH_LOAD_ASSIGNMENT)) == 0 && mesh_find_load_assignment(l->mesh, name->scalar.text))) {
		fail(l, path, "another resource before it has the same type and name");
		return true;
	}
	return false;
}

int load_add(struct loader *l, const char *path, const char *type_url, const void *bytes, size_t size)
{
	struct mesh_source source = { l->file, yaml_find(l->root, path), path };
	int r;

	if (is_duplicate(l, type_url, source.node, path))
		return 0;
	r = mesh_add(l->mesh, type_url, bytes, size, &source, l->report);
	if (r == -EPROTONOSUPPORT) {
		fail(l, path, "not a resource: weft takes listeners, route configurations, clusters and load assignments here");
		return 0;
	}
	return r == -EINVAL ? 0 : r; /* refused: the report and the mesh know */
}

static int add_message(struct loader *l, const char *list, size_t index, enum mesh_kind kind, const ProtobufCMessage *message)
{
	char path[64];
	size_t size = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = arena_alloc(&l->arena, size);

	if (!bytes)
		return -ENOMEM;
	protobuf_c_message_pack(message, bytes);
	snprintf(path, sizeof(path), "static_resources.%s[%zu]", list, index);
	return load_add(l, path, mesh_kind_type_url(kind), bytes, size);
}

static int add_pod(struct loader *l, size_t index, const Weft__Config__V1__Pod *message)
{
	_cleanup_free_ struct pod_label *labels = calloc(message->n_labels + 1, sizeof(*labels));
	_cleanup_free_ struct pod_ip *ips = calloc(message->n_additional_ips + 1, sizeof(*ips));
	char path[64];
	const struct yaml_node *node;
	struct pod pod = { .name = message->name,
			   .namespace_name = message->namespace_,
			   .service_account = message->service_account,
			   .network_namespace = message->network_namespace,
			   .cgroup = message->cgroup,
			   .file = l->file };
	int r;

	if (!labels || !ips)
		return -ENOMEM;
	snprintf(path, sizeof(path), "pods[%zu]", index);
	node = yaml_find(l->root, path);
	pod.line = node->line;
	pod.column = node->column;
	if (!*message->name || !*message->ip || !*message->network_namespace || !*message->cgroup) {
		fail(l, path, "a pod needs name, ip, network_namespace and cgroup");
		return 0;
	}
	ips[0].text = message->ip;
	for (size_t i = 0; i < message->n_additional_ips; i++)
		ips[i + 1].text = message->additional_ips[i];
	for (size_t i = 0; i < message->n_labels; i++) {
		labels[i].key = message->labels[i]->key;
		labels[i].value = message->labels[i]->value;
	}
	pod.ips = ips;
	pod.ip_count = message->n_additional_ips + 1;
	pod.labels = labels;
	pod.label_count = message->n_labels;
	r = pods_add(mesh_pods(l->mesh), &pod);
	if (r == -EEXIST)
		fail(l, path, "another pod before it has the same name or address");
	else if (r == -EINVAL)
		fail(l, path, "an address of the pod is no IP address");
	return r == -ENOMEM ? r : 0;
}

static int add_all(struct loader *l, const Weft__Config__V1__Config *config)
{
	const Envoy__Config__Bootstrap__V3__Bootstrap__StaticResources *statics = config->static_resources;
	char path[64];
	int r = 0;

	for (size_t i = 0; !r && i < config->n_pods; i++)
		r = add_pod(l, i, config->pods[i]);
	for (size_t i = 0; !r && i < config->n_resources; i++) {
		const Google__Protobuf__Any *any = config->resources[i];

		snprintf(path, sizeof(path), "resources[%zu]", i);
		r = load_add(l, path, any->type_url, any->value.data, any->value.len);
	}
	for (size_t i = 0; !r && statics && i < statics->n_listeners; i++)
		r = add_message(l, "listeners", i, MESH_LISTENER, &statics->listeners[i]->base);
	for (size_t i = 0; !r && statics && i < statics->n_clusters; i++)
		r = add_message(l, "clusters", i, MESH_CLUSTER, &statics->clusters[i]->base);
	return r;
}

static int load(struct loader *l, const char *text, size_t size, bool is_strict)
{
	struct yaml_reader reader = { .file = l->file, .arena = &l->arena, .report = l->report, .path = STRBUF_INIT, .is_strict = is_strict };
	ProtobufCMessage *config = NULL;
	bool is_dump;
	int r;

	r = yaml_tree_parse(l->file, text, size, &l->arena, &l->root, l->report);
	if (r)
		return r;
	is_dump = l->root->kind == NODE_MAPPING && yaml_get(l->root, "configs");
	r = yaml_message_read(&reader, l->root, is_dump ? &envoy__admin__v3__config_dump__descriptor : &weft__config__v1__config__descriptor, &config);
	strbuf_release(&reader.path);
	if (r)
		return r;
	r = is_dump ? load_dump(l, config) : add_all(l, (const Weft__Config__V1__Config *)config);
	if (r)
		return r;
	return l->error_count ? -EINVAL : 0;
}

int mesh_load_text_as(const char *name, const char *text, size_t size, bool is_strict, struct mesh **out, struct mesh_report *report)
{
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	struct loader loader = { .file = name, .arena = ARENA_INIT, .report = report };
	int r;

	r = mesh_new(&mesh);
	if (r)
		return r;
	loader.mesh = mesh;
	r = load(&loader, text, size, is_strict);
	arena_release(&loader.arena);
	if (!r)
		r = mesh_refuse_unknown_clusters(mesh, report);
	if (!r)
		r = mesh_check_references(mesh, report);
	if (r)
		return r;
	*out = TAKE_PTR(mesh);
	return 0;
}

int mesh_load_text(const char *name, const char *text, size_t size, struct mesh **out, struct mesh_report *report)
{
	return mesh_load_text_as(name, text, size, false, out, report);
}

int mesh_load_file_as(const char *path, bool is_strict, struct mesh **out, struct mesh_report *report)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = file_read(path, YAML_SIZE_LIMIT, &text);

	if (r) {
		mesh_report_add(report, MESH_ERROR, path, 0, 0, "", "can't be read: %s", strerror(-r));
		return r;
	}
	return mesh_load_text_as(path, strbuf_text(&text), text.size, is_strict, out, report);
}

int mesh_load_file(const char *path, struct mesh **out, struct mesh_report *report)
{
	return mesh_load_file_as(path, false, out, report);
}
