/* SPDX-License-Identifier: Apache-2.0 */
/* Random configurations and requests: what the engine finds in the compiled image must be what a plain reading of the model says, rule by rule
 * as Envoy's documentation has them. The seed is fixed; a failure prints the request and both answers. */
#include <errno.h>
#include <strings.h>

#include "fixture.h"
#include "base/cleanup.h"
#include "compile/regexes.h"
#include "compile/routes.h"
#include "weft/http1.h"
#include "weft/router.h"

#define HOSTS_MAX 12u
#define ROUTES_MAX 24u
#define HEADERS_MAX 3u

/* ---- a random model -------------------------------------------------------------------------------------------------------------- */

struct world {
	struct mesh_route_config config;
	bool has_large;
	struct mesh_virtual_host hosts[HOSTS_MAX];
	const char *domains[HOSTS_MAX][4];
	struct mesh_route routes[HOSTS_MAX][ROUTES_MAX];
	struct mesh_header_matcher headers[HOSTS_MAX][ROUTES_MAX][HEADERS_MAX];
	char names[HOSTS_MAX][ROUTES_MAX][16];
	char clusters[HOSTS_MAX][ROUTES_MAX][16];
	uint32_t first_id[HOSTS_MAX];
};

static const char *const domain_pool[] = {
	"a.test", "b.test", "*.test", "*.b.test", "*-x.test", "*st", "www.*", "www.a.*", "w*", "*", "a.test:80", "10.0.0.1", "[::1]", "a", "*oo", "long.name.a.test",
};
static const char *const host_pool[] = {
	"a.test", "A.Test", "b.test", "c.b.test", ".test", "q-x.test", "-x.test", "www.a.com", "www.", "w", "zoo", "a.test:80", "a.test:81", "10.0.0.1", "[::1]",
	"[::1]:80", "a", "a.", "nothing", "long.name.a.test", "b.test:",
};
static const char *const path_pool[] = {
	"/", "/a", "/a/", "/a/b", "/A", "/ab", "/abc", "/api", "/api/v1", "/API/v1", "/api/v1/users", "/x", "/a-path-that-is-longer-than-one-label-can-be-and-goes-on-for-more-than-that/",
	"/a-path-that-is-longer-than-one-label-can-be-and-goes-on-for-more-than-that/tail", "", "/never?x",
};
static const char *const value_pool[] = { "", "a", "ab", "abc", "ABC", "b", "x y" };
/* Literals in disguise, some that match everywhere, and last LARGE_PATHS whose automata are too large: to find that out takes most of the time of a
 * world that has them. */
static const char *const path_regex_pool[] = {
	"/a", "/a.*", "/(?:a|api)(?:/.*)?", ".*a.*", ".*/v1.*", "/[a-c]+", "(?i)/api.*", "/a/b|/x", ".*b", "/api/v[0-9].*", "[^/].*", "/.*i.*", "/never\\?x",
	".*/[a-z]{1,3}", "/(?:a|b)*a(?:a|b){18}", "/a(?:a|b|/)*a(?:a|b){18}|/abc",
};
#define LARGE_PATHS 2u
static const char *const value_regex_pool[] = { "a.*", ".*b.*", "[a-c]+", "(?i)abc", "x y|b?", "[^a]*", "(?:a|b)*b(?:a|b){18}|ab" };
#define LARGE_VALUES 1u
#define WORLDS_PER_LARGE 8
static const char *const name_pool[] = { "x-a", "x-b", ":method", ":authority", "x-c", ":path" };

#define PICK(seed, pool) ((pool)[random_below((seed), (uint32_t)WEFT_ARRAY_SIZE(pool))])

static const char *pick_regex(const char *const *pool, size_t count, size_t large, bool has_large, uint64_t *seed)
{
	return pool[random_below(seed, (uint32_t)(has_large ? count : count - large))];
}

static void make_matcher(struct mesh_header_matcher *matcher, bool has_large, uint64_t *seed)
{
	memset(matcher, 0, sizeof(*matcher));
	matcher->name = PICK(seed, name_pool);
	matcher->is_inverted = random_below(seed, 3) == 0;
	matcher->treats_missing_as_empty = random_below(seed, 4) == 0;
	matcher->string.text = "";
	if (random_below(seed, 4) == 0) {
		matcher->kind = MESH_HEADER_PRESENT;
		matcher->is_present = random_below(seed, 2);
		return;
	}
	matcher->kind = MESH_HEADER_STRING;
	matcher->string.kind = random_below(seed, 16) ? random_below(seed, 4) : MESH_STRING_REGEX;
	matcher->string.ignore_case = matcher->string.kind != MESH_STRING_REGEX && random_below(seed, 4) == 0;
	if (matcher->string.kind == MESH_STRING_REGEX && matcher->name[0] != ':')
		matcher->string.text = pick_regex(value_regex_pool, WEFT_ARRAY_SIZE(value_regex_pool), LARGE_VALUES, has_large, seed);
	else if (!strcmp(matcher->name, ":method"))
		matcher->string.text = random_below(seed, 2) ? "GET" : "PUT";
	else
		matcher->string.text = !strcmp(matcher->name, ":path") ? PICK(seed, path_pool) : PICK(seed, value_pool);
}

static void make_route(struct world *world, uint32_t h, uint32_t i, uint64_t *seed)
{
	struct mesh_route *route = &world->routes[h][i];

	memset(route, 0, sizeof(*route));
	snprintf(world->names[h][i], sizeof(world->names[h][i]), "v%ur%u", h, i);
	snprintf(world->clusters[h][i], sizeof(world->clusters[h][i]), "c%u-%u", h, i);
	route->name = world->names[h][i];
	route->match.path = PICK(seed, path_pool);
	route->match.path_kind = random_below(seed, 5) ? random_below(seed, 3) : MESH_PATH_REGEX;
	if (route->match.path_kind == MESH_PATH_REGEX)
		route->match.path = pick_regex(path_regex_pool, WEFT_ARRAY_SIZE(path_regex_pool), LARGE_PATHS, world->has_large, seed);
	if (route->match.path_kind == MESH_PATH_SEPARATED_PREFIX && (!*route->match.path || route->match.path[strlen(route->match.path) - 1] == '/'))
		route->match.path = "/sep";
	route->match.is_case_sensitive = random_below(seed, 4) != 0;
	route->match.headers = world->headers[h][i];
	route->match.header_count = random_below(seed, 2) ? 0 : random_below(seed, HEADERS_MAX + 1);
	for (uint32_t k = 0; k < route->match.header_count; k++)
		make_matcher(&world->headers[h][i][k], world->has_large, seed);
	if (random_below(seed, 12) == 0) {
		route->match.has_fraction = true;
		route->match.fraction_denominator = 100;
		route->match.fraction_numerator = random_below(seed, 2) ? 100 : 0;
	}
	route->action = random_below(seed, 8) ? MESH_ACTION_CLUSTER : MESH_ACTION_REDIRECT;
	route->forward.cluster = world->clusters[h][i];
	route->forward.cluster_header = route->forward.weight_header = route->forward.prefix_rewrite = route->forward.host_rewrite_text = "";
	route->forward.cluster_not_found_status = 503;
}

static bool domain_is_taken(const struct world *world, uint32_t hosts, const char *domain)
{
	uint32_t h;
	size_t i;

	for (h = 0; h <= hosts; h++)
		for (i = 0; i < world->hosts[h].domains.count; i++)
			if (!strcmp(world->hosts[h].domains.items[i], domain))
				return true;
	return false;
}

static void make_world(struct world *world, bool has_large, uint64_t *seed)
{
	uint32_t h, i, hosts = 1 + random_below(seed, HOSTS_MAX - 1);

	memset(world, 0, sizeof(*world));
	world->has_large = has_large;
	world->config.resource.name = "80";
	world->config.resource.place.file = "";
	world->config.ignores_port_in_host = random_below(seed, 2);
	world->config.virtual_hosts = world->hosts;
	for (h = 0; h < hosts; h++) {
		struct mesh_virtual_host *host = &world->hosts[h];

		host->name = "host";
		host->domains.items = world->domains[h];
		for (i = 0; i < 3; i++) {
			const char *domain = PICK(seed, domain_pool);

			if (!domain_is_taken(world, h, domain))
				world->domains[h][host->domains.count++] = domain;
		}
		host->routes = world->routes[h];
		host->route_count = random_below(seed, ROUTES_MAX + 1);
		for (i = 0; i < host->route_count; i++)
			make_route(world, h, i, seed);
		world->first_id[h] = h ? world->first_id[h - 1] + (uint32_t)world->hosts[h - 1].route_count : 0;
	}
	world->config.virtual_host_count = hosts;
}

/* ---- a random request ------------------------------------------------------------------------------------------------------------ */

struct request {
	const char *method, *host;
	char target[512];
	char path[256];
	struct {
		const char *name, *value;
	} headers[4];
	uint32_t header_count;
	char bytes[1024];
	uint32_t len;
};

static void make_request(struct request *request, uint64_t *seed)
{
	static const char *const request_names[] = { "x-a", "x-b", "X-A", "x-d" };
	const char *path;
	uint32_t i;
	int len;

	memset(request, 0, sizeof(*request));
	request->method = random_below(seed, 3) ? "GET" : "PUT";
	request->host = PICK(seed, host_pool);
	do
		path = PICK(seed, path_pool);
	while (!*path || strchr(path, '?'));
	snprintf(request->path, sizeof(request->path), "%s%s", path, random_below(seed, 3) ? "" : random_below(seed, 2) ? "/" : "b");
	snprintf(request->target, sizeof(request->target), "%s%s", request->path, random_below(seed, 4) ? "" : "?q=/a");
	len = snprintf(request->bytes, sizeof(request->bytes), "%s %s HTTP/1.1\r\nHost: %s\r\n", request->method, request->target, request->host);
	request->header_count = random_below(seed, 4);
	for (i = 0; i < request->header_count; i++) {
		request->headers[i].name = PICK(seed, request_names);
		request->headers[i].value = PICK(seed, value_pool);
		len += snprintf(request->bytes + len, sizeof(request->bytes) - (size_t)len, "%s: %s\r\n", request->headers[i].name,
				request->headers[i].value);
	}
	len += snprintf(request->bytes + len, sizeof(request->bytes) - (size_t)len, "\r\n");
	request->len = (uint32_t)len;
}

/* ---- the plain reading ----------------------------------------------------------------------------------------------------------- */

static bool ends_in(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);

	return suffix_len <= len && !strcasecmp(text + len - suffix_len, suffix);
}

/* How well a domain fits: 0 not at all; more is better. Exact, then suffixes by length, prefixes by length, any. */
static uint32_t domain_rank(const char *domain, const char *host)
{
	size_t len = strlen(domain);

	if (!strcmp(domain, "*"))
		return 1;
	if (domain[0] == '*')
		return ends_in(host, domain + 1) && strlen(host) > len - 1 ? 1000 + (uint32_t)len : 0;
	if (domain[len - 1] == '*')
		return !strncasecmp(domain, host, len - 1) && strlen(host) > len - 1 ? 10 + (uint32_t)len : 0;
	return strcasecmp(domain, host) ? 0 : 1u << 20;
}

static int expected_host(const struct world *world, const struct request *request)
{
	uint32_t best = 0;
	char host[64];
	int found = -1;
	size_t h, i;

	snprintf(host, sizeof(host), "%s", request->host);
	if (world->config.ignores_port_in_host) {
		char *colon = strrchr(host, ':');

		if (colon && !strchr(colon, ']'))
			*colon = 0;
	}
	for (h = 0; h < world->config.virtual_host_count; h++)
		for (i = 0; i < world->hosts[h].domains.count; i++) {
			uint32_t rank = domain_rank(world->hosts[h].domains.items[i], host);

			if (rank > best) {
				best = rank;
				found = (int)h;
			}
		}
	return found;
}

/* A pattern alone, over any bytes. One that is too large for an automaton has a branch for the texts that it is asked for. */
static bool regex_fits(const char *pattern, const char *text)
{
	static struct {
		const char *pattern;
		struct regex_automaton *automaton;
	} known[64];
	struct regex_budget budget = { .entries = WEFT_DFA_ENTRIES_MAX, .classes = 256, .steps = 100000 };
	_cleanup_(regex_free) struct regex *regex = NULL;
	size_t i;
	int r = 0;

	for (i = 0; known[i].pattern && known[i].pattern != pattern; i++)
		;
	if (!known[i].pattern) {
		known[i].pattern = pattern;
		assert_int_equal(regex_parse(pattern, strlen(pattern), &regex, NULL), 0);
		r = regex_automaton_new(regex, REGEX_OVER_BYTES, &budget, &known[i].automaton);
		assert_true(!r || r == -E2BIG);
	}
	if (!known[i].automaton)
		return strrchr(pattern, '|') && !strcmp(text, strrchr(pattern, '|') + 1);
	return regex_run(known[i].automaton, text, strlen(text));
}

static bool string_fits(const struct mesh_string_matcher *matcher, const char *value)
{
	int (*compare)(const char *, const char *, size_t) = matcher->ignore_case ? strncasecmp : strncmp;
	size_t len = strlen(value), text_len = strlen(matcher->text), i;

	if (matcher->kind == MESH_STRING_REGEX)
		return regex_fits(matcher->text, value);
	if (text_len > len)
		return false;
	switch (matcher->kind) {
	case MESH_STRING_EXACT: return len == text_len && !compare(value, matcher->text, len);
	case MESH_STRING_PREFIX: return !compare(value, matcher->text, text_len);
	case MESH_STRING_SUFFIX: return !compare(value + len - text_len, matcher->text, text_len);
	case MESH_STRING_CONTAINS:
		for (i = 0; i + text_len <= len; i++)
			if (!compare(value + i, matcher->text, text_len))
				return true;
		return false;
	case MESH_STRING_REGEX: break;
	}
	fail_msg("not reached");
	return false;
}

static bool header_fits(const struct mesh_header_matcher *matcher, const struct request *request)
{
	const char *values[8];
	size_t count = 0, i;
	bool fits = false;

	if (!strcmp(matcher->name, ":method"))
		values[count++] = request->method;
	else if (!strcmp(matcher->name, ":authority"))
		values[count++] = request->host;
	else if (!strcmp(matcher->name, ":path"))
		values[count++] = request->target;
	for (i = 0; i < request->header_count; i++)
		if (!strcasecmp(request->headers[i].name, matcher->name))
			values[count++] = request->headers[i].value;
	if (!count && matcher->treats_missing_as_empty)
		values[count++] = "";
	if (matcher->kind == MESH_HEADER_PRESENT)
		return (count > 0) == (matcher->is_present != matcher->is_inverted);
	if (!count)
		return false;
	for (i = 0; i < count; i++)
		fits = fits || string_fits(&matcher->string, values[i]);
	return fits != matcher->is_inverted;
}

static bool path_fits(const struct mesh_route_match *match, const char *path)
{
	int (*compare)(const char *, const char *, size_t) = match->is_case_sensitive ? strncmp : strncasecmp;
	size_t len = strlen(match->path), path_len = strlen(path);

	if (match->path_kind == MESH_PATH_REGEX)
		return regex_fits(match->path, path);
	if (len > path_len || compare(path, match->path, len))
		return false;
	if (match->path_kind == MESH_PATH_EXACT)
		return len == path_len;
	return match->path_kind == MESH_PATH_PREFIX || len == path_len || path[len] == '/';
}

struct answer {
	uint32_t kind;
	int route;      /* index over all; -1: none */
};

static struct answer expected_answer(const struct world *world, const struct request *request)
{
	int h = expected_host(world, request);
	size_t i, k;

	for (i = 0; h >= 0 && i < world->hosts[h].route_count; i++) {
		const struct mesh_route *route = &world->routes[h][i];
		bool holds = path_fits(&route->match, request->path);

		for (k = 0; holds && k < route->match.header_count; k++)
			holds = header_fits(&route->match.headers[k], request);
		if (!holds || (route->match.has_fraction && !route->match.fraction_numerator))
			continue;
		return (struct answer){ route->action == MESH_ACTION_CLUSTER ? WEFT_ROUTE_CLUSTER : WEFT_ROUTE_REDIRECT,
					(int)(world->first_id[h] + i) };
	}
	return (struct answer){ WEFT_ROUTE_NOT_FOUND, -1 };
}

/* ---- comparison ------------------------------------------------------------------------------------------------------------------ */

static void compile_world(const struct world *world, struct ids *ids, struct image **image, weft_ref *table)
{
	struct routes_compile c = { .lists_max = 1u << 20 };
	weft_ref empty;

	assert_int_equal(builder_init(&c.builder, WEFT_IMAGE_ROUTES, 16), 0);
	assert_int_equal(ids_claim_new(ids, &c.claim), 0);
	assert_int_equal(regexes_new(&c.regexes), 0);
	assert_int_equal(route_table_compile(&c, &world->config, table), 0);
	empty = builder_list(&c.builder, NULL, 0);
	builder_header(&c.builder)->listeners = empty;
	builder_header(&c.builder)->route_tables = builder_list(&c.builder, table, 1);
	assert_int_equal(builder_finish(&c.builder, &c.claim, image), 0);
	regexes_free(&c.regexes);
}

static void check_request(const struct world *world, const struct ids *ids, const struct image *image, weft_ref table,
			  const struct request *request, unsigned int kinds[8])
{
	struct weft_route_query query = { .image = { image->base, image->size_bytes }, .route_table = table, .random = 7 };
	const struct weft_head_bytes *bytes = (const void *)request->bytes;
	struct answer expected = expected_answer(world, request);
	struct weft_route_result result;
	static struct weft_head head;
	int route;

	assert_int_equal(weft_parse_request(bytes, request->len, &head), WEFT_PARSE_DONE);
	weft_route(&query, bytes, &head, &result);
	route = result.route ? (int)result.route_id : -1;
	kinds[result.kind & 7]++;
	if (result.kind != expected.kind || route != expected.route)
		fail_msg("%sfound kind %u, route %d; expected kind %u, route %d", request->bytes, result.kind, route, expected.kind, expected.route);
	if (result.kind == WEFT_ROUTE_CLUSTER) {
		const struct weft_route *chosen = weft_at(&query.image, result.route);
		const struct weft_text *name = weft_at(&query.image, chosen->name);
		const char *cluster = ids_cluster_name(ids, result.cluster_id);
		char text[32];
		unsigned int h, i;

		snprintf(text, sizeof(text), "%.*s", (int)name->len, name->bytes);
		assert_int_equal(sscanf(text, "v%ur%u", &h, &i), 2);
		snprintf(text, sizeof(text), "c%u-%u", h, i);
		assert_string_equal(cluster, text);
	}
}

static void test_random_requests_take_the_route_that_the_model_says(void **state)
{
	static struct world world;
	unsigned int kinds[8] = { 0 };
	uint64_t seed = 4711;
	int round, i;

	for (round = 0; round < 400; round++) {
		struct ids *ids = NULL;
		struct image *image = NULL;
		weft_ref table;

		assert_int_equal(ids_new(&ids, NULL), 0);
		make_world(&world, round % WORLDS_PER_LARGE == 0, &seed);
		compile_world(&world, ids, &image, &table);
		for (i = 0; i < 150; i++) {
			struct request request;

			make_request(&request, &seed);
			check_request(&world, ids, image, table, &request, kinds);
		}
		image_free(&image);
		ids_free(&ids);
	}
	print_message("60000 requests: %u to a cluster, %u not found, %u redirected\n", kinds[WEFT_ROUTE_CLUSTER], kinds[WEFT_ROUTE_NOT_FOUND],
		      kinds[WEFT_ROUTE_REDIRECT]);
	assert_true(kinds[WEFT_ROUTE_CLUSTER] > 5000 && kinds[WEFT_ROUTE_NOT_FOUND] > 5000 && kinds[WEFT_ROUTE_REDIRECT] > 1000);
}

static void test_two_compiles_of_one_configuration_give_the_same_bytes(void **state)
{
	static struct world world;
	struct ids *ids = NULL;
	struct image *first = NULL, *second = NULL, *other = NULL;
	uint64_t seed = 8;
	weft_ref table;

	assert_int_equal(ids_new(&ids, NULL), 0);
	make_world(&world, true, &seed);
	compile_world(&world, ids, &first, &table);
	compile_world(&world, ids, &second, &table);
	assert_int_equal(first->size_bytes, second->size_bytes);
	assert_memory_equal(first->base, second->base, first->size_bytes);
	assert_true(first->content_hash == second->content_hash);
	world.config.ignores_port_in_host = !world.config.ignores_port_in_host;
	compile_world(&world, ids, &other, &table);
	assert_true(first->content_hash != other->content_hash);
	image_free(&first);
	image_free(&second);
	image_free(&other);
	ids_free(&ids);
}

/* ---- size ------------------------------------------------------------------------------------------------------------------------ */

/* A configuration of many hosts or many routes, all texts its own. */
struct large {
	struct mesh_route_config config;
	struct mesh_route *routes;
	struct mesh_header_matcher *matchers;
	const char **domains;
	char (*texts)[96];
	struct ids *ids;
	struct image *image;
	weft_ref table;
};

static void large_init(struct large *large, uint32_t hosts, uint32_t routes)
{
	uint32_t i, total = hosts * routes;

	memset(large, 0, sizeof(*large));
	large->config.resource.name = "large";
	large->config.resource.place.file = "";
	large->config.virtual_hosts = calloc(hosts, sizeof(*large->config.virtual_hosts));
	large->config.virtual_host_count = hosts;
	large->routes = calloc(total, sizeof(*large->routes));
	large->matchers = calloc(total, sizeof(*large->matchers));
	large->domains = calloc(hosts, sizeof(*large->domains));
	large->texts = calloc(total, sizeof(*large->texts));
	for (i = 0; i < hosts; i++) {
		struct mesh_virtual_host *host = &large->config.virtual_hosts[i];

		host->name = "host";
		host->domains = (struct mesh_texts){ &large->domains[i], 1 };
		host->routes = &large->routes[i * routes];
		host->route_count = routes;
		large->domains[i] = large->texts[i * routes];
	}
	for (i = 0; i < total; i++) {
		struct mesh_route *route = &large->routes[i];

		route->name = "";
		route->match.path = "/";
		route->match.path_kind = MESH_PATH_PREFIX;
		route->match.is_case_sensitive = true;
		route->forward.cluster = "one";
		route->forward.cluster_header = route->forward.weight_header = route->forward.prefix_rewrite = "";
		route->forward.cluster_not_found_status = 503;
	}
}

static void large_compile(struct large *large)
{
	struct routes_compile c = { .lists_max = 1u << 20 };

	assert_int_equal(ids_new(&large->ids, NULL), 0);
	assert_int_equal(builder_init(&c.builder, WEFT_IMAGE_ROUTES, 0), 0);
	assert_int_equal(ids_claim_new(large->ids, &c.claim), 0);
	assert_int_equal(regexes_new(&c.regexes), 0);
	assert_int_equal(route_table_compile(&c, &large->config, &large->table), 0);
	builder_header(&c.builder)->listeners = builder_header(&c.builder)->route_tables = builder_list(&c.builder, &large->table, 1);
	assert_int_equal(builder_finish(&c.builder, &c.claim, &large->image), 0);
	regexes_free(&c.regexes);
}

static uint32_t large_route(const struct large *large, const char *host, const char *path, const char *more, struct weft_route_result *result)
{
	struct weft_route_query query = { .image = { large->image->base, large->image->size_bytes }, .route_table = large->table };
	static struct weft_head head;
	char bytes[512];
	int len = snprintf(bytes, sizeof(bytes), "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, host, more);

	assert_int_equal(weft_parse_request((const void *)bytes, (uint32_t)len, &head), WEFT_PARSE_DONE);
	weft_route(&query, (const void *)bytes, &head, result);
	return result->kind;
}

static void large_release(struct large *large)
{
	image_free(&large->image);
	ids_free(&large->ids);
	free(large->config.virtual_hosts);
	free(large->routes);
	free(large->matchers);
	free(large->domains);
	free(large->texts);
}

static void test_twenty_thousand_virtual_hosts_are_each_found(void **state)
{
	enum { COUNT = 20000 };
	struct weft_route_result result;
	struct large large;
	uint32_t i;

	large_init(&large, COUNT, 1);
	for (i = 0; i < COUNT; i++)
		snprintf(large.texts[i], sizeof(large.texts[i]), i % 10 ? "service-%u.default.svc.cluster.local" : "*.service-%u.example.com", i);
	large_compile(&large);
	print_message("20000 virtual hosts: %u bytes\n", large.image->size_bytes);
	for (i = 0; i < COUNT; i++) {
		char host[128];

		snprintf(host, sizeof(host), i % 10 ? "service-%u.default.svc.cluster.local" : "www.service-%u.example.com", i);
		assert_int_equal(large_route(&large, host, "/", "", &result), WEFT_ROUTE_CLUSTER);
		assert_int_equal(result.route_id, i);
	}
	assert_int_equal(large_route(&large, "service-x.default.svc.cluster.local", "/", "", &result), WEFT_ROUTE_NOT_FOUND);
	large_release(&large);
}

static void test_ten_thousand_routes_of_one_host_are_each_found(void **state)
{
	enum { COUNT = 10000 };
	static const char *const every[] = { "*" };
	struct weft_route_result result;
	struct large large;
	uint32_t i;

	large_init(&large, 1, COUNT);
	large.config.virtual_hosts[0].domains.items = (const char **)(uintptr_t)every;
	for (i = 0; i < COUNT; i++) {
		snprintf(large.texts[i], sizeof(large.texts[i]), "/team-%u/app-%u/%u", i % 31, i % 101, i);
		large.routes[i].match.path = large.texts[i];
		large.routes[i].match.path_kind = i % 3;
		large.routes[i].match.is_case_sensitive = i % 7 != 0;
	}
	large_compile(&large);
	print_message("10000 routes: %u bytes\n", large.image->size_bytes);
	for (i = 0; i < COUNT; i++) {
		assert_int_equal(large_route(&large, "a", large.texts[i], "", &result), WEFT_ROUTE_CLUSTER);
		/* A prefix without a slash at its end takes longer numbers too: /1 is before /10. */
		assert_true(result.route_id <= i);
	}
	large_release(&large);
}

/* Tenants told apart by a header, before thousands of paths: lists would hold millions of candidates. */
static void make_explosion(struct large *large, uint32_t tenants, uint32_t paths)
{
	static const char *const every[] = { "*" };
	uint32_t i;

	large_init(large, 1, tenants + paths);
	large->config.virtual_hosts[0].domains.items = (const char **)(uintptr_t)every;
	for (i = 0; i < tenants + paths; i++) {
		snprintf(large->texts[i], sizeof(large->texts[i]), i < tenants ? "tenant-%u" : "/path/%u/", i);
		if (i >= tenants) {
			large->routes[i].match.path = large->texts[i];
			continue;
		}
		large->matchers[i] = (struct mesh_header_matcher){ .name = "x-tenant", .string = { .text = large->texts[i] } };
		large->routes[i].match.headers = &large->matchers[i];
		large->routes[i].match.header_count = 1;
	}
}

static void test_lists_that_explode_are_cut_and_what_is_tried_before_stays_exact(void **state)
{
	static const char said[] = "more than 256 routes with conditions shadow this path: as many were tried, none matched";
	struct weft_image_handle image;
	struct weft_route_result result;
	const struct weft_text *reason;
	struct large large;

	make_explosion(&large, 3000, 3000);
	large_compile(&large);
	image = (struct weft_image_handle){ large.image->base, large.image->size_bytes };
	print_message("3000 tenants before 3000 paths: %u bytes\n", large.image->size_bytes);
	assert_true(large.image->size_bytes < 8u << 20);
	assert_int_equal(large_route(&large, "a", "/path/5999/", "x-tenant: tenant-17\r\n", &result), WEFT_ROUTE_CLUSTER);
	assert_int_equal(result.route_id, 17);
	/* Behind the cut nothing is guessed. */
	assert_int_equal(large_route(&large, "a", "/path/5999/", "x-tenant: tenant-2999\r\n", &result), WEFT_ROUTE_REFUSED);
	assert_int_equal(large_route(&large, "a", "/path/5999/", "", &result), WEFT_ROUTE_REFUSED);
	reason = weft_at(&image, ((const struct weft_route *)weft_at(&image, result.route))->reason);
	assert_memory_equal(reason->bytes, said, sizeof(said) - 1);
	large_release(&large);
}

static void test_lists_that_explode_over_both_automata_refuse_the_virtual_host(void **state)
{
	struct weft_route_result result;
	struct large large;

	make_explosion(&large, 3000, 3000);
	large.routes[5999].match.is_case_sensitive = false;
	large_compile(&large);
	assert_int_equal(large_route(&large, "a", "/path/5999/", "x-tenant: tenant-17\r\n", &result), WEFT_ROUTE_REFUSED);
	large_release(&large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_requests_take_the_route_that_the_model_says),
		cmocka_unit_test(test_two_compiles_of_one_configuration_give_the_same_bytes),
		cmocka_unit_test(test_twenty_thousand_virtual_hosts_are_each_found),
		cmocka_unit_test(test_ten_thousand_routes_of_one_host_are_each_found),
		cmocka_unit_test(test_lists_that_explode_are_cut_and_what_is_tried_before_stays_exact),
		cmocka_unit_test(test_lists_that_explode_over_both_automata_refuse_the_virtual_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
