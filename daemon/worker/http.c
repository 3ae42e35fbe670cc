/* SPDX-License-Identifier: Apache-2.0 */
/* What operators' tools ask over HTTP: is it well, how much, what is served. Each part has an address of its own, and none is open that was not asked for. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "admin/http.h"
#include "admin/metrics.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "keeper/options.h"
#include "mesh/yaml_scalar.h"
#include "worker/internal.h"
#include "xds/scope.h"

#define STATUS_OK 200
#define STATUS_BAD_REQUEST 400
#define STATUS_METHOD 405
#define STATUS_PENDING 500 /* as Istio's other data planes answer */

/* ---- health ------------------------------------------------------------------------------------------------------------------------ */

/* Why a scope does not serve: what its connection says. */
static void tell_pending(struct worker *worker, const struct serving *serving, struct strbuf *out)
{
	json_t *connection = worker->scopes.events->describe ? worker->scopes.events->describe(worker, serving) : NULL;
	const char *why = json_string_value(json_object_get(connection, "last_error"));

	strbuf_printf(out, "namespace %s: nothing has come from istiod yet%s%s\n", serving->name, why && *why ? ": " : "", why && *why ? why : "");
	json_decref(connection);
}

void http_pending(struct worker *worker, struct strbuf *out)
{
	const struct serving *serving = NULL;

	if (worker->is_stopping)
		strbuf_append_text(out, "weftd is ending\n");
	if (!kube_is_synced(worker))
		strbuf_append_text(out, "Kubernetes has not told the pods of this node yet: `weftctl status` has the reason\n");
	while (worker->scopes.events && (serving = scopes_next(worker, serving)))
		if (!xds_scope_is_ready(serving->stream))
			tell_pending(worker, serving, out);
}

static void answer_health(void *arg, const struct http_request *request, struct http_answer *answer)
{
	struct worker *worker = arg;

	if (strcmp(request->path, "/healthz/live") == 0) {
		answer->status = STATUS_OK;
		strbuf_append_text(&answer->body, "live\n");
	} else if (strcmp(request->path, "/healthz/ready") == 0) {
		http_pending(worker, &answer->body);
		answer->status = answer->body.size ? STATUS_PENDING : STATUS_OK;
		if (!answer->body.size)
			strbuf_append_text(&answer->body, "ready\n");
	}
}

/* ---- metrics ----------------------------------------------------------------------------------------------------------------------- */

static void answer_metrics(void *arg, const struct http_request *request, struct http_answer *answer)
{
	enum metrics_format format = metrics_format(request->accept);
	_cleanup_(strbuf_release) struct strbuf traffic = STRBUF_INIT;
	json_t *status;

	if (strcmp(request->path, "/metrics") != 0 && strcmp(request->path, "/stats/prometheus") != 0)
		return;
	status = status_answer(arg);
	answer->status = STATUS_OK;
	answer->content_type = format == METRICS_OPENMETRICS ? METRICS_OPENMETRICS_TYPE : METRICS_PROMETHEUS_TYPE;
	(void)worker_traffic_write(arg, format == METRICS_OPENMETRICS, &traffic);
	(void)metrics_write(status, format, &traffic, &answer->body);
	json_decref(status);
}

/* ---- administration ---------------------------------------------------------------------------------------------------------------- */

static int add_bytes(const char *bytes, size_t size, void *arg)
{
	return strbuf_append(arg, bytes, size);
}

static void answer_json(struct http_answer *answer, json_t *value, int status)
{
	answer->status = status;
	answer->content_type = "application/json";
	if (!value || json_dump_callback(value, add_bytes, &answer->body, JSON_INDENT(1)) < 0)
		answer->body.status = -ENOMEM;
	strbuf_append_byte(&answer->body, '\n');
	json_decref(value);
}

static void answer_config_dump(struct worker *worker, const struct http_request *request, struct http_answer *answer)
{
	const char *namespace_name = http_parameter(request, "namespace");
	bool is_text = !namespace_name || text_is_utf8(namespace_name, strlen(namespace_name));
	json_t *asked = json_pack("{s:s, s:b, s:s*}", "command", "dump", "config_dump", true, "namespace", is_text ? namespace_name : NULL);
	json_t *dump = asked && is_text ? answer_request(worker, asked) : NULL;
	const char *error = is_text ? json_string_value(json_object_get(dump, "error")) : "the name of a namespace is UTF-8";

	if (error) {
		answer->status = STATUS_BAD_REQUEST;
		strbuf_printf(&answer->body, "%s\n", error);
		json_decref(dump);
	} else {
		answer_json(answer, dump, STATUS_OK);
	}
	json_decref(asked);
}

static void tell_level(void *out, const char *area, enum log_level level)
{
	strbuf_printf(out, "%s: %s\n", area, log_level_name(level));
}

/* ?level=LEVEL: everywhere; ?AREA=LEVEL, several: of these. All or none of it. */
static void answer_logging(const struct http_request *request, struct http_answer *answer)
{
	const char *everywhere = http_parameter(request, "level"), *area, *text;
	enum log_level level;

	for (size_t i = 0; request->is_post && (area = log_area(i)); i++) {
		text = http_parameter(request, area);
		if (text && log_level_parse(text, &level)) {
			answer->status = STATUS_BAD_REQUEST;
			strbuf_printf(&answer->body, "%s: error, warning, info or debug is expected\n", area);
			return;
		}
	}
	if (request->is_post && everywhere && log_level_parse(everywhere, &level)) {
		answer->status = STATUS_BAD_REQUEST;
		strbuf_append_text(&answer->body, "level: error, warning, info or debug is expected\n");
		return;
	}
	if (request->is_post && everywhere)
		log_set_level(level);
	for (size_t i = 0; request->is_post && (area = log_area(i)); i++) {
		text = http_parameter(request, area);
		if (text && !log_level_parse(text, &level))
			log_set_area_level(area, level);
	}
	answer->status = STATUS_OK;
	log_each_level(tell_level, &answer->body);
}

static void answer_admin(void *arg, const struct http_request *request, struct http_answer *answer)
{
	struct worker *worker = arg;
	json_t *status;

	if (strcmp(request->path, "/logging") == 0) {
		answer_logging(request, answer);
	} else if (strcmp(request->path, "/config_dump") == 0) {
		answer_config_dump(worker, request, answer);
	} else if (strcmp(request->path, "/stats") == 0) {
		status = status_answer(worker);
		answer->status = STATUS_OK;
		(void)metrics_write_flat(status, &answer->body);
		json_decref(status);
	} else if (strcmp(request->path, "/") == 0) {
		answer->status = STATUS_OK;
		strbuf_append_text(&answer->body, "/config_dump[?namespace=NAME]\n/logging (POST ?level=LEVEL, ?AREA=LEVEL)\n/stats\n/stats/prometheus\n");
	} else {
		answer_metrics(arg, request, answer);
	}
}

/* ---- beginning and end ------------------------------------------------------------------------------------------------------------- */

static int begin(struct worker *worker, const char *address, const char *what, http_answer_fn answer, struct http **out)
{
	int r = address ? http_new(out, worker->base, address, answer, worker) : 0;

	return r ? log_err(r, "listening at %s for %s", address, what) : 0;
}

int http_start(struct worker *worker)
{
	const struct options *options = worker->config->options;
	int r = begin(worker, options->health_address, "health", answer_health, &worker->health);

	r = r ? r : begin(worker, options->metrics_address, "metrics", answer_metrics, &worker->metrics);
	return r ? r : begin(worker, options->admin_address, "administration", answer_admin, &worker->administration);
}

void http_stop(struct worker *worker)
{
	http_free(&worker->health);
	http_free(&worker->metrics);
	http_free(&worker->administration);
}
