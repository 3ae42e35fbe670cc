/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the route image's compile: listeners, route tables, virtual hosts, routes. */
#ifndef WEFT_COMPILE_ROUTES_H
#define WEFT_COMPILE_ROUTES_H

#include "compile/builder.h"
#include "compile/chains.h"
#include "compile/ids.h"
#include "compile/report.h"

struct routes_compile {
	const struct mesh *mesh;
	struct builder builder;
	struct ids_claim *claim;
	struct compile_report *report;
	uint32_t next_route_id;
	uint32_t lists_max;       /* candidates in all lists of one virtual host */
	struct regexes *regexes;  /* all that were compiled */
};

struct regex_entry;

/* How a route gets into its virtual host's automaton. */
enum route_place {
	PLACE_LITERAL,       /* at its path */
	PLACE_REGEX,         /* wherever its regular expression matches */
	PLACE_EVERYWHERE,    /* its path matcher is not compiled: it may be meant on every path */
	PLACE_NOWHERE,       /* it never matches (a fraction of nothing, a condition that can't hold) */
};

struct compiled_route {
	weft_ref ref;
	enum route_place place;
	bool is_final;       /* no conditions */
	const struct regex_entry *regex; /* REGEX; without an automaton the expression is a condition already */
};

/* What the levels above a route say about it: reasons why none of its actions can be done exactly ("" when there are none). */
struct route_context {
	const struct mesh_route_config *config;
	const struct mesh_virtual_host *virtual_host;
	const char *reason;
};

int route_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, size_t index,
		  struct compiled_route *out);

/* The path of a route that was compiled must match its regular expression: a condition more. */
int route_test_path(struct routes_compile *c, const char *pattern, weft_ref route);

/* So many candidates are tried before the route, whatever the path: more than the kernel tries. */
int route_is_late(struct routes_compile *c, uint32_t before, weft_ref route);

/* The verdict on a route that was compiled. */
void route_report(struct routes_compile *c, const struct route_context *context, size_t index, weft_ref route);

/* A route that takes everything that reaches it and answers 503. */
int route_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out);

/* What typed_per_filter_config asks for that weft doesn't do. */
void route_remark_level(struct strbuf *reason, const char *level, const struct mesh_filter_configs *configs);

/* struct weft_choice */
struct choice_item {
	const char *cluster;
	uint32_t weight;
	weft_ref changes; /* struct weft_changes */
	weft_ref response_changes; /* struct weft_response_changes */
};
int choice_compile(struct routes_compile *c, const struct choice_item *items, size_t count, weft_ref *out);

/* struct weft_hash_policies; 0: none. */
int hash_policies_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, weft_ref *out);
/* What is wrong with them ("" when nothing is). */
void hash_policies_judge(const struct mesh_forward *forward, struct strbuf *reason);
/* What of them only the proxy finds ("" when the kernel does). */
void hash_policies_remark(const struct route_context *context, const struct mesh_route *route, struct strbuf *remark);

/* struct weft_condition[*count]. `tests_path`: its path is a regular expression that must be one of them. `is_complete` false: something can't
 * be expressed; `can_hold` false: never true. `limits` tells what only the proxy walks. */
int conditions_compile(struct routes_compile *c, const struct mesh_route_match *match, bool tests_path, weft_ref *conditions, uint16_t *count,
		       bool *is_complete, bool *can_hold, struct strbuf *unsupported, struct strbuf *limits);
/* struct weft_condition[*count] of header matchers alone, for the proxy. *can_hold false: one of them never holds. */
int conditions_of_headers(struct routes_compile *c, struct mesh_header_matcher *headers, size_t header_count, weft_ref *conditions, uint16_t *count,
			  bool *can_hold, struct strbuf *unsupported);
/* One more: the path matches the pattern. */
int conditions_add_path(struct routes_compile *c, const char *pattern, weft_ref *conditions, uint16_t *count, struct strbuf *unsupported,
			struct strbuf *limits);

/* struct weft_direct_response. */
int direct_compile(struct routes_compile *c, const struct mesh_direct_response *direct, const struct strbuf *lines, weft_ref *out);
/* struct weft_location. `lines`, here and there: of answer_lines_compile(). */
int location_compile(struct routes_compile *c, const struct weft_redirect *redirect, const struct strbuf *lines, weft_ref *out, struct strbuf *proxy);
/* Of a virtual host that needs TLS: to the request's own URL as https. */
int tls_location_compile(struct routes_compile *c, weft_ref *out);
/* Why weft can't answer so ("" when it can); `for_proxy`: what only the proxy can. */
void direct_judge(const struct mesh_direct_response *direct, struct strbuf *unsupported, struct strbuf *for_proxy);

/* What a route does beside choosing a cluster. */
struct route_effects {
	weft_ref extras;     /* struct weft_route_extras; 0: nothing. The rest is what the kernel makes of it: */
	weft_ref *changes, *response_changes; /* of as many items as the route may choose from: one, or all that have a weight */
	weft_ref location;   /* struct weft_location; 0: it is no redirect, or the proxy's */
	struct strbuf lines; /* of an answer of weft's own, beside length and date */
};
/* `proxy`: what only the proxy does; `unsupported`: what is not done exactly. */
int extras_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route, struct route_effects *out,
		   struct strbuf *proxy, struct strbuf *unsupported);

/* struct weft_policies of a route, or of a weighted cluster on it (else NULL); 0: none. */
int policies_compile(struct routes_compile *c, const struct route_context *context, const struct mesh_route *route,
		     const struct mesh_weighted_cluster *weighted, weft_ref *out, struct strbuf *proxy, struct strbuf *unsupported);

/* struct weft_changes: struct weft_rewrite, a weighted cluster's own host in place of the one there, struct weft_edits; each may be 0. 0: nothing is
 * changed, or it is not for the kernel and `proxy` says why. */
int changes_compile(struct routes_compile *c, weft_ref rewrite, weft_ref own_host, weft_ref edits, weft_ref *out, struct strbuf *proxy);

/* struct weft_response_changes of struct weft_edits; each may be 0, as above. */
int response_changes_compile(struct routes_compile *c, weft_ref edits, weft_ref *out, struct strbuf *proxy);

/* The lines of an answer of weft's own after struct weft_edits (or 0), beside those that frame it. */
int answer_lines_compile(struct routes_compile *c, weft_ref edits, bool has_body, struct strbuf *lines, struct strbuf *proxy);

/* What variables in header values stand for. */
struct edits_names {
	const char *route, *virtual_host;
};
/* struct weft_edits of the levels, which act in this order; 0: none. */
int edits_compile(struct routes_compile *c, const struct edits_names *names, const struct mesh_header_edits *const *levels, size_t level_count,
		  bool is_request, weft_ref *out, struct strbuf *unsupported);

int virtual_host_compile(struct routes_compile *c, const struct mesh_route_config *config, const struct mesh_virtual_host *host, weft_ref *out);
/* One that answers 503 to everything. */
int virtual_host_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out);

int route_table_compile(struct routes_compile *c, const struct mesh_route_config *config, weft_ref *out);
/* A table whose only virtual host answers 503 to everything: the configuration `name` is missing or refused. */
int route_table_refused(struct routes_compile *c, const char *name, const char *reason, weft_ref *out);

/* One address of a listener, or a part of its destinations, and what it is made of: decided but not written. */
struct name_plan {
	const char *name;              /* server name, "*.suffix" or "" */
	const struct mesh_tcp *tcp;    /* NULL: closed */
};

struct listener_plan {
	struct weft_address address;
	uint16_t port_be;
	struct range range;            /* of destinations that it takes */
	enum weft_listener_kind kind;
	enum weft_verdict verdict;
	uint16_t flags;
	const struct mesh_http *http;
	const struct mesh_tcp *tcp;    /* TCP: plaintext, where there are names */
	const struct mesh_tcp *other;  /* HTTP: bytes that are not */
	struct name_plan *names;       /* TLS, by server name, in their order */
	size_t name_count;
	struct strbuf reason;
};

/* Decides what connections to (address, port of `listener`) get: the most specific range of destinations first, all others last. To be freed with
 * listener_plans_free(). -ENOMEM. */
int listener_plans(const struct mesh *mesh, const struct mesh_listener *listener, const struct mesh_address *address, struct listener_plan **plans,
		   size_t *count);
/* virtualOutbound's answer for addresses that no listener owns: kinds PASS, BLOCK, TCP or REFUSED, with address and port 0. */
int listener_plans_catch_all(const struct mesh *mesh, const struct mesh_listener *listener, int family, struct listener_plan **plans, size_t *count);
void listener_plans_free(struct listener_plan *plans, size_t count);

#endif
