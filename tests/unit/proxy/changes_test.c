/* SPDX-License-Identifier: Apache-2.0 */
/* Header edits of several levels, chosen at random, on random requests: the head that the kernel writes must have the lines that the proxy writes. The
 * kernel's list was worked out by the compiler before there was a request, the proxy acts edit by edit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "proxy/edit.h"
#include "weft/canonical.h"
#include "weft/http1.h"
#include "weft/router.h"

#include "compiled.h"

#define CONFIGURATIONS 400
#define REQUESTS 12

static const char *const names[] = { "x-a", "x-b", "x-c", "x-a-name-of-more-than-one-word", "accept", "user-agent", "cookie" };
static const char *const cased[] = { "X-A", "x-b", "X-c", "x-A-Name-Of-More-Than-One-Word", "Accept", "User-Agent", "cookie" };
static const char *const response_names[] = { "x-a", "x-b", "x-c", "content-type", "vary", "server", "etag" };
static const char *const response_cased[] = { "X-A", "x-b", "X-c", "Content-Type", "Vary", "Server", "ETag" };
static const char *const values[] = { "", "1", "two words", "a value that is somewhat longer than the others are" };
static const char *const actions[] = { "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS" };

static uint32_t random_below(uint64_t *state, uint32_t limit)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33) % limit;
}

/* ---- configurations --------------------------------------------------------------------------------------------------------------- */

/* A level's keys, each on a line of its own at `indent`. Few edits a level and few names, so that levels meet. */
static void put_direction(struct strbuf *out, const char *indent, const char *direction, const char *const *of, uint32_t count, uint64_t *random)
{
	uint32_t removed = random_below(random, 3), added = random_below(random, 4), i;

	strbuf_printf(out, "%s%s_headers_to_remove: [", indent, direction);
	for (i = 0; i < removed; i++)
		strbuf_printf(out, "%s%s", i ? ", " : "", of[random_below(random, count)]);
	strbuf_printf(out, "]\n%s%s_headers_to_add: [", indent, direction);
	for (i = 0; i < added; i++) {
		const char *keeps = random_below(random, 2) ? "true" : "false";

		strbuf_printf(out, "%s{header: {key: %s, value: \"%s\"}, append_action: %s, keep_empty_value: %s}", i ? ", " : "",
			      of[random_below(random, count)], values[random_below(random, WEFT_ARRAY_SIZE(values))],
			      actions[random_below(random, WEFT_ARRAY_SIZE(actions))], keeps);
	}
	strbuf_append_text(out, "]\n");
}

static void put_level(struct strbuf *out, const char *indent, uint64_t *random)
{
	put_direction(out, indent, "request", names, WEFT_ARRAY_SIZE(names), random);
	if (random_below(random, 2))
		put_direction(out, indent, "response", response_names, WEFT_ARRAY_SIZE(response_names), random);
}

static void put_configuration(struct strbuf *out, uint64_t *random)
{
	strbuf_append_text(out,
		"resources:\n"
		"- {\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener, name: l, address: {socket_address: {address: 0.0.0.0, port_value: 80}},\n"
		"   filter_chains: [{filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,\n"
		"   stat_prefix: x, rds: {route_config_name: r, config_source: {ads: {}, resource_api_version: V3}},\n"
		"   http_filters: [{name: envoy.filters.http.router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]}]}\n"
		"- {\"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster, name: c, type: STATIC, load_assignment: {cluster_name: c, endpoints: []}}\n"
		"- \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n"
		"  name: r\n");
	strbuf_printf(out, "  most_specific_header_mutations_wins: %s\n", random_below(random, 2) ? "true" : "false");
	put_level(out, "  ", random);
	strbuf_append_text(out, "  virtual_hosts:\n  - name: v\n    domains: [\"*\"]\n");
	put_level(out, "    ", random);
	strbuf_append_text(out, "    routes:\n    - match: {prefix: /old/}\n      route: {cluster: c, prefix_rewrite: /new-and-longer/, host_rewrite_literal: new.test}\n");
	put_level(out, "      ", random);
}

/* ---- requests --------------------------------------------------------------------------------------------------------------------- */

static void put_request(struct strbuf *out, uint64_t *random)
{
	uint32_t count = random_below(random, 6), host = random_below(random, count + 1), connection = random_below(random, 2 * count + 2), i;

	strbuf_append_text(out, "GET /old/x?y=/old/ HTTP/1.1\r\n");
	for (i = 0; i <= count; i++) {
		if (i == host)
			strbuf_append_text(out, "host:   old.test\r\n");
		if (i == connection)
			strbuf_append_text(out, "Connection: keep-alive\r\n");
		strbuf_printf(out, "%s:%s%s\r\n", random_below(random, 4) ? cased[random_below(random, WEFT_ARRAY_SIZE(cased))] : "x-other",
			      random_below(random, 2) ? " " : "", values[random_below(random, WEFT_ARRAY_SIZE(values))]);
	}
	strbuf_append_text(out, "\r\nbody");
}

static const u8 *parse(const struct strbuf *text, struct weft_head *head)
{
	u8 *padded = calloc(1, text->size + 16);

	assert_non_null(padded);
	memcpy(padded, text->data, text->size);
	assert_int_equal(weft_parse_request((const struct weft_head_bytes *)padded, (u32)text->size, head), WEFT_PARSE_DONE);
	return padded;
}

/* The values of all lines of a name, in their order. */
static void put_values_of(const struct lines *lines, const struct name *name, struct strbuf *out)
{
	for (u32 i = 0; i < lines->count; i++)
		if (lines->items[i].name_len == name->len && !strncasecmp((const char *)lines->text + lines->items[i].name, (const char *)name->text, name->len))
			strbuf_printf(out, "[%.*s]", (int)lines->items[i].value_len, (const char *)lines->text + lines->items[i].value);
}

static void take_lines(const u8 *bytes, const struct weft_head *head, struct lines *lines)
{
	lines_begin(lines, false);
	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		const struct name name = {bytes + field->name.off, field->name.len, field->name_hash};

		if (field->value.off != head->authority.off)
			lines_add(lines, &name, bytes + field->value.off, field->value.len, 0);
	}
}

static void compare(const struct lines *found, const struct lines *wanted, const char *configuration, const char *request, const char *changed)
{
	if (found->count != wanted->count)
		fail_msg("%u lines instead of %u\n%s\n%s\n%s", found->count, wanted->count, configuration, request, changed);
	for (u32 i = 0; i < wanted->count; i++) {
		const struct name name = {wanted->text + wanted->items[i].name, wanted->items[i].name_len, wanted->items[i].name_hash};
		_cleanup_(strbuf_release) struct strbuf a = STRBUF_INIT, b = STRBUF_INIT;

		put_values_of(found, &name, &a);
		put_values_of(wanted, &name, &b);
		if (strcmp(strbuf_text(&a), strbuf_text(&b)))
			fail_msg("%.*s is %s instead of %s\n%s\n%s\n%s", (int)name.len, name.text, strbuf_text(&a), strbuf_text(&b), configuration, request, changed);
	}
}

/* ---- the test ----------------------------------------------------------------------------------------------------------------------- */

/* The response of a server: what the kernel makes of it, and what a relay does, must be what the proxy does edit by edit. */
static void check_response(const struct compiled *compiled, weft_ref changes_ref, weft_ref edits, uint64_t *random, struct lines *wanted, struct lines *found)
{
	static struct weft_head head, changed_head;
	static struct weft_change change;
	_cleanup_(strbuf_release) struct strbuf response = STRBUF_INIT, changed = STRBUF_INIT;
	const struct weft_response_changes *changes = weft_at(&compiled->query.image, changes_ref);
	struct edit_context context = { .image = compiled->query.image };
	_cleanup_free_ u8 *bytes = NULL, *changed_bytes = NULL;
	uint32_t count = random_below(random, 6), i;
	u32 len;

	strbuf_append_text(&response, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n");
	for (i = 0; i < count; i++)
		strbuf_printf(&response, "%s: %s\r\n", response_cased[random_below(random, WEFT_ARRAY_SIZE(response_cased))], values[random_below(random, WEFT_ARRAY_SIZE(values))]);
	strbuf_append_text(&response, "\r\nbody");
	bytes = calloc(1, response.size + 64);
	assert_non_null(bytes);
	memcpy(bytes, response.data, response.size);
	assert_int_equal(weft_parse_response((const struct weft_head_bytes *)bytes, (u32)response.size, WEFT_METHOD_GET, &head), WEFT_PARSE_DONE);
	len = weft_change_response(&change, changes, (const struct weft_head_bytes *)bytes, &head);
	assert_true(len > 0);
	strbuf_append(&changed, change.out, len);
	changed_bytes = calloc(1, len + 64);
	assert_non_null(changed_bytes);
	memcpy(changed_bytes, change.out, len);
	assert_int_equal(weft_parse_response((const struct weft_head_bytes *)changed_bytes, len, WEFT_METHOD_GET, &changed_head), WEFT_PARSE_DONE);
	assert_int_equal(changed_head.head_len, len);

	take_lines(bytes, &head, wanted);
	wanted->is_response = true;
	edits_apply(&context, edits, wanted);
	take_lines(changed_bytes, &changed_head, found);
	compare(found, wanted, strbuf_text(&compiled->text), strbuf_text(&response), strbuf_text(&changed));
	take_lines(bytes, &head, found);
	lines_change(found, changes);
	compare(found, wanted, strbuf_text(&compiled->text), strbuf_text(&response), "(relayed)");
}

/* Returns whether the kernel takes the route. */
static bool check_request(const struct compiled *compiled, uint64_t *random, struct lines *wanted, struct lines *found)
{
	const struct name connection = name_of_text("connection");
	static struct weft_head head, changed_head;
	static struct weft_change change;
	_cleanup_(strbuf_release) struct strbuf request = STRBUF_INIT, changed = STRBUF_INIT;
	struct edit_context context = { .image = compiled->query.image };
	const struct weft_route_extras *extras;
	struct weft_route_result result;
	const struct weft_route *route;
	const u8 *bytes, *changed_bytes;
	u32 len;

	put_request(&request, random);
	bytes = parse(&request, &head);
	/* What Envoy joins when it comes twice is joined before. */
	if (head.flags & WEFT_HEAD_REPEATED_JOINED) {
		len = weft_canonical_write(&change, (const struct weft_head_bytes *)bytes, &head);
		assert_true(len > 0);
		free((void *)(uintptr_t)bytes);
		strbuf_truncate(&request, 0);
		strbuf_append(&request, change.out, len);
		strbuf_append_text(&request, "body");
		bytes = parse(&request, &head);
	}
	assert_int_equal(weft_route(&compiled->query, (const struct weft_head_bytes *)bytes, &head, &result), WEFT_ROUTE_CLUSTER);
	route = weft_at(&compiled->query.image, result.route);
	assert_int_equal(route->verdict == WEFT_VERDICT_KERNEL, result.changes != 0);
	if (!result.changes) {
		free((void *)(uintptr_t)bytes);
		return result.changes;
	}

	len = weft_change_head(&change, &compiled->query, (const struct weft_head_bytes *)bytes, &head, result.changes);
	assert_true(len > 0);
	strbuf_append(&changed, change.out, len);
	changed_bytes = parse(&changed, &changed_head);
	assert_int_equal(changed_head.head_len, len); /* and nothing of the body */
	assert_memory_equal(changed_bytes, "GET /new-and-longer/x?y=/old/ HTTP/1.1\r\n", 40);
	assert_int_equal(changed_head.authority.len, 8);
	assert_memory_equal(changed_bytes + changed_head.authority.off, "new.test", 8);

	extras = weft_at(&compiled->query.image, route->extras);
	take_lines(bytes, &head, wanted);
	lines_remove(wanted, &connection);
	edits_apply(&context, extras->request_edits, wanted);
	take_lines(changed_bytes, &changed_head, found);
	compare(found, wanted, strbuf_text(&compiled->text), strbuf_text(&request), strbuf_text(&changed));
	assert_int_equal(result.response_changes != 0, extras->response_edits != 0);
	if (result.response_changes)
		check_response(compiled, result.response_changes, extras->response_edits, random, wanted, found);
	free((void *)(uintptr_t)bytes);
	free((void *)(uintptr_t)changed_bytes);
	return true;
}

static void test_the_kernel_writes_the_lines_that_the_proxy_writes(void **state)
{
	struct lines *wanted = calloc(1, sizeof(*wanted)), *found = calloc(1, sizeof(*found));
	uint32_t taken = 0, i, k;
	uint64_t random = 20240731;

	assert_non_null(wanted);
	assert_non_null(found);
	for (i = 0; i < CONFIGURATIONS; i++) {
		struct compiled compiled;
		bool is_kernels = false;

		compile(&compiled, put_configuration, &random);
		for (k = 0; k < REQUESTS; k++)
			is_kernels = check_request(&compiled, &random, wanted, found);
		taken += is_kernels;
		release(&compiled);
	}
	free(wanted);
	free(found);
	print_message("%u of %u configurations are the kernel's\n", taken, CONFIGURATIONS);
	assert_in_range(taken, CONFIGURATIONS / 4, CONFIGURATIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_kernel_writes_the_lines_that_the_proxy_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
