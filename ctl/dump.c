/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "ctl.h"

static void add_verdict(struct text_table *table, const json_t *object)
{
	const char *reason = ctl_text(object, "reason");

	text_table_addf(table, "%s%s%s", ctl_text(object, "verdict"), reason[0] ? ": " : "", reason);
}

/* "70 of a, 30 of b" */
static void add_clusters(struct text_table *table, const json_t *clusters, const char *otherwise)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const json_t *each;
	size_t i;

	json_array_foreach(clusters, i, each) {
		strbuf_append_text(&text, i ? ", " : "");
		if (json_array_size(clusters) > 1)
			strbuf_printf(&text, "%lld of ", ctl_number(each, "weight"));
		strbuf_append_text(&text, ctl_text(each, "cluster")[0] ? ctl_text(each, "cluster") : "a missing cluster");
	}
	text_table_add(table, text.size ? text.data : otherwise);
}

static void print_listeners(const json_t *answer)
{
	static const char *const headings[] = { "LISTENER", "ADDRESS", "KIND", "ROUTES OR CLUSTERS", "VERDICT" };
	struct text_table table;
	const json_t *listener;
	size_t i;

	text_table_begin(&table, headings, 5);
	json_array_foreach(json_object_get(answer, "listeners"), i, listener) {
		text_table_add(&table, ctl_text(listener, "name"));
		text_table_add(&table, ctl_text(listener, "address"));
		text_table_add(&table, ctl_text(listener, "kind"));
		add_clusters(&table, json_object_get(listener, "tcp"), ctl_text(listener, "route_table"));
		add_verdict(&table, listener);
	}
	text_table_end(&table, 0);
}

static void add_match(struct text_table *table, const json_t *route)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	const json_t *condition;
	size_t i;

	strbuf_printf(&text, "%s %s", ctl_text(route, "path_kind"), ctl_text(route, "path"));
	json_array_foreach(json_object_get(route, "conditions"), i, condition) {
		const char *value = ctl_text(condition, "value");

		strbuf_printf(&text, " %s %s %s%s%s%s", i ? "and" : "if", ctl_text(condition, "name"),
			      json_is_true(json_object_get(condition, "inverted")) ? "not " : "", ctl_text(condition, "kind"), value[0] ? " " : "", value);
	}
	text_table_add(table, strbuf_text(&text));
}

static void print_host_routes(const json_t *host)
{
	static const char *const headings[] = { "ROUTE", "MATCH", "TO", "VERDICT" };
	struct text_table table;
	const json_t *route;
	char direct[40];
	size_t i;

	text_table_begin(&table, headings, 4);
	json_array_foreach(json_object_get(host, "routes"), i, route) {
		const json_t *response = json_object_get(route, "direct_response");

		snprintf(direct, sizeof(direct), "direct response %lld", ctl_number(response, "status"));
		text_table_add(&table, ctl_text(route, "name"));
		add_match(&table, route);
		add_clusters(&table, json_object_get(route, "clusters"), response ? direct : ctl_text(route, "action"));
		add_verdict(&table, route);
	}
	text_table_end(&table, 4);
}

static void print_routes(const json_t *answer)
{
	const json_t *configuration, *host, *domain;
	size_t i, j, k;

	json_array_foreach(json_object_get(answer, "route_tables"), i, configuration) {
		printf("%s\n", ctl_text(configuration, "name"));
		json_array_foreach(json_object_get(configuration, "virtual_hosts"), j, host) {
			printf("  %s (", ctl_text(host, "name"));
			json_array_foreach(json_object_get(host, "domains"), k, domain)
				printf("%s%s", k ? ", " : "", json_string_value(domain));
			printf(")\n");
			print_host_routes(host);
		}
	}
}

static void print_clusters(const json_t *answer)
{
	static const char *const headings[] = { "CLUSTER", "KIND", "POLICY", "ENDPOINTS", "VERDICT" };
	struct text_table table;
	const json_t *cluster;
	size_t i;

	text_table_begin(&table, headings, 5);
	json_array_foreach(json_object_get(answer, "clusters"), i, cluster) {
		text_table_add(&table, ctl_text(cluster, "name"));
		text_table_add(&table, ctl_text(cluster, "kind"));
		text_table_add(&table, ctl_text(cluster, "policy"));
		text_table_addf(&table, "%zu", json_array_size(json_object_get(cluster, "endpoints")));
		add_verdict(&table, cluster);
	}
	text_table_end(&table, 0);
}

static void print_endpoints(const json_t *answer)
{
	static const char *const headings[] = { "ENDPOINT", "CLUSTER", "WEIGHT", "ID" };
	struct text_table table;
	const json_t *endpoint;
	size_t i;

	text_table_begin(&table, headings, 4);
	json_array_foreach(json_object_get(answer, "endpoints"), i, endpoint) {
		text_table_add(&table, ctl_text(endpoint, "address"));
		text_table_add(&table, ctl_text(endpoint, "cluster"));
		text_table_addf(&table, "%lld", ctl_number(endpoint, "weight"));
		text_table_addf(&table, "%lld", ctl_number(endpoint, "id"));
	}
	text_table_end(&table, 0);
}

static void print_verdicts(const json_t *answer)
{
	static const char *const headings[] = { "KIND", "NAME", "VERDICT" };
	const json_t *totals = json_object_get(answer, "totals"), *verdict;
	struct text_table table;
	size_t i;

	text_table_begin(&table, headings, 3);
	json_array_foreach(json_object_get(answer, "verdicts"), i, verdict) {
		text_table_add(&table, ctl_text(verdict, "kind"));
		text_table_add(&table, ctl_text(verdict, "name"));
		add_verdict(&table, verdict);
	}
	text_table_end(&table, 0);
	printf("%lld kernel, %lld proxy, %lld refused, %lld ignored\n", ctl_number(totals, "kernel"), ctl_number(totals, "proxy"),
	       ctl_number(totals, "refused"), ctl_number(totals, "ignored"));
}

/* Without a part, the whole as text, as the golden tests have it: it shows more than tables could. */
static void print(const char *what, const json_t *answer)
{
	if (!what) {
		fputs(ctl_text(answer, "routes"), stdout);
		fputs(ctl_text(answer, "endpoints"), stdout);
	} else if (strcmp(what, "listeners") == 0) {
		print_listeners(answer);
	} else if (strcmp(what, "routes") == 0) {
		print_routes(answer);
	} else if (strcmp(what, "clusters") == 0) {
		print_clusters(answer);
	} else {
		print_endpoints(answer);
	}
}

int ctl_dump(const struct ctl *ctl, int argc, char **argv)
{
	const char *what = argc ? argv[0] : NULL;
	json_t *request, *answer;
	int r;

	if (argc > 1)
		return ctl_usage("dump takes one of listeners, routes, clusters and endpoints");
	if ((what && (ctl->is_config_dump || ctl->wants_verdicts)) || (ctl->is_config_dump && ctl->wants_verdicts))
		return ctl_usage("dump --config-dump and dump --verdicts are all of it: no part beside them");
	request = json_pack("{s:s, s:b, s:b, s:b}", "command", "dump", "text", !ctl->is_json, "config_dump", ctl->is_config_dump, "verdicts",
			    ctl->wants_verdicts);
	if (what)
		json_object_set_new(request, "what", json_string(what));
	if (ctl->namespace_name)
		json_object_set_new(request, "namespace", json_string(ctl->namespace_name));
	r = ctl_ask(ctl, request, &answer);
	if (r)
		return r;
	if (ctl->is_json || ctl->is_config_dump)
		ctl_print_json(answer);
	else if (ctl->wants_verdicts)
		print_verdicts(answer);
	else
		print(what, answer);
	json_decref(answer);
	return 0;
}
