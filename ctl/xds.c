/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"

static void print_types(const json_t *scope)
{
	static const char *const headings[] = { "TYPE", "SERVE", "RESPONSES", "ACK", "NACK", "LAST", "BYTES", "VERSION" };
	struct text_table table;
	const json_t *type;
	size_t i;

	text_table_begin(&table, headings, 8);
	json_array_foreach(json_object_get(scope, "types"), i, type) {
		text_table_add(&table, ctl_text(type, "type"));
		text_table_addf(&table, "%lld", ctl_number(type, "serving"));
		text_table_addf(&table, "%lld", ctl_number(type, "responses"));
		text_table_addf(&table, "%lld", ctl_number(type, "acks"));
		text_table_addf(&table, "%lld", ctl_number(type, "nacks"));
		if (ctl_number(type, "responses"))
			text_table_addf(&table, "%lld s ago", ctl_number(type, "last_ago_ms") / 1000);
		else
			text_table_add(&table, "");
		text_table_addf(&table, "%lld", ctl_number(type, "last_bytes"));
		text_table_add(&table, ctl_text(type, "version"));
	}
	text_table_end(&table, 2);
}

/* What was refused last, and what waits. */
static void print_troubles(const json_t *scope)
{
	const json_t *type, *trouble;
	const char *name;
	size_t i;

	json_array_foreach(json_object_get(scope, "types"), i, type) {
		if (ctl_number(type, "nacks"))
			printf("  %s, NACK %lld s ago: %s\n", ctl_text(type, "type"), ctl_number(type, "last_nack_ago_ms") / 1000,
			       ctl_text(type, "last_nack"));
		json_object_foreach((json_t *)json_object_get(type, "waiting"), name, trouble)
			printf("  %s %s: %s\n", ctl_text(type, "type"), name, json_string_value(trouble));
	}
}

static void print(const json_t *answer)
{
	const json_t *scope;
	size_t i;

	json_array_foreach(json_object_get(answer, "scopes"), i, scope) {
		printf("%snamespace %s (pod %s): %s, %s\n", i ? "\n" : "", ctl_text(scope, "scope"), ctl_text(scope, "pod"),
		       json_is_true(json_object_get(scope, "open")) ? "connected" : "not connected",
		       json_is_true(json_object_get(scope, "ready")) ? "serves" : "does not serve yet");
		if (json_object_get(scope, "cache_age_s"))
			printf("  from the cache of %lld s ago, until istiod answers\n", ctl_number(scope, "cache_age_s"));
		print_types(scope);
		print_troubles(scope);
	}
}

int ctl_xds(const struct ctl *ctl, int argc, char **argv)
{
	(void)argv;
	return ctl_show(ctl, argc, "xds", NULL, print);
}
