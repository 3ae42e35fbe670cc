/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh model: what a configuration file or istiod says, as plain C data. The stage after this one (compile) reads only this header.
 *
 * Rules for every struct here
 * - Read-only for whoever gets it. A resource and all it points at live until the mesh is freed or the resource is replaced or removed.
 * - Strings are never NULL ("" when not set) unless the comment says so, never contain a NUL byte, and are bytes for all purposes.
 *   Arrays of count 0 have a NULL pointer. Names keep the field's own words; defaults are filled in as Envoy does, so a reader need not know them.
 * - A resource that Envoy would refuse is not in the mesh: it is in mesh->refused, with the reason.
 * - What was configured but the model does not represent is in `reasons` of the innermost object that has such a list. An object whose list
 *   is not empty must never be served as though it were complete: see enum mesh_effect.
 */
#ifndef WEFT_MESH_MESH_H
#define WEFT_MESH_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kube/pods.h"
#include "mesh/report.h"

/* ---- what every resource has ---------------------------------------------------------------------------------------------------- */

enum mesh_kind { MESH_LISTENER, MESH_ROUTE_CONFIG, MESH_CLUSTER, MESH_LOAD_ASSIGNMENT, MESH_KINDS };

/* What an unrepresented piece makes uncertain. */
enum mesh_effect {
	MESH_EFFECT_MATCH,    /* which connections or requests the object takes: later ones that it could shadow are uncertain too */
	MESH_EFFECT_TRAFFIC,  /* what happens to those it takes */
	MESH_EFFECT_POLICY,   /* whether they may pass at all (RBAC, JWT, ext_authz, TLS required, unknown filters) */
};

struct mesh_reason {
	enum mesh_effect effect;
	const char *path;     /* from the resource down: virtual_hosts[0].routes[2].match.dynamic_metadata */
	const char *text;     /* a clause a person can read: "matching on dynamic metadata is not supported" */
};

struct mesh_reasons {
	struct mesh_reason *items;
	size_t count;
};

struct mesh_place {
	const char *file;     /* "" when the resource came over the wire */
	uint32_t line, column; /* from 1; 0: not known */
};

struct mesh_resource {
	enum mesh_kind kind;
	const char *name;
	struct mesh_place place;
	uint64_t content_hash; /* of the serialized resource: equal content, equal hash; 0 for one that is inline in another */
	struct mesh_reasons reasons;
};

/* ---- small common types ---------------------------------------------------------------------------------------------------------- */

struct mesh_texts {
	const char **items;
	size_t count;
};

enum mesh_address_kind {
	MESH_ADDRESS_NONE,
	MESH_ADDRESS_IP,       /* family, ip, port */
	MESH_ADDRESS_HOSTNAME, /* text, port: to be resolved (STRICT_DNS, LOGICAL_DNS) */
	MESH_ADDRESS_INTERNAL, /* an Envoy internal listener: text is its name */
	MESH_ADDRESS_OTHER,    /* a pipe, or a UDP socket: reasons has it */
};

struct mesh_address {
	enum mesh_address_kind kind;
	int family;            /* AF_INET or AF_INET6 for MESH_ADDRESS_IP */
	uint8_t ip[16];        /* network order; AF_INET uses the first 4 */
	uint16_t port;         /* host order */
	const char *text;      /* as configured */
};

struct mesh_cidr {
	int family;
	uint8_t ip[16];        /* network order, bits past `bits` are 0 */
	uint8_t bits;
	const char *text;      /* "10.0.0.0/8" */
};

enum mesh_string_kind { MESH_STRING_EXACT, MESH_STRING_PREFIX, MESH_STRING_SUFFIX, MESH_STRING_CONTAINS, MESH_STRING_REGEX };

/* Regexes are RE2, Latin-1, full match. ignore_case is ASCII only and never set with a regex. */
struct mesh_string_matcher {
	enum mesh_string_kind kind;
	bool ignore_case;
	const char *text;
};

/* pattern NULL: not set. */
struct mesh_regex_rewrite {
	const char *pattern;
	const char *substitution;
};

/* Envoy's HeaderAppendAction. */
enum mesh_append {
	MESH_APPEND_IF_EXISTS_OR_ADD,
	MESH_ADD_IF_ABSENT,
	MESH_OVERWRITE_IF_EXISTS_OR_ADD,
	MESH_OVERWRITE_IF_EXISTS,
};

struct mesh_header_add {
	const char *name;        /* lower case */
	const char *value;       /* a format: %REQ(x)%, %% for a percent sign */
	enum mesh_append action;
	bool keep_empty_value;
	bool has_variables;      /* value holds a '%'; otherwise it is literal */
};

/* A piece of a header value's format. */
struct mesh_format_piece {
	const char *name;        /* of the variable, without a final 0; NULL: `text` is literal */
	size_t name_size;
	const char *text;        /* parameters, or the literal; without a final 0 */
	size_t text_size;
	uint32_t max_len;        /* 0: of any length */
};

/* The next piece of a value that the mesh took, from *at on. False at its end. */
bool mesh_format_next(const char **at, struct mesh_format_piece *out);

/* In the order of the configuration. One such set each at weight, route, virtual host and route configuration; they are applied in that
 * order (FACTS of Envoy: the least specific overwrite wins), or reversed under most_specific_header_mutations_wins. */
struct mesh_header_edits {
	struct mesh_header_add *request_add;
	size_t request_add_count;
	struct mesh_header_add *response_add;
	size_t response_add_count;
	struct mesh_texts request_remove;   /* lower case */
	struct mesh_texts response_remove;
};

/* What a named extension is to weft. */
enum mesh_filter_kind {
	MESH_FILTER_IGNORED,         /* on the allow-list: never touches traffic */
	MESH_FILTER_HTTP_MANAGER,    /* network: HttpConnectionManager */
	MESH_FILTER_TCP_PROXY,       /* network: TcpProxy */
	MESH_FILTER_ROUTER,          /* http, the last one */
	MESH_FILTER_FAULT,           /* http: does nothing unless configured here or per route */
	MESH_FILTER_CORS,            /* http: likewise */
	MESH_FILTER_POLICY,          /* RBAC, JWT, ext_authz: decides who may pass */
	MESH_FILTER_UNKNOWN,         /* anything else: reasons has it */
};

struct mesh_filter {
	const char *name;
	const char *type_url;    /* of the configuration inside a TypedStruct, where there is one; "" for none */
	enum mesh_filter_kind kind;
	bool has_effect;         /* its configuration here does something by itself (a fault filter with a delay or abort ...) */
};

struct mesh_filters {
	struct mesh_filter *items;
	size_t count;
};

/* ---- listener -------------------------------------------------------------------------------------------------------------------- */

enum mesh_direction { MESH_DIRECTION_UNSPECIFIED, MESH_DIRECTION_INBOUND, MESH_DIRECTION_OUTBOUND };

/* All given conditions must hold; an empty list is no condition. The most specific chain wins, as Envoy orders them: destination port,
 * prefix range, server name, transport protocol, application protocol. */
struct mesh_chain_match {
	uint16_t destination_port;              /* 0: any */
	struct mesh_cidr *prefix_ranges;        /* of the original destination */
	size_t prefix_range_count;
	struct mesh_texts server_names;
	const char *transport_protocol;         /* "", "raw_buffer" or "tls" */
	struct mesh_texts application_protocols; /* "http/1.1", "h2c" ... */
};

struct mesh_upgrade {
	const char *type;        /* "websocket", "CONNECT" ..., lower case but for CONNECT */
	bool is_enabled;
};

struct mesh_upgrades {
	struct mesh_upgrade *items;
	size_t count;
};

enum mesh_codec { MESH_CODEC_AUTO, MESH_CODEC_HTTP1, MESH_CODEC_HTTP2, MESH_CODEC_HTTP3 };
enum mesh_server_header { MESH_SERVER_OVERWRITE, MESH_SERVER_APPEND_IF_ABSENT, MESH_SERVER_PASS_THROUGH };
enum mesh_escaped_slashes {
	MESH_SLASHES_KEEP,
	MESH_SLASHES_REJECT,                  /* 400 */
	MESH_SLASHES_UNESCAPE_AND_REDIRECT,   /* 307 to the unescaped path */
	MESH_SLASHES_UNESCAPE_AND_FORWARD,
};

struct mesh_route_config;

/* HttpConnectionManager. Exactly one of route_config_name and route_config is set. */
struct mesh_http {
	enum mesh_codec codec;
	const char *stat_prefix;
	const char *route_config_name;            /* RDS; "" for an inline one */
	const struct mesh_route_config *route_config; /* inline; NULL for RDS. It has no entry in mesh->route_configs. */
	bool accept_http_10;
	const char *default_host_for_http_10;
	bool normalize_path;
	bool merge_slashes;
	enum mesh_escaped_slashes escaped_slashes;
	bool use_remote_address;
	bool proxies_100_continue;
	enum mesh_server_header server_header;
	const char *server_name;                  /* "envoy" by default */
	int64_t stream_idle_timeout_ms;           /* 0: none; default 300000 */
	int64_t request_timeout_ms;               /* 0: none */
	int64_t idle_timeout_ms;                  /* 0: none; default 3600000 */
	uint32_t max_request_headers_kb;          /* default 60 */
	uint32_t max_headers_count;               /* default 100 */
	struct mesh_upgrades upgrades;
	struct mesh_filters filters;              /* in order, the router last */
};

struct mesh_tcp_cluster {
	const char *name;
	uint32_t weight;
};

/* TcpProxy. One cluster of weight 1 when it is not weighted. */
struct mesh_tcp {
	const char *stat_prefix;
	struct mesh_tcp_cluster *clusters;
	size_t cluster_count;
	uint64_t total_weight;
	int64_t idle_timeout_ms;       /* 0: none; default 3600000 */
	bool hashes_source_ip;
};

enum mesh_chain_kind { MESH_CHAIN_NONE /* no terminal filter: Envoy closes the connection */, MESH_CHAIN_HTTP, MESH_CHAIN_TCP };
enum mesh_transport { MESH_TRANSPORT_RAW, MESH_TRANSPORT_TLS, MESH_TRANSPORT_OTHER };

struct mesh_filter_chain {
	const char *name;
	struct mesh_chain_match match;
	enum mesh_transport transport;  /* what the chain terminates; anything but RAW has a reason too */
	enum mesh_chain_kind kind;
	struct mesh_http *http;         /* NULL unless MESH_CHAIN_HTTP */
	struct mesh_tcp *tcp;           /* NULL unless MESH_CHAIN_TCP */
	struct mesh_filters filters;    /* the network filters in order, the terminal one included */
	struct mesh_reasons reasons;    /* of the chain, its filters, its HTTP or TCP part (not of an inline route configuration) */
};

struct mesh_listener {
	struct mesh_resource resource;
	struct mesh_address address;               /* 0.0.0.0 or :: takes every destination of the port */
	struct mesh_address *additional_addresses;
	size_t additional_address_count;
	enum mesh_direction direction;
	bool binds_to_port;                        /* default true; istiod's outbound listeners say false */
	bool uses_original_dst;                    /* hands connections to the listener of their original destination (15001, 15006) */
	bool is_internal;                          /* an Envoy internal listener; it has no address */
	int64_t listener_filters_timeout_ms;       /* 0: none; default 15000 */
	bool continues_on_listener_filters_timeout;
	struct mesh_filters listener_filters;
	struct mesh_filter_chain *filter_chains;
	size_t filter_chain_count;
	struct mesh_filter_chain *default_filter_chain; /* NULL: a connection that no chain takes is closed */
};

/* ---- route configuration --------------------------------------------------------------------------------------------------------- */

enum mesh_path_kind { MESH_PATH_EXACT, MESH_PATH_PREFIX, MESH_PATH_SEPARATED_PREFIX, MESH_PATH_REGEX, MESH_PATH_CONNECT, MESH_PATH_OTHER };

enum mesh_header_kind {
	MESH_HEADER_STRING,  /* string */
	MESH_HEADER_PRESENT, /* is_present: true the header is there, false it is not */
	MESH_HEADER_RANGE,   /* [range_start, range_end) */
};

struct mesh_header_matcher {
	const char *name;    /* lower case; ":method", ":authority", ":path", ":scheme" are the request's own */
	enum mesh_header_kind kind;
	struct mesh_string_matcher string;
	bool is_present;
	int64_t range_start, range_end;
	bool is_inverted;
	bool treats_missing_as_empty;
};

struct mesh_query_matcher {
	const char *name;    /* with case */
	bool is_present_only; /* only asks whether the parameter is_present; otherwise `string` */
	bool is_present;
	struct mesh_string_matcher string;
};

struct mesh_route_match {
	enum mesh_path_kind path_kind;
	const char *path;            /* literal or regex */
	bool is_case_sensitive;      /* default true; says nothing about a regex */
	bool is_grpc_only;
	bool needs_client_certificate; /* tls_context: never true of a plaintext connection */
	struct mesh_header_matcher *headers;  /* all must hold */
	size_t header_count;
	struct mesh_query_matcher *queries;   /* all must hold */
	size_t query_count;
	bool has_fraction;           /* the route takes fraction_numerator of fraction_denominator requests; the rest looks further */
	uint32_t fraction_numerator, fraction_denominator;
};

/* retry_on of a retry policy */
enum mesh_retry_on {
	MESH_RETRY_5XX = 1 << 0,
	MESH_RETRY_GATEWAY_ERROR = 1 << 1,
	MESH_RETRY_RESET = 1 << 2,
	MESH_RETRY_RESET_BEFORE_REQUEST = 1 << 3,
	MESH_RETRY_CONNECT_FAILURE = 1 << 4,
	MESH_RETRY_ENVOY_RATELIMITED = 1 << 5,
	MESH_RETRY_RETRIABLE_4XX = 1 << 6,
	MESH_RETRY_REFUSED_STREAM = 1 << 7,
	MESH_RETRY_STATUS_CODES = 1 << 8,
	MESH_RETRY_HEADERS = 1 << 9,
	MESH_RETRY_HTTP3_POST_CONNECT_FAILURE = 1 << 10,
	MESH_RETRY_GRPC_CANCELLED = 1 << 11,
	MESH_RETRY_GRPC_DEADLINE_EXCEEDED = 1 << 12,
	MESH_RETRY_GRPC_INTERNAL = 1 << 13,
	MESH_RETRY_GRPC_RESOURCE_EXHAUSTED = 1 << 14,
	MESH_RETRY_GRPC_UNAVAILABLE = 1 << 15,
};

struct mesh_retry {
	uint32_t retry_on;              /* enum mesh_retry_on; 0: nothing is retried */
	uint32_t num_retries;           /* beyond the first attempt; default 1 */
	int64_t per_try_timeout_ms;     /* 0: the route's timeout */
	int64_t per_try_idle_timeout_ms; /* 0: none */
	uint32_t *status_codes;         /* for MESH_RETRY_STATUS_CODES */
	size_t status_code_count;
	int64_t back_off_base_ms;       /* default 25 */
	int64_t back_off_max_ms;        /* default 10 times the base */
	bool avoids_previous_hosts;
	int64_t host_selection_attempts; /* default 1 */
	uint32_t priorities_after;      /* tries, after each so many of which priorities that were tried are left; 0: they are not */
	struct mesh_header_matcher *headers;         /* of a response, for MESH_RETRY_HEADERS: one that holds is enough */
	size_t header_count;
	struct mesh_header_matcher *request_headers; /* where there are any, one must hold */
	size_t request_header_count;
};

struct mesh_mirror {
	const char *cluster;
	bool has_fraction;              /* otherwise every request */
	uint32_t fraction_numerator, fraction_denominator;
	bool keeps_host;                /* without -shadow */
	const char *cluster_header;     /* names the cluster where `cluster` is ""; lower case */
	const char *host_rewrite;       /* "" for none */
};

enum mesh_hash_kind { MESH_HASH_HEADER, MESH_HASH_COOKIE, MESH_HASH_SOURCE_IP, MESH_HASH_QUERY, MESH_HASH_OTHER };

struct mesh_cookie_attribute {
	const char *name;
	const char *value;              /* "": the name alone */
};

struct mesh_hash_policy {
	enum mesh_hash_kind kind;
	const char *name;               /* header (lower case), cookie or query parameter */
	struct mesh_regex_rewrite rewrite; /* header only */
	bool makes_cookie;              /* cookie with a ttl: one is made when the request has none */
	int64_t cookie_ttl_ms;          /* 0: a session cookie */
	const char *cookie_path;
	struct mesh_cookie_attribute *attributes; /* of the cookie that is made */
	size_t attribute_count;
	bool is_terminal;
};

struct mesh_fraction {
	uint32_t numerator, denominator;
};

/* What the fault filter does to requests for which all matchers hold. */
struct mesh_fault {
	int64_t delay_ms;               /* 0: none */
	bool delays_by_header;          /* the request says how long */
	bool aborts_by_header;          /* ... with which status */
	struct mesh_fraction delayed;   /* of requests */
	uint32_t abort_status;          /* 0: none */
	bool has_grpc_status;           /* of the abort, for gRPC */
	uint32_t grpc_status;
	struct mesh_fraction aborted;
	const char *upstream_cluster;   /* only requests that are routed to it; "": all */
	struct mesh_header_matcher *headers;
	size_t header_count;
};

/* What the CORS filter does. A text that is "", no origins and an unset option are taken from the level above. */
enum mesh_option { MESH_UNSET, MESH_NO, MESH_YES };
struct mesh_cors {
	struct mesh_string_matcher *origins;
	size_t origin_count;
	const char *allow_methods, *allow_headers, *expose_headers, *max_age;
	enum mesh_option allows_credentials, allows_private_network, forwards_preflights;
	struct mesh_fraction enabled;   /* of requests */
};

struct mesh_filter_config {
	const char *name;               /* key of typed_per_filter_config: the filter's name */
	const char *type_url;
	enum mesh_filter_kind kind;
	bool is_disabled;               /* FilterConfig{disabled: true} */
	const struct mesh_fault *fault; /* NULL: another kind, or a reason says why not */
	const struct mesh_cors *cors;
};

struct mesh_filter_configs {
	struct mesh_filter_config *items;
	size_t count;
};

struct mesh_weighted_cluster {
	const char *name;               /* "" when cluster_header is set */
	const char *cluster_header;
	uint32_t weight;
	const char *host_rewrite;       /* "" for none; beats the route's */
	struct mesh_header_edits edits;
	struct mesh_filter_configs filter_configs;
};

enum mesh_action_kind {
	MESH_ACTION_CLUSTER,
	MESH_ACTION_CLUSTER_HEADER,
	MESH_ACTION_WEIGHTED,
	MESH_ACTION_REDIRECT,
	MESH_ACTION_DIRECT_RESPONSE,
	MESH_ACTION_OTHER,              /* reasons has it */
};

enum mesh_host_rewrite {
	MESH_HOST_KEEP,
	MESH_HOST_LITERAL,     /* host_rewrite_text is the new host */
	MESH_HOST_AUTO,        /* the endpoint's hostname */
	MESH_HOST_HEADER,      /* the value of the header host_rewrite_text */
	MESH_HOST_PATH_REGEX,  /* host_rewrite_regex over the path */
};

/* What becomes of a request that is forwarded. */
struct mesh_forward {
	const char *cluster;            /* MESH_ACTION_CLUSTER */
	const char *cluster_header;     /* MESH_ACTION_CLUSTER_HEADER: name, lower case */
	struct mesh_weighted_cluster *weighted;
	size_t weighted_count;
	uint64_t total_weight;
	const char *weight_header;      /* its number chooses instead of chance; "" for none */
	bool weights_by_hash;           /* hash_policies do */
	uint32_t cluster_not_found_status; /* 503 by default; 404, 500 */
	const char *prefix_rewrite;     /* "" for none */
	struct mesh_regex_rewrite regex_rewrite;
	enum mesh_host_rewrite host_rewrite;
	const char *host_rewrite_text;
	struct mesh_regex_rewrite host_rewrite_regex;
	bool appends_forwarded_host;
	int64_t timeout_ms;             /* 0: none; default 15000 */
	int64_t idle_timeout_ms;        /* 0: none; -1: the connection manager's stream_idle_timeout_ms */
	int64_t max_stream_duration_ms; /* 0: none */
	int64_t grpc_timeout_header_max_ms; /* -1: the grpc-timeout header is not looked at; 0: as it says */
	struct mesh_retry *retry;       /* the route's or else the virtual host's; NULL: none */
	struct mesh_mirror *mirrors;    /* the route's or else the virtual host's, else the configuration's */
	size_t mirror_count;
	struct mesh_hash_policy *hash_policies;
	size_t hash_policy_count;
	struct mesh_upgrades upgrades;  /* override the connection manager's by type */
	bool is_high_priority;
};

struct mesh_redirect {
	uint32_t status;                /* 301, 302, 303, 307, 308 */
	const char *scheme;             /* "" keeps it */
	const char *host;               /* "" keeps it */
	uint32_t port;                  /* 0 keeps it */
	const char *path;               /* NULL: not set; may hold a query, which then replaces the request's */
	const char *prefix_rewrite;     /* NULL: not set */
	struct mesh_regex_rewrite regex_rewrite;
	bool strips_query;
};

struct mesh_direct_response {
	uint32_t status;                /* 200..599 */
	const void *body;
	size_t body_size;
};

struct mesh_route {
	const char *name;               /* "" for none */
	struct mesh_route_match match;
	enum mesh_action_kind action;
	struct mesh_forward forward;    /* the three cluster actions */
	struct mesh_redirect redirect;
	struct mesh_direct_response direct;
	struct mesh_header_edits edits;
	struct mesh_filter_configs filter_configs;
	struct mesh_reasons reasons;
};

enum mesh_require_tls { MESH_TLS_NOT_REQUIRED, MESH_TLS_REQUIRED_EXTERNAL, MESH_TLS_REQUIRED };

struct mesh_virtual_host {
	const char *name;
	struct mesh_texts domains;      /* lower case; "*", "*.suffix", "prefix.*" or exact; no two alike in a configuration */
	struct mesh_route *routes;      /* the first that matches wins */
	size_t route_count;
	struct mesh_header_edits edits;
	struct mesh_filter_configs filter_configs;
	bool counts_attempts_in_request;  /* x-envoy-attempt-count upstream */
	bool counts_attempts_in_response;
	enum mesh_require_tls require_tls;
	struct mesh_reasons reasons;
};

/* A cluster that a route names, where validate_clusters asks for all of them to be there. */
struct mesh_named_cluster {
	const char *name;
	const char *kind;               /* in Envoy's words: "cluster", "weighted cluster", "shadow cluster" */
	const char *path;               /* from the resource down */
	struct mesh_place place;
};

struct mesh_route_config {
	struct mesh_resource resource;
	bool ignores_port_in_host;
	bool most_specific_edits_win;
	struct mesh_header_edits edits;
	struct mesh_filter_configs filter_configs;
	struct mesh_virtual_host *virtual_hosts;
	size_t virtual_host_count;
	struct mesh_named_cluster *validated; /* none unless validate_clusters is true */
	size_t validated_count;
};

/* ---- cluster and endpoints ------------------------------------------------------------------------------------------------------- */

enum mesh_cluster_kind {
	MESH_CLUSTER_STATIC,
	MESH_CLUSTER_STRICT_DNS,
	MESH_CLUSTER_LOGICAL_DNS,
	MESH_CLUSTER_EDS,
	MESH_CLUSTER_ORIGINAL_DST,
	MESH_CLUSTER_OTHER,             /* a custom cluster type: reasons has it */
};

enum mesh_lb_policy {
	MESH_LB_ROUND_ROBIN,
	MESH_LB_LEAST_REQUEST,
	MESH_LB_RING_HASH,
	MESH_LB_RANDOM,
	MESH_LB_MAGLEV,
	MESH_LB_CLUSTER_PROVIDED,       /* ORIGINAL_DST */
	MESH_LB_OTHER,                  /* load_balancing_policy: reasons has it */
};

enum mesh_upstream_protocol { MESH_UPSTREAM_HTTP1, MESH_UPSTREAM_HTTP2, MESH_UPSTREAM_AS_DOWNSTREAM, MESH_UPSTREAM_OTHER };

/* The default priority's. UINT32_MAX: no limit in practice, as istiod sends. */
struct mesh_circuit_breaker {
	uint32_t max_connections;       /* default 1024 */
	uint32_t max_pending_requests;  /* default 1024 */
	uint32_t max_requests;          /* default 1024 */
	uint32_t max_retries;           /* default 3 */
	bool limits_retries;            /* max_retries was said, and is not the largest number */
};

struct mesh_outlier_detection {
	uint32_t consecutive_5xx;                    /* default 5 */
	uint32_t consecutive_gateway_failure;        /* default 5 */
	uint32_t consecutive_local_origin_failure;   /* default 5 */
	uint32_t enforcing_consecutive_5xx;          /* percent; default 100 */
	uint32_t enforcing_consecutive_gateway_failure; /* default 0 */
	uint32_t enforcing_consecutive_local_origin_failure; /* default 100 */
	uint32_t enforcing_success_rate;             /* default 100 */
	bool splits_local_origin_errors;
	int64_t interval_ms;                         /* default 10000 */
	int64_t base_ejection_ms;                    /* default 30000 */
	int64_t max_ejection_ms;                     /* default 300000, at least base_ejection_ms */
	uint32_t max_ejection_percent;               /* default 10 */
};

struct mesh_transport_match {
	const char *name;               /* tlsMode-istio, tlsMode-disabled */
	bool matches_all;               /* an empty match */
	const char *tls_mode;           /* the value of `tlsMode` it asks for; "" when it asks for something else */
	enum mesh_transport transport;
};

struct mesh_load_assignment;

struct mesh_cluster {
	struct mesh_resource resource;
	enum mesh_cluster_kind kind;
	enum mesh_lb_policy lb_policy;
	int64_t connect_timeout_ms;                  /* default 5000 */
	const char *eds_name;                        /* EDS: name of its load assignment (service_name or its own name) */
	const struct mesh_load_assignment *load_assignment; /* inline; NULL for EDS and ORIGINAL_DST, or when there is none */
	struct mesh_circuit_breaker circuit_breaker;
	struct mesh_outlier_detection *outlier_detection; /* NULL: none */
	enum mesh_transport transport;               /* of every endpoint that no transport match takes */
	struct mesh_transport_match *transport_matches; /* the first that fits an endpoint wins */
	size_t transport_match_count;
	enum mesh_upstream_protocol upstream_protocol;
	int64_t idle_timeout_ms;                     /* of an upstream connection; 0: none; default 3600000 */
	int64_t max_connection_duration_ms;          /* 0: none */
	uint32_t max_requests_per_connection;        /* 0: no limit */
	uint32_t least_request_choices;              /* default 2 */
	uint64_t ring_min_size, ring_max_size;       /* RING_HASH; 1024, 8388608 */
	bool hashes_by_murmur;                       /* RING_HASH: MURMUR_HASH_2 in place of XX_HASH */
	bool hashes_hostname;                        /* RING_HASH, MAGLEV: endpoints by their hostname, not their address */
	uint64_t maglev_table_size;                  /* MAGLEV; 65537 */
	uint32_t healthy_panic_percent;              /* default 50; istiod sends 0 */
	bool weighs_localities;                      /* locality_weighted_lb_config */
	uint16_t original_dst_port;                  /* ORIGINAL_DST with a port of its own; 0: the connection's */
	int64_t slow_start_ms;                       /* 0: none */
	int64_t dns_refresh_ms;                      /* default 5000 */
	bool respects_dns_ttl;
	const char *service_host, *service_name, *service_namespace; /* metadata istio.services, the first one; "" */
};

enum mesh_health { MESH_HEALTH_UNKNOWN, MESH_HEALTH_HEALTHY, MESH_HEALTH_UNHEALTHY, MESH_HEALTH_DRAINING, MESH_HEALTH_TIMEOUT, MESH_HEALTH_DEGRADED };

struct mesh_endpoint {
	struct mesh_address address;
	struct mesh_address *additional_addresses;
	size_t additional_address_count;
	const char *hostname;
	enum mesh_health health;        /* UNKNOWN counts as healthy */
	uint32_t weight;                /* default 1 */
	const char *tls_mode;           /* metadata envoy.transport_socket_match.tlsMode: "istio", "disabled" or "" */
	const char *hash_key;           /* metadata envoy.lb.hash_key: stands for the address in a hash ring; "" */
	const char *workload;           /* metadata istio.workload: "name;namespace;canonical;revision;cluster" or "" */
};

struct mesh_locality {
	const char *region, *zone, *sub_zone;
	uint32_t priority;              /* 0 is tried first */
	uint32_t weight;                /* 0: not set */
	struct mesh_endpoint *endpoints;
	size_t endpoint_count;
};

struct mesh_load_assignment {
	struct mesh_resource resource;  /* named by cluster_name */
	struct mesh_locality *localities;
	size_t locality_count;
	size_t endpoint_count;          /* over all localities */
	uint32_t overprovisioning_percent; /* default 140 */
};

/* ---- the mesh -------------------------------------------------------------------------------------------------------------------- */

struct mesh_refused {
	enum mesh_kind kind;            /* MESH_KINDS: of a type weft does not know */
	const char *type_url;
	const char *name;               /* "" when not even that was readable */
	struct mesh_place place;
	const char *path;               /* from the resource down */
	const char *text;
};

/* Arrays are in the order of the file, or of first arrival; a replaced resource keeps its place. */
struct mesh {
	const struct mesh_listener **listeners;
	size_t listener_count;
	const struct mesh_route_config **route_configs;
	size_t route_config_count;
	const struct mesh_cluster **clusters;
	size_t cluster_count;
	const struct mesh_load_assignment **load_assignments;
	size_t load_assignment_count;
	const struct mesh_refused **refused;
	size_t refused_count;
	const struct pods *pods;
	bool requires_mtls;             /* of who serves it: endpoints that could take mTLS are not reached without */
};

int mesh_new(struct mesh **out);
void mesh_free(struct mesh **mesh);
void mesh_require_mtls(struct mesh *mesh, bool is_required);

/* Reads a YAML (or JSON) file: pods, resources, static_resources; or what Envoy's /config_dump prints. Everything worth saying is added to `report` (which must be initialised,
 * and released by the caller, whatever is returned), warnings included.
 *
 * Returns 0 and a mesh when the file could be read as a whole. Resources that Envoy would refuse are then errors in the report and entries of
 * mesh->refused, and the rest is usable: whether to publish such a mesh is the caller's choice. Returns -EINVAL when the file is not
 * YAML, has a key of ours that weft does not know, a value of the wrong type or a resource type it does not know; -errno when it
 * can't be read; -EFBIG past 256 MiB; -ENOMEM. */
int mesh_load_file(const char *path, struct mesh **out, struct mesh_report *report);

/* The same from memory; `name` stands for the file in places. */
int mesh_load_text(const char *name, const char *text, size_t size, struct mesh **out, struct mesh_report *report);

/* Both, and `is_strict`: a field of a resource that weft does not know is an error, as one of ours is, and -EINVAL. */
int mesh_load_file_as(const char *path, bool is_strict, struct mesh **out, struct mesh_report *report);
int mesh_load_text_as(const char *name, const char *text, size_t size, bool is_strict, struct mesh **out, struct mesh_report *report);

/* One serialized resource, as xDS brings it. Adds it or replaces the one of its name. Returns 0; -EINVAL when it is refused (the reason is in
 * the report and in mesh->refused, a former resource of the name stays); -EPROTONOSUPPORT for a type URL that is no resource of the model;
 * -ENOMEM. `report` may be NULL. */
int mesh_add_resource(struct mesh *mesh, const char *type_url, const void *bytes, size_t size, struct mesh_report *report);

/* ---- decoded once, in several meshes -------------------------------------------------------------------------------------------- */

/* A resource by itself, counted: it lives until the last mesh (or holder) lets go of it. One thread. */
struct mesh_item;
struct strbuf;

/* -EINVAL when it is refused, -EBADMSG when the bytes are no such message: `refusal` then tells why. -ENOMEM. */
int mesh_item_decode(enum mesh_kind kind, const void *bytes, size_t size, struct mesh_item **out, struct strbuf *refusal);
struct mesh_item *mesh_item_ref(struct mesh_item *item);
void mesh_item_unref(struct mesh_item **item); /* accepts NULL in it */
const struct mesh_resource *mesh_item_resource(const struct mesh_item *item);

/* A mesh whose arrays are in the order of names, so that equal content makes equal images in whatever order it came. */
int mesh_new_sorted(struct mesh **out);
/* Adds it or replaces the one of its name; the mesh holds a reference of its own. */
int mesh_put(struct mesh *mesh, struct mesh_item *item);

/* 0, or -ENOENT. */
int mesh_remove_resource(struct mesh *mesh, enum mesh_kind kind, const char *name);

const struct mesh_listener *mesh_find_listener(const struct mesh *mesh, const char *name);
const struct mesh_route_config *mesh_find_route_config(const struct mesh *mesh, const char *name);
const struct mesh_cluster *mesh_find_cluster(const struct mesh *mesh, const char *name);
const struct mesh_load_assignment *mesh_find_load_assignment(const struct mesh *mesh, const char *name);

/* The load assignment that serves a cluster: its inline one, or for EDS the one of its eds_name; NULL when there is none (yet). */
const struct mesh_load_assignment *mesh_cluster_endpoints(const struct mesh *mesh, const struct mesh_cluster *cluster);

/* The same for all clusters one after the other, without a look-up where assignments stand in their order: `*at` begins with 0. */
const struct mesh_load_assignment *mesh_next_endpoints(const struct mesh *mesh, const struct mesh_cluster *cluster, size_t *at);

/* The route configuration of an HTTP chain, inline or by name; NULL when it has not come (yet). */
const struct mesh_route_config *mesh_http_routes(const struct mesh *mesh, const struct mesh_http *http);

/* Of a listener or a route configuration with validate_clusters: the first cluster that its routes name and that is not known, as Envoy looks when the
 * resource comes, and not again when clusters go. NULL: there is none. */
const struct mesh_named_cluster *mesh_unknown_cluster(const struct mesh_resource *resource, bool (*is_known)(void *arg, const char *name), void *arg);
/* "route: unknown cluster 'gone'" */
int mesh_unknown_cluster_text(const struct mesh_named_cluster *named, struct strbuf *text);

/* Warns of names that lead nowhere: a listener whose route configuration is missing, a route to a missing cluster, an EDS cluster without
 * endpoints. mesh_load_*() has done it already. */
int mesh_check_references(const struct mesh *mesh, struct mesh_report *report);

/* "type.googleapis.com/envoy.config.listener.v3.Listener"; and "listener", as people say it. */
const char *mesh_kind_type_url(enum mesh_kind kind);
const char *mesh_kind_name(enum mesh_kind kind);

#endif
