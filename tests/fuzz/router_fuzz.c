// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The router under libFuzzer: the input describes virtual hosts, routes and a request; the answer must be that of a plain reading of the
 * same tables, host by host and route by route, with no automaton and no hash. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/image_builder.h"
#include "weft/http1.h"
#include "weft/path.h"
#include "weft/router.h"

#define check(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#define HOSTS 4
#define ROUTES 8

struct input {
	const u8 *data;
	size_t size;
};

static u8 next(struct input *in)
{
	if (!in->size)
		return 0;
	in->size--;
	return *in->data++;
}

/* A text of few letters, so that prefixes meet. */
static char *text(struct input *in, const char *begin, const char *alphabet, u32 max, char *out)
{
	u32 len = next(in) % (max + 1), n = strlen(begin), letters = strlen(alphabet);

	strcpy(out, begin);
	while (len--)
		out[n++] = alphabet[next(in) % letters];
	out[n] = 0;
	return out;
}

struct model {
	struct built_host hosts[HOSTS];
	struct built_route routes[HOSTS][ROUTES];
	char domains[HOSTS][3][24];
	char paths[HOSTS][ROUTES][96];
	char names[HOSTS][ROUTES][2][8];
	char values[HOSTS][ROUTES][2][16];
	u32 count;
	bool ignores_port;
};

static void read_model(struct input *in, struct model *m)
{
	u32 h, r, c, d;

	m->count = 1 + next(in) % HOSTS;
	m->ignores_port = next(in) & 1;
	for (h = 0; h < m->count; h++) {
		struct built_host *host = &m->hosts[h];

		host->name = "h";
		host->routes = m->routes[h];
		host->route_count = next(in) % (ROUTES + 1);
		for (d = 0; d < 3; d++) {
			char *domain = m->domains[h][d];
			u8 kind = next(in) % 4;

			text(in, "", "ab.:A", 6, domain + 1);
			domain[0] = kind == 1 ? '*' : 'h';
			if (kind == 2)
				strcat(domain, "*");
			if (kind == 3)
				strcpy(domain, "*");
			host->domains[d] = domain;
		}
		for (r = 0; r < host->route_count; r++) {
			struct built_route *route = &m->routes[h][r];
			u8 bits = next(in);

			route->match = bits % 3;
			route->ignores_case = bits & 4;
			route->clusters[0] = h * ROUTES + r + 1;
			route->path = text(in, bits & 8 ? "/" : bits & 16 ? "/aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaa" : "", "ab/AB", 8, m->paths[h][r]);
			for (c = 0; c < 2; c++) {
				struct built_condition *condition = &route->conditions[c];
				u8 kind = next(in);

				if (kind & 0x80)
					break;
				condition->kind = 1 + kind % 6;
				condition->subject = next(in) % 6 ? WEFT_SUBJECT_HEADER : next(in) % 6;
				condition->flags = next(in) % 8;
				condition->name = text(in, "x", "a~^", 1, m->names[h][r][c]);
				if (condition->subject == WEFT_SUBJECT_SCHEME)
					condition->subject = WEFT_SUBJECT_QUERY;
				if (condition->subject == WEFT_SUBJECT_QUERY)
					condition->name = text(in, "", "abA", 2, m->names[h][r][c]);
				text(in, "", condition->flags & WEFT_CONDITION_IGNORE_CASE ? "ab/" : "abAB/1", 12, m->values[h][r][c]);
				if (condition->kind == WEFT_CONDITION_RANGE)
					sprintf(m->values[h][r][c], "%d %d", (int8_t)next(in), (int8_t)next(in));
				condition->value = m->values[h][r][c];
			}
		}
	}
}

/* ---- the plain reading ------------------------------------------------------------------------------------------------------- */

static bool equal(const char *a, const char *b, size_t len, bool nocase)
{
	return nocase ? !strncasecmp(a, b, len) : !strncmp(a, b, len);
}

static const struct built_host *plain_host(const struct model *m, const char *authority)
{
	const struct built_host *best = NULL, *any = NULL;
	u32 best_len = 0, pass, h, d;
	char host[256];

	strcpy(host, authority);
	if (m->ignores_port) {
		char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');

		if (colon && (!bracket || bracket < colon))
			*colon = 0;
	}
	for (pass = 0; pass < 3 && !best; pass++)
		for (h = 0; h < m->count; h++)
			for (d = 0; d < 3; d++) {
				const char *domain = m->domains[h][d];
				size_t len = strlen(domain), host_len = strlen(host);
				bool is_suffix = domain[0] == '*', is_prefix = domain[len - 1] == '*';

				if (!strcmp(domain, "*")) {
					any = &m->hosts[h]; /* the last one written is the one */
					continue;
				}
				if (!*authority)
					continue;
				if (pass == 0 && !is_suffix && !is_prefix && len == host_len && !strcasecmp(domain, host))
					return &m->hosts[h];
				if (pass == 1 && is_suffix && host_len > len - 1 && len > best_len &&
				    !strcasecmp(host + host_len - (len - 1), domain + 1)) {
					best = &m->hosts[h];
					best_len = len;
				}
				if (pass == 2 && !is_suffix && is_prefix && host_len > len - 1 && len > best_len && !strncasecmp(host, domain, len - 1)) {
					best = &m->hosts[h];
					best_len = len;
				}
			}
	return best ?: any;
}

static bool plain_range(const char *range, const char *value)
{
	int start, end;
	char *rest;
	long long number;

	errno = 0;
	number = strtoll(value, &rest, 10);
	return sscanf(range, "%d %d", &start, &end) == 2 && rest != value && !*rest && !errno && number >= start && number < end;
}

static bool plain_value(const struct built_condition *c, const char *value)
{
	size_t len = strlen(value), want = strlen(c->value), i;
	bool nocase = c->flags & WEFT_CONDITION_IGNORE_CASE;

	switch (c->kind) {
	case WEFT_CONDITION_PRESENT:
		return true;
	case WEFT_CONDITION_RANGE:
		return plain_range(c->value, value);
	case WEFT_CONDITION_EXACT:
		return len == want && equal(value, c->value, len, nocase);
	case WEFT_CONDITION_PREFIX:
		return len >= want && equal(value, c->value, want, nocase);
	case WEFT_CONDITION_SUFFIX:
		return len >= want && equal(value + len - want, c->value, want, nocase);
	case WEFT_CONDITION_CONTAINS:
		for (i = 0; i + want <= len; i++)
			if (equal(value + i, c->value, want, nocase))
				return true;
		return false;
	}
	return false;
}

struct request {
	char bytes[4096];
	u32 len;
	char authority[32];
	char target[128];
	char names[4][8];
	char values[4][16];
	u32 lines;
};

/* The value of the first parameter `name`, or NULL. */
static const char *plain_parameter(const char *target, const char *name, char *value)
{
	char query[128], *part, *rest = query, *equals;

	strcpy(query, strchr(target, '?') ? strchr(target, '?') + 1 : "");
	while ((part = strsep(&rest, "&"))) {
		equals = strchr(part, '=');
		if (equals)
			*equals = 0;
		/* an empty query has no parameter, not an empty one; and what ends in & has none after it */
		if (strcmp(part, name) || (!*part && !equals && !rest))
			continue;
		return strcpy(value, equals ? equals + 1 : "");
	}
	return NULL;
}

static bool plain_condition(const struct built_condition *c, const struct request *request)
{
	bool inverted = c->flags & WEFT_CONDITION_INVERT, is_present = false, holds = false;
	char parameter[128];
	u32 i;

	switch (c->subject) {
	case WEFT_SUBJECT_METHOD:
		return plain_value(c, "GET") != inverted;
	case WEFT_SUBJECT_AUTHORITY:
		return plain_value(c, request->authority) != inverted;
	case WEFT_SUBJECT_PATH:
		return plain_value(c, request->target) != inverted;
	case WEFT_SUBJECT_QUERY:
		if (!plain_parameter(request->target, c->name, parameter))
			return c->kind == WEFT_CONDITION_PRESENT && inverted;
		return plain_value(c, parameter) != inverted;
	}
	for (i = 0; i < request->lines; i++)
		if (!strcasecmp(request->names[i], c->name)) {
			is_present = true;
			holds |= plain_value(c, request->values[i]);
		}
	if (!is_present) {
		if (!(c->flags & WEFT_CONDITION_MISSING_AS_EMPTY))
			return c->kind == WEFT_CONDITION_PRESENT && inverted;
		holds = plain_value(c, "");
	}
	return holds != inverted;
}

static bool plain_path(const struct built_route *route, const char *path)
{
	size_t len = strlen(path), want = strlen(route->path);

	if (len < want || !equal(path, route->path, want, route->ignores_case))
		return false;
	return route->match == BUILT_PREFIX || len == want || (route->match == BUILT_SEPARATED && path[want] == '/');
}

static u32 plain_route(const struct model *m, const struct request *request)
{
	const struct built_host *host = plain_host(m, request->authority);
	char path[128];
	u32 r, c;

	strcpy(path, request->target);
	path[strcspn(path, "?")] = 0;
	for (r = 0; host && r < host->route_count; r++) {
		const struct built_route *route = &host->routes[r];

		if (!plain_path(route, path))
			continue;
		for (c = 0; c < 2 && route->conditions[c].kind; c++)
			if (!plain_condition(&route->conditions[c], request))
				break;
		if (c == 2 || !route->conditions[c].kind)
			return route->clusters[0];
	}
	return 0;
}

/* The model's domains must be unlike each other, as Envoy wants them. */
static bool is_valid(const struct model *m)
{
	u32 i, k;

	for (i = 0; i < m->count * 3; i++)
		for (k = 0; k < i; k++)
			if (!strcasecmp(m->domains[i / 3][i % 3], m->domains[k / 3][k % 3]))
				return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct weft_route_query query = {};
	struct weft_route_result result;
	struct request request = {};
	struct model m = {};
	struct weft_head head;
	struct builder b;
	u8 *copy;
	u32 i;

	read_model(&in, &m);
	if (!is_valid(&m))
		return 0;
	text(&in, next(&in) & 1 ? "h" : "", "ab.:A", 8, request.authority);
	text(&in, next(&in) & 1 ? "/" : "/aaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaabbbbbbbbbbaaaaaaaaaa", "ab/AB?&=1", 12, request.target);
	request.len = sprintf(request.bytes, "GET %s HTTP/1.1\r\nHost: %s\r\n", request.target, request.authority);
	request.lines = next(&in) % 5;
	for (i = 0; i < request.lines; i++) {
		text(&in, next(&in) & 1 ? "X" : "x", "a~^", 1, request.names[i]);
		text(&in, "", next(&in) & 1 ? "abAB/" : "-+0129", 12, request.values[i]);
		request.len += sprintf(request.bytes + request.len, "%s: %s\r\n", request.names[i], request.values[i]);
	}
	request.len += sprintf(request.bytes + request.len, "\r\n");

	builder_init(&b, 1 + next(&in) % 3);
	query.route_table = build_route_table(&b, m.hosts, m.count, m.ignores_port ? WEFT_ROUTE_TABLE_IGNORE_PORT : 0);
	query.image = build_image(&b, WEFT_IMAGE_ROUTES);
	copy = malloc(request.len + 8);
	memcpy(copy, request.bytes, request.len);
	memset(copy + request.len, 'a', 8);
	if (!weft_parse_request((const void *)copy, request.len, &head)) {
		u32 expected = plain_route(&m, &request);

		weft_route(&query, (const void *)copy, &head, &result);
		if (expected) {
			check(result.kind == WEFT_ROUTE_CLUSTER);
			check(result.cluster_id == expected);
		} else {
			check(result.kind == WEFT_ROUTE_NOT_FOUND);
		}
	}
	free(copy);
	builder_free(&b);
	return 0;
}
