/* SPDX-License-Identifier: Apache-2.0 */
/* The dump as text: one line an object, indented by tabs; short enough to be read in a review. */
#include "compile/dump.h"

#include <ctype.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
	return (long long)json_integer_value(json_object_get(object, key));
}

/* Line ends, control bytes and quotes escaped. */
static void print_quoted(struct strbuf *out, const char *text)
{
	strbuf_append_byte(out, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '\r')
			strbuf_append_text(out, "\\r");
		else if (c == '\n')
			strbuf_append_text(out, "\\n");
		else if (c == '"' || c == '\\')
			strbuf_printf(out, "\\%c", c);
		else if (iscntrl(c))
			strbuf_printf(out, "\\x%02x", c);
		else
			strbuf_append_byte(out, (char)c);
	}
	strbuf_append_byte(out, '"');
}

static void print_tabs(struct strbuf *out, unsigned int count)
{
	while (count--)
		strbuf_append_byte(out, '\t');
}

static void print_verdict(struct strbuf *out, const json_t *object)
{
	strbuf_printf(out, " [%s]", text_of(object, "verdict"));
	if (*text_of(object, "reason"))
		strbuf_printf(out, " because: %s", text_of(object, "reason"));
	strbuf_append_byte(out, '\n');
}

static void print_texts(struct strbuf *out, const json_t *array, const char *separator)
{
	size_t i;

	for (i = 0; i < json_array_size(array); i++)
		strbuf_printf(out, "%s%s", i ? separator : "", json_string_value(json_array_get(array, i)));
}

static void print_numbers(struct strbuf *out, const json_t *array)
{
	size_t i;

	for (i = 0; i < json_array_size(array); i++)
		strbuf_printf(out, " %lld", (long long)json_integer_value(json_array_get(array, i)));
}

static void print_clusters(struct strbuf *out, const json_t *array)
{
	size_t i;

	for (i = 0; i < json_array_size(array); i++) {
		const json_t *item = json_array_get(array, i);

		strbuf_append_text(out, i ? ", " : "");
		if (json_array_size(array) > 1)
			strbuf_printf(out, "%lld of ", number_of(item, "weight"));
		if (json_object_get(item, "cluster"))
			strbuf_append_text(out, text_of(item, "cluster"));
		else if (!number_of(item, "cluster_id"))
			strbuf_append_text(out, "cluster that the request names");
		else
			strbuf_append_text(out, "cluster without definition");
		strbuf_printf(out, " (c%lld)", number_of(item, "cluster_id"));
	}
}

static void print_listener(struct strbuf *out, const json_t *listener)
{
	const json_t *flags = json_object_get(listener, "flags"), *name;
	size_t i;

	strbuf_printf(out, "listener %s %s", text_of(listener, "address"), text_of(listener, "kind"));
	if (json_object_get(listener, "destinations"))
		strbuf_printf(out, " to %s", text_of(listener, "destinations"));
	if (*text_of(listener, "name"))
		strbuf_printf(out, " \"%s\"", text_of(listener, "name"));
	if (json_array_size(flags)) {
		strbuf_append_text(out, " (");
		print_texts(out, flags, " ");
		strbuf_append_byte(out, ')');
	}
	print_verdict(out, listener);
	if (json_object_get(listener, "route_table"))
		strbuf_printf(out, "\troutes \"%s\"\n", text_of(listener, "route_table"));
	if (json_object_get(listener, "tcp")) {
		strbuf_append_text(out, "\tTCP -> ");
		print_clusters(out, json_object_get(listener, "tcp"));
		strbuf_append_byte(out, '\n');
	}
	json_array_foreach(json_object_get(listener, "server_names"), i, name) {
		strbuf_printf(out, "\tTLS to %s -> ", *text_of(name, "name") ? text_of(name, "name") : "other names");
		if (json_object_get(name, "clusters"))
			print_clusters(out, json_object_get(name, "clusters"));
		else
			strbuf_append_text(out, "closed");
		strbuf_append_byte(out, '\n');
	}
	if (json_object_get(listener, "not_http")) {
		strbuf_append_text(out, "\tnot HTTP -> ");
		print_clusters(out, json_object_get(listener, "not_http"));
		strbuf_append_byte(out, '\n');
	}
}

static void print_condition(struct strbuf *out, const json_t *condition)
{
	bool is_inverted = json_object_get(condition, "inverted");

	strbuf_printf(out, "%s %s%s", text_of(condition, "name"), is_inverted ? "not " : "", text_of(condition, "kind"));
	if (json_object_get(condition, "value")) {
		strbuf_append_byte(out, ' ');
		print_quoted(out, text_of(condition, "value"));
	}
	if (json_object_get(condition, "ignore_case"))
		strbuf_append_text(out, " ignoring case");
	if (json_object_get(condition, "missing_as_empty"))
		strbuf_append_text(out, " (missing is empty)");
}

static void print_hash_policies(struct strbuf *out, const json_t *policies)
{
	size_t i;

	strbuf_append_text(out, ", hashed by");
	for (i = 0; i < json_array_size(policies); i++) {
		const json_t *policy = json_array_get(policies, i);

		strbuf_printf(out, "%s %s", i ? "," : "", text_of(policy, "kind"));
		if (json_object_get(policy, "name"))
			strbuf_printf(out, " %s", text_of(policy, "name"));
		if (json_object_get(policy, "pattern")) {
			strbuf_append_text(out, " with ");
			print_quoted(out, text_of(policy, "pattern"));
			strbuf_append_text(out, " as ");
			print_quoted(out, text_of(policy, "substitution"));
		}
		if (json_object_get(policy, "makes_cookie"))
			strbuf_printf(out, " (made%s)", text_of(policy, "makes_cookie"));
		if (json_object_get(policy, "terminal"))
			strbuf_append_text(out, " (terminal)");
	}
}

static void print_action(struct strbuf *out, const json_t *route)
{
	const json_t *direct = json_object_get(route, "direct_response");
	size_t i;

	strbuf_append_text(out, " -> ");
	if (!strcmp(text_of(route, "action"), "proxy"))
		strbuf_append_text(out, "(proxy) ");
	if (json_object_get(route, "clusters"))
		print_clusters(out, json_object_get(route, "clusters"));
	else if (direct)
		strbuf_printf(out, "direct response %lld", number_of(direct, "status"));
	else
		strbuf_append_text(out, json_object_get(route, "changes") ? "redirect" : text_of(route, "action"));
	if (json_object_get(route, "timeout_ms"))
		strbuf_printf(out, ", timeout %lld ms", number_of(route, "timeout_ms"));
	if (json_object_get(route, "retries"))
		strbuf_printf(out, ", %lld retries", number_of(route, "retries"));
	if (json_object_get(route, "hash_policies"))
		print_hash_policies(out, json_object_get(route, "hash_policies"));
	if (json_object_get(route, "missing_status"))
		strbuf_printf(out, ", %lld without the cluster", number_of(route, "missing_status"));
	print_verdict(out, route);
	for (i = 0; i < json_array_size(json_object_get(route, "changes")); i++)
		strbuf_printf(out, "\t\t\t%s\n", json_string_value(json_array_get(json_object_get(route, "changes"), i)));
	if (direct) {
		strbuf_append_text(out, "\t\t\thead ");
		print_quoted(out, text_of(direct, "head"));
		strbuf_printf(out, "\n\t\t\tbody %lld bytes ", number_of(direct, "body_bytes"));
		print_quoted(out, text_of(direct, "body"));
		strbuf_append_byte(out, '\n');
	}
}

static void print_route(struct strbuf *out, const json_t *route, size_t index)
{
	const json_t *conditions = json_object_get(route, "conditions");
	size_t i;

	strbuf_printf(out, "\t\t%zu (r%lld)", index, number_of(route, "id"));
	if (json_object_get(route, "name"))
		strbuf_printf(out, " \"%s\"", text_of(route, "name"));
	strbuf_printf(out, " %s ", text_of(route, "path_kind"));
	print_quoted(out, text_of(route, "path"));
	for (i = 0; i < json_array_size(conditions); i++) {
		strbuf_append_text(out, i ? " and " : " if ");
		print_condition(out, json_array_get(conditions, i));
	}
	if (json_object_get(route, "match_is_unsupported"))
		strbuf_append_text(out, i ? " and more" : " if more");
	print_action(out, route);
}

static void print_trie(struct strbuf *out, const char *title, const json_t *nodes)
{
	size_t i;

	if (!nodes)
		return;
	strbuf_printf(out, "\t\t%s\n", title);
	for (i = 0; i < json_array_size(nodes); i++) {
		const json_t *node = json_array_get(nodes, i), *at_end = json_object_get(node, "at_end"), *at_prefix = json_object_get(node, "at_prefix");

		print_tabs(out, 3 + (unsigned int)number_of(node, "depth"));
		print_quoted(out, text_of(node, "label"));
		if (json_array_size(at_end) && json_equal(at_end, at_prefix)) {
			strbuf_append_byte(out, ':');
			print_numbers(out, at_end);
		} else {
			if (json_array_size(at_end)) {
				strbuf_append_text(out, " end:");
				print_numbers(out, at_end);
			}
			if (json_array_size(at_prefix)) {
				strbuf_append_text(out, " further:");
				print_numbers(out, at_prefix);
			}
		}
		strbuf_append_byte(out, '\n');
	}
}

/* How large the automata are; their lists in one line, each in brackets. */
static void print_regexes(struct strbuf *out, const json_t *regexes)
{
	const json_t *automata = json_object_get(regexes, "automata"), *candidates = json_object_get(regexes, "candidates");
	size_t i;

	if (!regexes)
		return;
	strbuf_append_text(out, "\t\tregexes\n");
	for (i = 0; i < json_array_size(automata); i++) {
		const json_t *automaton = json_array_get(automata, i);

		strbuf_printf(out, "\t\t\tautomaton of %lld states, %lld classes\n", number_of(automaton, "states"), number_of(automaton, "classes"));
	}
	strbuf_append_text(out, "\t\t\tcandidates");
	for (i = 0; i < json_array_size(candidates); i++) {
		strbuf_append_text(out, " [");
		print_numbers(out, json_array_get(candidates, i));
		strbuf_append_text(out, " ]");
	}
	strbuf_append_byte(out, '\n');
}

static void print_virtual_host(struct strbuf *out, const json_t *host)
{
	const json_t *routes = json_object_get(host, "routes");
	size_t i;

	strbuf_printf(out, "\tvirtual host \"%s\"\n\t\tdomains ", text_of(host, "name"));
	print_texts(out, json_object_get(host, "domains"), ", ");
	strbuf_append_byte(out, '\n');
	if (json_object_get(host, "needs_tls"))
		strbuf_append_text(out, "\t\tneeds TLS: what is not https is redirected\n");
	for (i = 0; i < json_array_size(routes); i++)
		print_route(out, json_array_get(routes, i), i);
	print_trie(out, "paths", json_object_get(host, "paths"));
	print_trie(out, "paths ignoring case", json_object_get(host, "paths_ignoring_case"));
	print_regexes(out, json_object_get(host, "regexes"));
}

void dump_print_routes(const json_t *root, struct strbuf *out)
{
	const json_t *listeners = json_object_get(root, "listeners"), *tables = json_object_get(root, "route_tables");
	size_t i, j;

	for (i = 0; i < json_array_size(listeners); i++)
		print_listener(out, json_array_get(listeners, i));
	for (i = 0; i < json_array_size(tables); i++) {
		const json_t *table = json_array_get(tables, i), *hosts = json_object_get(table, "virtual_hosts");

		strbuf_printf(out, "route table \"%s\"%s\n", text_of(table, "name"),
			      json_is_true(json_object_get(table, "ignores_port")) ? " (a host's port does not count)" : "");
		for (j = 0; j < json_array_size(hosts); j++)
			print_virtual_host(out, json_array_get(hosts, j));
	}
}

#define TURNS_SHOWN 32u

static bool is_plain_order(const json_t *schedule)
{
	size_t i;

	for (i = 0; i < json_array_size(schedule); i++)
		if (json_integer_value(json_array_get(schedule, i)) != (json_int_t)i)
			return false;
	return true;
}

static void print_hash_levels(struct strbuf *out, const json_t *levels)
{
	size_t i;

	for (i = 0; i < json_array_size(levels); i++) {
		const json_t *level = json_array_get(levels, i);

		strbuf_printf(out, "\thash %% 100 below %lld: %s of %lld places:", number_of(level, "until"), text_of(level, "kind"),
			      number_of(level, "size"));
		print_numbers(out, json_object_get(level, "places"));
		strbuf_append_byte(out, '\n');
	}
}

static void print_turns(struct strbuf *out, const json_t *schedule)
{
	size_t i;

	for (i = 0; i < json_array_size(schedule) && i < TURNS_SHOWN; i++)
		strbuf_printf(out, " %lld", (long long)json_integer_value(json_array_get(schedule, i)));
	strbuf_append_text(out, i < json_array_size(schedule) ? " ...\n" : "\n");
}

static void print_priorities(struct strbuf *out, const json_t *priorities)
{
	size_t i;

	for (i = 0; i < json_array_size(priorities); i++) {
		const json_t *priority = json_array_get(priorities, i);

		strbuf_printf(out, "\tpriority %lld%s, %lld %% available:", number_of(priority, "priority"),
			      json_object_get(priority, "is_degraded") ? " degraded" : "", number_of(priority, "percent"));
		print_turns(out, json_object_get(priority, "schedule"));
	}
}

static void print_cluster(struct strbuf *out, const json_t *cluster)
{
	const json_t *endpoints = json_object_get(cluster, "endpoints"), *schedule = json_object_get(cluster, "schedule");
	size_t i;

	strbuf_printf(out, "cluster (c%lld) \"%s\" %s %s, connect timeout %lld ms", number_of(cluster, "id"), text_of(cluster, "name"),
		      text_of(cluster, "kind"), text_of(cluster, "policy"), number_of(cluster, "connect_timeout_ms"));
	if (json_object_get(cluster, "choices") && number_of(cluster, "choices") != 2)
		strbuf_printf(out, ", of %lld choices", number_of(cluster, "choices"));
	if (json_object_get(cluster, "max_requests"))
		strbuf_printf(out, ", at most %lld requests", number_of(cluster, "max_requests"));
	print_verdict(out, cluster);
	for (i = 0; i < json_array_size(endpoints); i++) {
		const json_t *endpoint = json_array_get(endpoints, i);

		strbuf_printf(out, "\t%zu (e%lld) %s weight %lld%s", i, number_of(endpoint, "id"), text_of(endpoint, "address"),
			      number_of(endpoint, "weight"), json_object_get(endpoint, "mtls_capable") ? " mtls_capable" : "");
		if (json_object_get(endpoint, "group_count"))
			strbuf_printf(out, " group of %lld from %lld", number_of(endpoint, "group_count"), number_of(endpoint, "group_first"));
		strbuf_append_byte(out, '\n');
	}
	print_hash_levels(out, json_object_get(cluster, "hash_levels"));
	if (!is_plain_order(schedule) || json_object_get(cluster, "priorities")) {
		strbuf_printf(out, "\t%zu turns:", json_array_size(schedule));
		print_turns(out, schedule);
	}
	print_priorities(out, json_object_get(cluster, "priorities"));
}

void dump_print_endpoints(const json_t *root, struct strbuf *out)
{
	const json_t *clusters = json_object_get(root, "clusters");
	size_t i;

	for (i = 0; i < json_array_size(clusters); i++)
		print_cluster(out, json_array_get(clusters, i));
}
