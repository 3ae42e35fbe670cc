/* SPDX-License-Identifier: Apache-2.0 */
/* What weftctl asks beside the status: what is published, and what would become of a request. docs/weftctl.md describes the answers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admin/explain.h"
#include "admin/server.h"
#include "base/cleanup.h"
#include "base/strbuf.h"
#include "datapath/datapath.h"
#include "keeper/options.h"
#include "worker/internal.h"
#include "xds/scope.h"

/* ---- dump ------------------------------------------------------------------------------------------------------------------------ */

/* NULL after a complaint in `*error`. */
static json_t *dump_image(const struct image *image, const struct image *names, enum dump_format format, json_t **error)
{
	_cleanup_free_ char *text = NULL;
	json_error_t place;
	json_t *value = NULL;
	size_t size = 0;
	FILE *stream;
	int r;

	stream = open_memstream(&text, &size);
	if (!stream) {
		*error = admin_error("out of memory");
		return NULL;
	}
	r = compile_dump(stream, image, names, format);
	if (fclose(stream) != 0 && r == 0)
		r = -ENOMEM;
	if (r == 0) {
		value = format == DUMP_TEXT ? json_stringn(text, size) : json_loadb(text, size, 0, &place);
		r = value ? 0 : -ENOMEM;
	}
	if (r)
		*error = admin_error("reading the image: %s", strerror(-r));
	return value;
}

/* Takes one part of an image's dump over into the answer. */
static json_t *move_part(json_t *answer, const char *key, json_t *dump)
{
	json_object_set(answer, key, json_object_get(dump, key));
	json_decref(dump);
	return answer;
}

/* Endpoints one by one, each with its cluster. */
static json_t *move_endpoints(json_t *answer, json_t *dump)
{
	json_t *list = json_array(), *cluster, *endpoint;
	size_t i, j;

	json_array_foreach(json_object_get(dump, "clusters"), i, cluster) {
		json_array_foreach(json_object_get(cluster, "endpoints"), j, endpoint) {
			json_object_set(endpoint, "cluster", json_object_get(cluster, "name"));
			json_array_append(list, endpoint);
		}
	}
	json_object_set_new(answer, "endpoints", list);
	json_decref(dump);
	return answer;
}

static json_t *dump_part(const struct serving *serving, const char *what, json_t **error)
{
	const struct image *routes = serving->routes->image, *endpoints = serving->endpoints->image;
	bool is_of_routes = strcmp(what, "listeners") == 0 || strcmp(what, "routes") == 0;
	bool is_of_endpoints = strcmp(what, "clusters") == 0 || strcmp(what, "endpoints") == 0;
	json_t *dump;

	if (!is_of_routes && !is_of_endpoints) {
		*error = admin_error("dump of what? listeners, routes, clusters or endpoints");
		return NULL;
	}
	dump = is_of_routes ? dump_image(routes, endpoints, DUMP_JSON, error) : dump_image(endpoints, NULL, DUMP_JSON, error);
	if (!dump)
		return NULL;
	if (strcmp(what, "endpoints") == 0)
		return move_endpoints(json_object(), dump);
	return move_part(json_object(), strcmp(what, "routes") == 0 ? "route_tables" : what, dump);
}

/* Everything: {"routes": text or object, "endpoints": likewise}. */
static json_t *dump_all(const struct serving *serving, enum dump_format format, json_t **error)
{
	const struct image *routes = serving->routes->image, *endpoints = serving->endpoints->image;
	json_t *first, *second;

	first = dump_image(routes, endpoints, format, error);
	if (!first)
		return NULL;
	second = dump_image(endpoints, NULL, format, error);
	if (!second) {
		json_decref(first);
		return NULL;
	}
	return json_pack("{s:o, s:o}", "routes", first, "endpoints", second);
}

/* That of the namespace that the request names, else the only one there is. NULL after a complaint in `*error`. */
static const struct serving *serving_named(const struct worker *worker, const char *namespace_name, json_t **error)
{
	const struct serving *serving = namespace_name ? scopes_find(worker, namespace_name) : scopes_next(worker, NULL);

	if (namespace_name && !serving)
		*error = admin_error("nothing serves namespace %s: no pod of it is enrolled", namespace_name);
	else if (serving && !namespace_name && scopes_next(worker, serving))
		*error = admin_error("pods of several namespaces are served, each by an answer of its own: which one?");
	else if (!serving)
		*error = admin_error("nothing is published yet");
	return *error ? NULL : serving;
}

/* Likewise, with images. */
static const struct serving *serving_of(const struct worker *worker, const char *namespace_name, json_t **error)
{
	const struct serving *serving = serving_named(worker, namespace_name, error);

	if (serving && (!serving->routes || !serving->endpoints))
		*error = admin_error("nothing is published yet");
	return *error ? NULL : serving;
}

/* What serves and what waits, also before something serves. */
static json_t *config_dump(const struct worker *worker, const char *namespace_name)
{
	json_t *error = NULL;
	const struct serving *serving = serving_named(worker, namespace_name, &error);

	if (!serving)
		return error;
	return serving->stream ? xds_scope_config_dump(serving->stream) :
				 admin_error("the configuration is a file's: it says itself what it holds (weftd --xds)");
}

/* Of everything that was read, also what no image holds. */
static json_t *dump_verdicts(const struct worker *worker, const struct serving *serving)
{
	_cleanup_(compile_report_release) struct compile_report report = COMPILE_REPORT_INIT;
	json_t *list, *totals;
	int r;

	if (!serving->mesh)
		return admin_error("nothing is published yet");
	r = compile_verdicts(serving->mesh, worker->dns, &report);
	if (r)
		return admin_error("the verdicts: %s", strerror(-r));
	list = json_array();
	totals = json_object();
	for (size_t i = 0; i < report.count; i++) {
		const struct compile_verdict *verdict = &report.verdicts[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "kind", verdict->kind, "name", verdict->name, "verdict",
						      verdict_name(verdict->verdict), "reason", verdict->reason));
	}
	for (unsigned verdict = WEFT_VERDICT_KERNEL; verdict <= WEFT_VERDICT_IGNORED; verdict++)
		json_object_set_new(totals, verdict_name((enum weft_verdict)verdict), json_integer((json_int_t)report.totals[verdict]));
	return json_pack("{s:o, s:o}", "verdicts", list, "totals", totals);
}

static json_t *dump(struct worker *worker, const json_t *request)
{
	const char *what = json_string_value(json_object_get(request, "what")), *name = json_string_value(json_object_get(request, "namespace"));
	const struct serving *serving;
	json_t *answer, *error = NULL;

	if (json_is_true(json_object_get(request, "config_dump")))
		return config_dump(worker, name);
	serving = serving_of(worker, name, &error);
	if (!serving)
		return error;
	if (json_is_true(json_object_get(request, "verdicts")))
		return dump_verdicts(worker, serving);
	if (what)
		answer = dump_part(serving, what, &error);
	else
		answer = dump_all(serving, json_is_true(json_object_get(request, "text")) ? DUMP_TEXT : DUMP_JSON, &error);
	return answer ? answer : error;
}

/* ---- explain --------------------------------------------------------------------------------------------------------------------- */

static bool is_served_pod(const void *arg, const struct weft_address *address)
{
	const struct worker *worker = arg;

	for (size_t i = 0; i < worker->pods.count; i++) {
		if (worker->pods.items[i]->state == NODE_POD_SERVING && weft_address_equals(&worker->pods.items[i]->addresses[weft_address_family(address)], address))
			return true;
	}
	return false;
}

static json_t *explain(struct worker *worker, const json_t *request)
{
	const char *pod_name = json_string_value(json_object_get(request, "pod"));
	const uint32_t redirect_limit = worker->config->options->redirect_limit_bytes;
	struct explain_world world = {
		.fast_path = datapath_fast_path(worker->datapath),
		.redirect_limit_bytes = redirect_limit ? redirect_limit : WEFT_REDIRECT_LIMIT_DEFAULT,
		.is_served_pod = is_served_pod,
		.arg = worker,
	};
	struct datapath_feature_state states[FEATURE_COUNT];
	const struct node_pod *pod = NULL;
	const struct serving *serving;
	json_t *error = NULL;

	if (pod_name) {
		pod = pods_find_name(worker, pod_name);
		if (!pod)
			return admin_error("there is no pod %s in the configuration; `weftctl status` lists the pods", pod_name);
		if (pod->state != NODE_POD_SERVING)
			return admin_error("pod %s/%s is not served: %s", pod->namespace_name, pod->name, pod->reason);
		memcpy(world.pod_addresses, pod->addresses, sizeof(world.pod_addresses));
		world.exceptions = pod->exceptions;
	}
	serving = serving_of(worker, pod ? pod->namespace_name : json_string_value(json_object_get(request, "namespace")), &error);
	if (!serving)
		return error;
	datapath_features(worker->datapath, states);
	world.has_sockmap = states[FEATURE_SOCKMAP].is_on;
	world.has_sk_skb = states[FEATURE_SK_SKB].is_on;
	world.has_push_pop = states[FEATURE_PUSH_POP].is_on;
	world.routes = (struct weft_image_handle){ serving->routes->image->base, serving->routes->image->size_bytes };
	world.endpoints = (struct weft_image_handle){ serving->endpoints->image->base, serving->endpoints->image->size_bytes };
	return explain_request(&world, request);
}

/* ---------------------------------------------------------------------------------------------------------------------------------- */

static json_t *xds(struct worker *worker)
{
	if (!worker->scopes.events)
		return admin_error("the configuration is a file's: there are no streams (weftd --xds)");
	return json_pack("{s:o}", "scopes", scopes_describe(worker));
}

/* Is it well, and which of those that may replace each other is it? */
static json_t *ready(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf pending = STRBUF_INIT;
	const char *instance = worker->config->options->instance;

	http_pending(worker, &pending);
	return json_pack("{s:s, s:b, s:s}", "instance", instance ? instance : "", "is_ready", !pending.size, "pending", strbuf_text(&pending));
}

json_t *answer_request(void *arg, const json_t *request)
{
	const char *command = json_string_value(json_object_get(request, "command"));
	struct worker *worker = arg;

	if (!command)
		return admin_error("a request has a \"command\"");
	if (strcmp(command, "status") == 0)
		return status_answer(worker);
	if (strcmp(command, "dump") == 0)
		return dump(worker, request);
	if (strcmp(command, "explain") == 0)
		return explain(worker, request);
	if (strcmp(command, "xds") == 0)
		return xds(worker);
	if (strcmp(command, "pods") == 0)
		return json_pack("{s:o, s:b}", "pods", kube_describe_pods(worker), "is_synced", kube_is_synced(worker));
	if (strcmp(command, "ready") == 0)
		return ready(worker);
	return admin_error("unknown command \"%s\": status, dump, explain, xds, pods and ready are known", command);
}
