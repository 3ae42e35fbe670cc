/* SPDX-License-Identifier: Apache-2.0 */
#include "helper.h"

#define CONFIG "resources:\n- '@type': type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: r\n"
/* One virtual host; what follows is its routes, as a list in flow style. */
#define ROUTES(routes) CONFIG "  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes: " routes "\n"
#define DIRECT "direct_response: {status: 200}"

static const struct mesh_virtual_host *first_host(const struct loaded *l)
{
	assert_no_errors(l);
	assert_int_equal(l->mesh->route_config_count, 1);
	assert_true(l->mesh->route_configs[0]->virtual_host_count >= 1);
	return &l->mesh->route_configs[0]->virtual_hosts[0];
}

static void test_every_kind_of_path_is_kept(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: ''}, " DIRECT "}, {match: {path: /a, case_sensitive: false}, " DIRECT "},"
			 "{match: {path_separated_prefix: /b}, " DIRECT "}, {match: {safe_regex: {regex: '/c.*'}}, " DIRECT "},"
			 "{match: {connect_matcher: {}}, " DIRECT "}]"));
	const struct mesh_route *routes = first_host(&l)->routes;

	assert_int_equal(routes[0].match.path_kind, MESH_PATH_PREFIX);
	assert_true(routes[0].match.is_case_sensitive);
	assert_string_equal(routes[0].match.path, "");
	assert_int_equal(routes[1].match.path_kind, MESH_PATH_EXACT);
	assert_false(routes[1].match.is_case_sensitive);
	assert_int_equal(routes[2].match.path_kind, MESH_PATH_SEPARATED_PREFIX);
	assert_int_equal(routes[3].match.path_kind, MESH_PATH_REGEX);
	assert_string_equal(routes[3].match.path, "/c.*");
	assert_int_equal(routes[4].match.path_kind, MESH_PATH_CONNECT);
}

static void test_every_kind_of_header_condition_is_kept(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: /, headers: ["
			 "{name: X-A, string_match: {exact: ''}}, {name: b, string_match: {prefix: p, ignore_case: true}},"
			 "{name: c, string_match: {suffix: s}}, {name: d, string_match: {contains: t}},"
			 "{name: e, string_match: {safe_regex: {regex: 'r'}}}, {name: f}, {name: g, present_match: false},"
			 "{name: h, range_match: {start: -1, end: 5}}, {name: i, exact_match: x, invert_match: true},"
			 "{name: j, exact_match: ''}, {name: ':method', string_match: {exact: GET}, treat_missing_header_as_empty: true},"
			 "{name: k, prefix_match: x}, {name: l, suffix_match: x}, {name: m, contains_match: x}, {name: n, safe_regex_match: {regex: x}}"
			 "]}, " DIRECT "}]"));
	const struct mesh_header_matcher *h = first_host(&l)->routes[0].match.headers;

	assert_string_equal(h[0].name, "x-a");
	assert_int_equal(h[0].kind, MESH_HEADER_STRING);
	assert_int_equal(h[0].string.kind, MESH_STRING_EXACT);
	assert_int_equal(h[1].string.kind, MESH_STRING_PREFIX);
	assert_true(h[1].string.ignore_case);
	assert_int_equal(h[2].string.kind, MESH_STRING_SUFFIX);
	assert_int_equal(h[3].string.kind, MESH_STRING_CONTAINS);
	assert_int_equal(h[4].string.kind, MESH_STRING_REGEX);
	assert_int_equal(h[5].kind, MESH_HEADER_PRESENT);
	assert_true(h[5].is_present);
	assert_int_equal(h[6].kind, MESH_HEADER_PRESENT);
	assert_false(h[6].is_present);
	assert_int_equal(h[7].kind, MESH_HEADER_RANGE);
	assert_int_equal(h[7].range_start, -1);
	assert_int_equal(h[7].range_end, 5);
	assert_true(h[8].is_inverted);
	assert_int_equal(h[9].string.kind, MESH_STRING_PREFIX); /* any value at all */
	assert_true(h[10].treats_missing_as_empty);
	assert_int_equal(h[11].string.kind, MESH_STRING_PREFIX);
	assert_int_equal(h[12].string.kind, MESH_STRING_SUFFIX);
	assert_int_equal(h[13].string.kind, MESH_STRING_CONTAINS);
	assert_int_equal(h[14].string.kind, MESH_STRING_REGEX);
}

static void test_query_conditions_and_fractions_are_kept(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: /, query_parameters: [{name: Q, string_match: {exact: v}}, {name: r, present_match: true}],"
			 "runtime_fraction: {default_value: {numerator: 5, denominator: TEN_THOUSAND}, runtime_key: k}}, " DIRECT "}]"));
	const struct mesh_route_match *match = &first_host(&l)->routes[0].match;

	assert_string_equal(match->queries[0].name, "Q");
	assert_string_equal(match->queries[0].string.text, "v");
	assert_true(match->queries[1].is_present_only);
	assert_true(match->has_fraction);
	assert_int_equal(match->fraction_numerator, 5);
	assert_int_equal(match->fraction_denominator, 10000);
}

static void test_forwarding_has_envoys_defaults(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: /}, route: {cluster: c}}, {match: {prefix: /}, route: {cluster: c, timeout: 0s, "
			 "max_grpc_timeout: 0s, idle_timeout: 2.0009s}}]"));
	const struct mesh_forward *forward = &first_host(&l)->routes[0].forward;

	assert_int_equal(first_host(&l)->routes[0].action, MESH_ACTION_CLUSTER);
	assert_string_equal(forward->cluster, "c");
	assert_int_equal(forward->timeout_ms, 15000);
	assert_int_equal(forward->idle_timeout_ms, -1);
	assert_int_equal(forward->grpc_timeout_header_max_ms, -1);
	assert_int_equal(forward->cluster_not_found_status, 503);
	assert_int_equal(forward->host_rewrite, MESH_HOST_KEEP);
	assert_string_equal(forward->prefix_rewrite, "");
	assert_null(forward->regex_rewrite.pattern);
	assert_null(forward->retry);
	forward = &first_host(&l)->routes[1].forward;
	assert_int_equal(forward->timeout_ms, 0);
	assert_int_equal(forward->grpc_timeout_header_max_ms, 0);
	assert_int_equal(forward->idle_timeout_ms, 2000);
	find_message(&l, MESH_WARNING, "there is no cluster c");
}

static void test_forwarding_keeps_rewrites_weights_and_hashing(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: h,"
			 "request_headers_to_add: [{header: {key: X, value: y}, append_action: ADD_IF_ABSENT}]}, {name: b, weight: 3}], header_name: W},"
			 "regex_rewrite: {pattern: {regex: a}, substitution: 'b\\1'}, host_rewrite_header: x-host, cluster_not_found_response_code: NOT_FOUND,"
			 "hash_policy: [{header: {header_name: X-H}, terminal: true}, {cookie: {name: C, ttl: 0s, path: /, attributes: [{name: Secure}, {name: SameSite, value: Lax}]}},"
			 "{connection_properties: {source_ip: true}}, {query_parameter: {name: q}}],"
			 "request_mirror_policies: [{cluster: m, runtime_fraction: {default_value: {numerator: 1}}}],"
			 "upgrade_configs: [{upgrade_type: WebSocket, enabled: false}], priority: HIGH}},"
			 "{match: {prefix: /}, route: {cluster_header: X-Cluster, prefix_rewrite: /n, auto_host_rewrite: true}}]"));
	const struct mesh_forward *forward = &first_host(&l)->routes[0].forward;

	assert_int_equal(first_host(&l)->routes[0].action, MESH_ACTION_WEIGHTED);
	assert_int_equal(forward->total_weight, 4);
	assert_string_equal(forward->weighted[0].host_rewrite, "h");
	assert_string_equal(forward->weighted[0].edits.request_add[0].name, "x");
	assert_int_equal(forward->weighted[0].edits.request_add[0].action, MESH_ADD_IF_ABSENT);
	assert_string_equal(forward->weight_header, "w");
	assert_string_equal(forward->regex_rewrite.pattern, "a");
	assert_string_equal(forward->regex_rewrite.substitution, "b\\1");
	assert_int_equal(forward->host_rewrite, MESH_HOST_HEADER);
	assert_string_equal(forward->host_rewrite_text, "x-host");
	assert_int_equal(forward->cluster_not_found_status, 404);
	assert_int_equal(forward->hash_policy_count, 4);
	assert_string_equal(forward->hash_policies[0].name, "x-h");
	assert_true(forward->hash_policies[0].is_terminal);
	assert_true(forward->hash_policies[1].makes_cookie);
	assert_int_equal(forward->hash_policies[1].attribute_count, 2);
	assert_string_equal(forward->hash_policies[1].attributes[0].value, "");
	assert_string_equal(forward->hash_policies[1].attributes[1].name, "SameSite");
	assert_int_equal(forward->hash_policies[2].kind, MESH_HASH_SOURCE_IP);
	assert_int_equal(forward->hash_policies[3].kind, MESH_HASH_QUERY);
	assert_string_equal(forward->mirrors[0].cluster, "m");
	assert_int_equal(forward->mirrors[0].fraction_denominator, 100);
	assert_string_equal(forward->upgrades.items[0].type, "websocket");
	assert_false(forward->upgrades.items[0].is_enabled);
	assert_true(forward->is_high_priority);
	forward = &first_host(&l)->routes[1].forward;
	assert_string_equal(forward->cluster_header, "x-cluster");
	assert_string_equal(forward->prefix_rewrite, "/n");
	assert_int_equal(forward->host_rewrite, MESH_HOST_AUTO);
}

#define PRIORITY(config) \
	CONFIG "  virtual_hosts:\n  - {name: v, domains: [a], routes: [{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: 5xx, retry_priority: {name: p, " \
	       "typed_config: {'@type': type.googleapis.com/" config "}}}}}]}\n"

static void test_retries_may_leave_priorities(void **state)
{
	LOADED(istio, PRIORITY("envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 2"));
	LOADED(never, PRIORITY("envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 0"));
	LOADED(other, PRIORITY("xds.type.v3.TypedStruct, type_url: t/some.Other"));

	assert_int_equal(first_host(&istio)->routes[0].forward.retry->priorities_after, 2);
	assert_int_equal(first_host(&istio)->routes[0].reasons.count, 0);
	find_message(&never, MESH_ERROR, "update_frequency must be more than 0");
	assert_int_equal(first_host(&other)->routes[0].reasons.count, 1);
}

static void test_routes_take_the_retry_policy_and_mirrors_from_above(void **state)
{
	LOADED(l, CONFIG "  request_mirror_policies: [{cluster: top}]\n  virtual_hosts:\n"
			 "  - {name: v, domains: [a], retry_policy: {retry_on: '5xx, reset ,nonsense', num_retries: 7}, routes: [\n"
			 "     {match: {prefix: /}, route: {cluster: c}},\n"
			 "     {match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: ''}, request_mirror_policies: [{cluster: own}]}}]}\n"
			 "  - {name: w, domains: [b], request_mirror_policies: [{cluster: middle}], routes: [{match: {prefix: /}, route: {cluster: c}}]}\n");
	const struct mesh_virtual_host *host = first_host(&l);

	assert_int_equal(host->routes[0].forward.retry->num_retries, 7);
	assert_int_equal(host->routes[0].forward.retry->retry_on, MESH_RETRY_5XX | MESH_RETRY_RESET);
	assert_int_equal(host->routes[0].forward.retry->back_off_base_ms, 25);
	assert_int_equal(host->routes[0].forward.retry->back_off_max_ms, 250);
	assert_string_equal(host->routes[0].forward.mirrors[0].cluster, "top");
	assert_int_equal(host->routes[1].forward.retry->retry_on, 0);
	assert_string_equal(host->routes[1].forward.mirrors[0].cluster, "own");
	assert_string_equal(host[1].routes[0].forward.mirrors[0].cluster, "middle");
	find_message(&l, MESH_WARNING, "`nonsense` is no retry condition");
}

static void test_redirects_and_direct_responses_are_kept(void **state)
{
	LOADED(l, ROUTES("[{match: {prefix: /}, redirect: {https_redirect: true, host_redirect: h, port_redirect: 443, path_redirect: '/p?q',"
			 "response_code: PERMANENT_REDIRECT, strip_query: true}}, {match: {prefix: /}, redirect: {prefix_rewrite: ''}},"
			 "{match: {prefix: /}, direct_response: {status: 503, body: {inline_bytes: AAEC}}},"
			 "{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hi}}}]"));
	const struct mesh_route *routes = first_host(&l)->routes;

	assert_int_equal(routes[0].redirect.status, 308);
	assert_string_equal(routes[0].redirect.scheme, "https");
	assert_string_equal(routes[0].redirect.path, "/p?q");
	assert_null(routes[0].redirect.prefix_rewrite);
	assert_true(routes[0].redirect.strips_query);
	assert_int_equal(routes[1].redirect.status, 301);
	assert_null(routes[1].redirect.path);
	assert_string_equal(routes[1].redirect.prefix_rewrite, "");
	assert_int_equal(routes[2].direct.status, 503);
	assert_int_equal(routes[2].direct.body_size, 3);
	assert_memory_equal(routes[2].direct.body, "\0\1\2", 3);
	assert_memory_equal(routes[3].direct.body, "hi", 2);
}

static void test_header_edits_stand_at_every_level(void **state)
{
	LOADED(l, CONFIG "  request_headers_to_remove: [X-Top]\n  most_specific_header_mutations_wins: true\n  virtual_hosts:\n"
			 "  - {name: v, domains: ['*'], response_headers_to_add: [{header: {key: A, value: '%REQ(x)%'}, append: false}], routes: [\n"
			 "     {match: {prefix: /}, " DIRECT ", response_headers_to_remove: [b], request_headers_to_add: [{header: {key: c}, keep_empty_value: true}]}]}\n");
	const struct mesh_virtual_host *host = first_host(&l);

	assert_string_equal(l.mesh->route_configs[0]->edits.request_remove.items[0], "x-top");
	assert_true(l.mesh->route_configs[0]->most_specific_edits_win);
	assert_int_equal(host->edits.response_add[0].action, MESH_OVERWRITE_IF_EXISTS_OR_ADD);
	assert_true(host->edits.response_add[0].has_variables);
	assert_string_equal(host->routes[0].edits.response_remove.items[0], "b");
	assert_true(host->routes[0].edits.request_add[0].keep_empty_value);
	assert_false(host->routes[0].edits.request_add[0].has_variables);
}

static void test_domains_lose_their_case_and_must_be_unique(void **state)
{
	LOADED(l, CONFIG "  virtual_hosts:\n  - {name: v, domains: [A.Test, '*.X']}\n");
	LOADED(twice, CONFIG "  virtual_hosts:\n  - {name: v, domains: [a.test]}\n  - name: w\n    domains:\n    - b\n    - A.Test\n");
	const struct mesh_message *message;

	assert_string_equal(first_host(&l)->domains.items[0], "a.test");
	assert_string_equal(first_host(&l)->domains.items[1], "*.x");
	assert_int_equal(twice.r, 0);
	assert_int_equal(twice.mesh->route_config_count, 0);
	message = find_message(&twice, MESH_ERROR, "`a.test` is given twice");
	assert_string_equal(message->path, "resources[0].virtual_hosts[1].domains[1]");
	assert_int_equal(message->line, 9);
	assert_int_equal(message->column, 7);
	assert_int_equal(twice.mesh->refused_count, 1);
	assert_string_equal(twice.mesh->refused[0]->name, "r");
	assert_int_equal(twice.mesh->refused[0]->kind, MESH_ROUTE_CONFIG);
	assert_string_equal(twice.mesh->refused[0]->path, "virtual_hosts[1].domains[1]");
	assert_int_equal(twice.mesh->refused[0]->place.line, 2);
}

static void test_faults_and_cors_are_read_for_each_level(void **state)
{
	LOADED(l, CONFIG "  virtual_hosts:\n  - name: v\n    domains: ['*']\n    routes:\n"
			 "    - {match: {prefix: /a}, route: {cluster: c}, typed_per_filter_config: {envoy.filters.http.fault:"
			 " {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, upstream_cluster: c,"
			 " delay: {fixed_delay: 0.25s, percentage: {numerator: 5, denominator: TEN_THOUSAND}},"
			 " abort: {grpc_status: 14, percentage: {numerator: 50}}, headers: [{name: x-a}]},"
			 " envoy.filters.http.cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy,"
			 " allow_origin_string_match: [{exact: 'https://a'}], allow_methods: GET, max_age: '60', allow_credentials: false}}}\n"
			 "    - {match: {prefix: /b}, route: {cluster: c}, typed_per_filter_config: {other:"
			 " {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 503}}}}\n"
			 "    - {match: {prefix: /c}, route: {cluster: c}, typed_per_filter_config: {envoy.filters.http.fault:"
			 " {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {header_abort: {}}}}}\n");
	const struct mesh_route *routes = first_host(&l)->routes;
	const struct mesh_cors *cors = routes[0].filter_configs.items[0].cors;
	const struct mesh_fault *fault = routes[0].filter_configs.items[1].fault;

	assert_int_equal(routes[0].reasons.count, 0);
	assert_non_null(fault);
	assert_int_equal(fault->delay_ms, 250);
	assert_int_equal(fault->delayed.denominator, 10000);
	assert_int_equal(fault->abort_status, 200);
	assert_true(fault->has_grpc_status && fault->grpc_status == 14);
	assert_int_equal(fault->aborted.numerator, 50);
	assert_string_equal(fault->upstream_cluster, "c");
	assert_int_equal(fault->header_count, 1);
	assert_non_null(cors);
	assert_int_equal(cors->origin_count, 1);
	assert_string_equal(cors->allow_methods, "GET");
	assert_string_equal(cors->max_age, "60");
	assert_int_equal(cors->allows_credentials, MESH_NO);
	assert_int_equal(cors->forwards_preflights, MESH_UNSET);
	assert_int_equal(cors->enabled.numerator, cors->enabled.denominator);
	assert_true(has_reason(&routes[1].reasons, MESH_EFFECT_TRAFFIC, "virtual_hosts[0].routes[1].typed_per_filter_config[other]"));
	assert_int_equal(routes[2].reasons.count, 0);
	assert_true(routes[2].filter_configs.items[0].fault->aborts_by_header);
}

static void test_what_is_not_represented_is_a_reason_on_the_innermost_object(void **state)
{
	LOADED(l, CONFIG "  vhds: {}\n  virtual_hosts:\n  - name: v\n    domains: ['*']\n    hedge_policy: {}\n    routes:\n"
			 "    - {match: {prefix: /a, cookies: [{name: c}], newMatch: 1}, route: {cluster: c, internal_redirect_policy: {}}}\n"
			 "    - {match: {prefix: /b}, route: {cluster: c}, typed_per_filter_config: {envoy.filters.http.fault:"
			 " {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, response_rate_limit: {}},"
			 " off: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true, config: {}},"
			 " none: {'@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault},"
			 " rbac: {'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}}\n"
			 "    - {match: {prefix: /c}, route: {cluster: c}}\n");
	const struct mesh_virtual_host *host = first_host(&l);

	assert_true(has_reason(&l.mesh->route_configs[0]->resource.reasons, MESH_EFFECT_MATCH, "vhds"));
	assert_true(has_reason(&host->reasons, MESH_EFFECT_MATCH, "virtual_hosts[0].hedge_policy"));
	assert_true(has_reason(&host->routes[0].reasons, MESH_EFFECT_MATCH, "virtual_hosts[0].routes[0].match.cookies"));
	assert_true(has_reason(&host->routes[0].reasons, MESH_EFFECT_MATCH, "virtual_hosts[0].routes[0].match"));
	assert_true(has_reason(&host->routes[0].reasons, MESH_EFFECT_TRAFFIC, "virtual_hosts[0].routes[0].route.internal_redirect_policy"));
	assert_int_equal(host->routes[0].reasons.count, 3);
	assert_true(has_reason(&host->routes[1].reasons, MESH_EFFECT_TRAFFIC,
			       "virtual_hosts[0].routes[1].typed_per_filter_config[envoy.filters.http.fault].response_rate_limit"));
	assert_true(has_reason(&host->routes[1].reasons, MESH_EFFECT_TRAFFIC, "virtual_hosts[0].routes[1].typed_per_filter_config[none]"));
	assert_true(has_reason(&host->routes[1].reasons, MESH_EFFECT_POLICY, "virtual_hosts[0].routes[1].typed_per_filter_config[rbac]"));
	assert_int_equal(host->routes[1].reasons.count, 3);
	assert_int_equal(host->routes[1].filter_configs.count, 4);
	assert_string_equal(host->routes[1].filter_configs.items[1].name, "none");
	assert_true(host->routes[1].filter_configs.items[2].is_disabled);
	assert_int_equal(host->routes[2].reasons.count, 0);
}

/* route { match { prefix: "/" <field 18> } direct_response { status: 200 } } as istiod's bytes would bring it */
static void test_an_unknown_field_of_a_match_on_the_wire_is_a_reason(void **state)
{
	static const char bytes[] = "\x0a\x01r\x12\x19\x0a\x01v\x12\x01*\x1a\x11\x0a\x0a\x0a\x01/\x92\x01\x04\x0a\x02hi\x3a\x03\x08\xc8\x01";
	_cleanup_(mesh_free) struct mesh *mesh = NULL;
	const struct mesh_route *route;

	assert_int_equal(mesh_new(&mesh), 0);
	assert_int_equal(mesh_add_resource(mesh, mesh_kind_type_url(MESH_ROUTE_CONFIG), bytes, sizeof(bytes) - 1, NULL), 0);
	route = &mesh->route_configs[0]->virtual_hosts[0].routes[0];
	assert_string_equal(route->match.path, "/");
	assert_true(has_reason(&route->reasons, MESH_EFFECT_MATCH, "virtual_hosts[0].routes[0].match"));
	assert_non_null(strstr(route->reasons.items[0].text, "field number 18"));
}

static void test_formats_of_header_values_are_checked(void **state)
{
	static const char *const good[] = { "plain",  "%%",           "%REQ(x)%",      "%REQ(x?y):10%", "%START_TIME(%Y-%m)%", "a%PROTOCOL%b",
					    "%DOWNSTREAM_REMOTE_ADDRESS%", "%DYNAMIC_METADATA([a, b])%", "%START_TIME%" };
	static const char *const bad[] = { "%", "100%", "%REQ%", "%REQ()%", "%NOPE%", "%REQ(x", "%REQ(x)", "%req(x)%", "%REQ(x):%", "%%%" };
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(good) + ARRAY_SIZE(bad); i++) {
		bool is_good = i < ARRAY_SIZE(good);
		const char *value = is_good ? good[i] : bad[i - ARRAY_SIZE(good)];

		snprintf(text, sizeof(text), ROUTES("[{match: {prefix: /}, " DIRECT ", response_headers_to_add: [{header: {key: a, value: '%s'}}]}]"), value);
		{
			LOADED(l, text);

			if ((l.mesh->route_config_count == 1) != is_good)
				fail_msg("`%s` was %s", value, is_good ? "refused" : "taken");
		}
	}
}

/* "[text]" for literal pieces, "NAME(parameters):length" for variables. */
static void pieces_are(const char *format, const char *expected)
{
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;
	struct mesh_format_piece piece;

	for (const char *at = format; mesh_format_next(&at, &piece);) {
		if (piece.name_size)
			strbuf_printf(&out, "%.*s(%.*s):%u", (int)piece.name_size, piece.name, (int)piece.text_size, piece.text, piece.max_len);
		else
			strbuf_printf(&out, "[%.*s]", (int)piece.text_size, piece.text);
	}
	assert_string_equal(strbuf_text(&out), expected);
}

static void test_formats_are_taken_apart(void **state)
{
	pieces_are("", "");
	pieces_are("plain", "[plain]");
	pieces_are("a%PROTOCOL%b", "[a]PROTOCOL():0[b]");
	pieces_are("%REQ(x?:path):12%%RESP(y)%", "REQ(x?:path):12RESP(y):0");
	pieces_are("100%% sure", "[100][%][ sure]");
	pieces_are("%START_TIME(%s.%3f (%Y))%", "START_TIME(%s.%3f (%Y)):0");
	pieces_are("%START_TIME(a)b)%", "START_TIME(a)b):0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_of_path_is_kept),
		cmocka_unit_test(test_every_kind_of_header_condition_is_kept),
		cmocka_unit_test(test_query_conditions_and_fractions_are_kept),
		cmocka_unit_test(test_forwarding_has_envoys_defaults),
		cmocka_unit_test(test_forwarding_keeps_rewrites_weights_and_hashing),
		cmocka_unit_test(test_retries_may_leave_priorities),
		cmocka_unit_test(test_routes_take_the_retry_policy_and_mirrors_from_above),
		cmocka_unit_test(test_redirects_and_direct_responses_are_kept),
		cmocka_unit_test(test_header_edits_stand_at_every_level),
		cmocka_unit_test(test_domains_lose_their_case_and_must_be_unique),
		cmocka_unit_test(test_faults_and_cors_are_read_for_each_level),
		cmocka_unit_test(test_what_is_not_represented_is_a_reason_on_the_innermost_object),
		cmocka_unit_test(test_an_unknown_field_of_a_match_on_the_wire_is_a_reason),
		cmocka_unit_test(test_formats_of_header_values_are_checked),
		cmocka_unit_test(test_formats_are_taken_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
