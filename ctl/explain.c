/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"

/* "label: text (verdict: reason)", without what is not there. */
static void print_line(const char *label, const char *text, const json_t *object)
{
	const char *verdict = ctl_text(object, "verdict"), *reason = ctl_text(object, "reason");

	printf("%-14s %s", label, text[0] ? text : "(no name)");
	if (verdict[0])
		printf("  [%s%s%s]", verdict, reason[0] ? ": " : "", reason);
	else if (reason[0])
		printf("  [%s]", reason);
	printf("\n");
}

static void print_listener(const json_t *answer)
{
	const json_t *listener = json_object_get(answer, "listener");

	if (!listener)
		return;
	print_line("listener", ctl_text(listener, "name"), listener);
	printf("%-14s %s, %s", "", ctl_text(listener, "address"), ctl_text(listener, "kind"));
	if (ctl_text(listener, "note")[0])
		printf("; %s", ctl_text(listener, "note"));
	printf("\n");
}

static void print_route(const json_t *answer)
{
	const json_t *route = json_object_get(answer, "route"), *condition, *change;
	size_t i;

	if (json_object_get(answer, "normalized_target"))
		printf("%-14s %s\n", "target", ctl_text(answer, "normalized_target"));
	if (json_object_get(answer, "route_configuration"))
		printf("%-14s %s\n", "routes of", ctl_text(answer, "route_configuration"));
	if (json_object_get(answer, "virtual_host"))
		printf("%-14s %s\n", "virtual host", ctl_text(answer, "virtual_host"));
	if (!route)
		return;
	print_line("route", ctl_text(route, "name"), route);
	printf("%-14s %s \"%s\"", "", ctl_text(route, "path_kind"), ctl_text(route, "path"));
	json_array_foreach(json_object_get(route, "conditions"), i, condition)
		printf("%s %s", i ? "," : "; where", json_string_value(condition));
	printf("\n");
	json_array_foreach(json_object_get(route, "changes"), i, change)
		printf("%-14s %s\n", "", json_string_value(change));
}

static void print_cluster(const json_t *cluster, size_t count)
{
	static const char *const headings[] = { "ENDPOINT", "WEIGHT", "WHERE" };
	struct text_table table;
	const json_t *endpoint;
	size_t i;

	print_line("cluster", ctl_text(cluster, "name"), cluster);
	printf("%-14s ", "");
	if (count > 1)
		printf("weight %lld, ", ctl_number(cluster, "weight"));
	printf("%s", ctl_text(cluster, "policy"));
	if (json_object_get(cluster, "hashed_to"))
		printf(": this request goes to %s", ctl_text(cluster, "hashed_to"));
	else if (json_object_get(cluster, "hash"))
		printf(": %s", ctl_text(cluster, "hash"));
	printf("\n");
	text_table_begin(&table, headings, 3);
	json_array_foreach(json_object_get(cluster, "endpoints"), i, endpoint) {
		text_table_add(&table, ctl_text(endpoint, "address"));
		text_table_addf(&table, "%lld", ctl_number(endpoint, "weight"));
		text_table_add(&table, json_is_true(json_object_get(endpoint, "is_local")) ? "this node, enrolled" : "elsewhere");
	}
	text_table_end(&table, 15);
}

static void print_outcome(const json_t *answer)
{
	const char *reason = ctl_text(answer, "reason"), *why = ctl_text(answer, "why");

	if (json_object_get(answer, "status"))
		printf("%-14s %lld\n", "answer", ctl_number(answer, "status"));
	printf("%-14s %s%s%s%s\n", "path", ctl_text(answer, "path"), reason[0] ? " (" : "", reason, reason[0] ? ")" : "");
	if (why[0])
		printf("%-14s %s\n", "", why);
}

int ctl_explain(const struct ctl *ctl, int argc, char **argv)
{
	const json_t *cluster;
	json_t *request, *answer;
	size_t i;
	int r;

	if (argc != 2)
		return ctl_usage("explain takes a method and a URL, like `weftctl explain GET http://reviews/`");
	request = json_pack("{s:s, s:s, s:s, s:O}", "command", "explain", "method", argv[0], "url", argv[1], "headers", ctl->headers);
	if (ctl->pod)
		json_object_set_new(request, "pod", json_string(ctl->pod));
	if (ctl->namespace_name)
		json_object_set_new(request, "namespace", json_string(ctl->namespace_name));
	r = ctl_ask(ctl, request, &answer);
	if (r)
		return r;
	if (ctl->is_json) {
		ctl_print_json(answer);
	} else {
		print_listener(answer);
		print_route(answer);
		json_array_foreach(json_object_get(answer, "clusters"), i, cluster)
			print_cluster(cluster, json_array_size(json_object_get(answer, "clusters")));
		print_outcome(answer);
	}
	json_decref(answer);
	return 0;
}
