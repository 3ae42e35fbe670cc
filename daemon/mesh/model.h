/* SPDX-License-Identifier: Apache-2.0 */
/* The builders of the model, one file a group of messages. Each takes a message and fills in a struct of mesh.h; see build.h for how they
 * speak of what is wrong. They return NULL only when memory ran out (b->status says so). */
#ifndef WEFT_MESH_MODEL_H
#define WEFT_MESH_MODEL_H

#include "envoy/config/cluster/v3/cluster.pb-c.h"
#include "envoy/config/core/v3/core.pb-c.h"
#include "envoy/config/endpoint/v3/endpoint.pb-c.h"
#include "envoy/config/listener/v3/listener.pb-c.h"
#include "envoy/config/route/v3/route.pb-c.h"
#include "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.pb-c.h"
#include "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.pb-c.h"
#include "mesh/build.h"

typedef Envoy__Config__Core__V3__Address PbAddress;
typedef Envoy__Config__Core__V3__SocketAddress PbSocketAddress;
typedef Envoy__Config__Core__V3__CidrRange PbCidr;
typedef Envoy__Config__Core__V3__HeaderValueOption PbHeaderOption;
typedef Envoy__Config__Core__V3__TransportSocket PbTransportSocket;
typedef Envoy__Config__Core__V3__RuntimeFractionalPercent PbFraction;
typedef Envoy__Type__Matcher__V3__StringMatcher PbString;
typedef Envoy__Type__Matcher__V3__RegexMatcher PbRegex;
typedef Envoy__Type__Matcher__V3__RegexMatchAndSubstitute PbRegexRewrite;
typedef Envoy__Config__Listener__V3__Listener PbListener;
typedef Envoy__Config__Listener__V3__FilterChain PbFilterChain;
typedef Envoy__Extensions__Filters__Network__HttpConnectionManager__V3__HttpConnectionManager PbHttpManager;
typedef Envoy__Extensions__Filters__Network__TcpProxy__V3__TcpProxy PbTcpProxy;
typedef Envoy__Config__Route__V3__RouteConfiguration PbRouteConfig;
typedef Envoy__Config__Route__V3__VirtualHost PbVirtualHost;
typedef Envoy__Config__Route__V3__Route PbRoute;
typedef Envoy__Config__Route__V3__RouteMatch PbRouteMatch;
typedef Envoy__Config__Route__V3__HeaderMatcher PbHeaderMatcher;
typedef Envoy__Config__Route__V3__QueryParameterMatcher PbQueryMatcher;
typedef Envoy__Config__Route__V3__RouteAction PbAction;
typedef Envoy__Config__Route__V3__RouteAction__RequestMirrorPolicy PbMirror;
typedef Envoy__Config__Route__V3__RouteAction__HashPolicy PbHash;
typedef Envoy__Config__Route__V3__RetryPolicy PbRetry;
typedef Envoy__Config__Route__V3__WeightedCluster PbWeighted;
typedef Envoy__Config__Route__V3__WeightedCluster__ClusterWeight PbWeight;
typedef Envoy__Config__Route__V3__RedirectAction PbRedirect;
typedef Envoy__Config__Route__V3__DirectResponseAction PbDirect;
typedef Envoy__Config__Cluster__V3__Cluster PbCluster;
typedef Envoy__Config__Endpoint__V3__ClusterLoadAssignment PbAssignment;
typedef Envoy__Config__Endpoint__V3__LocalityLbEndpoints PbLocality;
typedef Envoy__Config__Endpoint__V3__LbEndpoint PbEndpoint;

/* model_common.c */
bool model_parse_ip(const char *text, int *family, uint8_t ip[16]);
void model_address(struct build *b, const PbAddress *address, struct mesh_address *out);
void model_cidr(struct build *b, const PbCidr *range, struct mesh_cidr *out);
void model_string(struct build *b, const PbString *matcher, struct mesh_string_matcher *out);
const char *model_regex(struct build *b, const char *name, const PbRegex *regex);
void model_regex_rewrite(struct build *b, const char *name, const PbRegexRewrite *rewrite, struct mesh_regex_rewrite *out);
void model_fraction(struct build *b, const char *name, const PbFraction *fraction, uint32_t *numerator, uint32_t *denominator);
/* Not set: none of all. */
void model_percent(struct build *b, const char *name, const Envoy__Type__V3__FractionalPercent *percent, struct mesh_fraction *out);
enum mesh_transport model_transport(struct build *b, const PbTransportSocket *socket);
/* Refused when it holds a line break: what goes into a header. */
const char *model_header_value(struct build *b, const char *name, const char *text);

/* model_headers.c */
struct header_lists {
	PbHeaderOption **request_add;
	size_t request_add_count;
	PbHeaderOption **response_add;
	size_t response_add_count;
	char **request_remove;
	size_t request_remove_count;
	char **response_remove;
	size_t response_remove_count;
};

/* The four lists, which messages of several types hold under the same names. */
#define HEADER_LISTS(message) \
	(&(const struct header_lists){ \
		(message)->request_headers_to_add, (message)->n_request_headers_to_add, (message)->response_headers_to_add, \
		(message)->n_response_headers_to_add, (message)->request_headers_to_remove, (message)->n_request_headers_to_remove, \
		(message)->response_headers_to_remove, (message)->n_response_headers_to_remove })

void model_header_edits(struct build *b, const struct header_lists *lists, struct mesh_header_edits *out);

/* model_format.c: NULL, or why Envoy would refuse the format of a header value */
const char *format_problem(const char *text, char *buffer, size_t size);

/* model_filters.c */
enum mesh_filter_kind filter_kind(const char *type_name, const char *filter_name);
/* The full name of the type in an Any; inside a TypedStruct, of what that stands for. "" for no Any. */
const char *model_type_name(struct build *b, const Google__Protobuf__Any *any);
/* One filter, http, network or listener. Adds a reason unless its kind is harmless. */
void model_filter(struct build *b, const char *name, const Google__Protobuf__Any *config, struct mesh_filter *out);

/* model_fault.c, model_cors.c: NULL for a configuration of another type, which has a reason then. */
bool model_fault_has_effect(struct build *b, const Google__Protobuf__Any *config);
const struct mesh_fault *model_fault(struct build *b, const Google__Protobuf__Any *config);
const struct mesh_cors *model_cors(struct build *b, const Google__Protobuf__Any *config);

struct filter_entry {
	const char *name;
	const Google__Protobuf__Any *config;
};

struct mesh_filter_configs model_filter_configs(struct build *b, const struct filter_entry *entries, size_t count);

/* typed_per_filter_config of any message: its entries have one shape, but a type each. */
#define FILTER_CONFIGS(b, message) \
	({ \
		struct filter_entry *entries_ = build_array((b), struct filter_entry, (message)->n_typed_per_filter_config); \
		for (size_t i_ = 0; entries_ && i_ < (message)->n_typed_per_filter_config; i_++) { \
			entries_[i_].name = (message)->typed_per_filter_config[i_]->key; \
			entries_[i_].config = (message)->typed_per_filter_config[i_]->value; \
		} \
		model_filter_configs((b), entries_, entries_ ? (message)->n_typed_per_filter_config : 0); \
	})

/* model_listener.c, model_http.c, model_tcp.c */
struct mesh_listener *model_listener(struct build *b, const PbListener *message);
struct mesh_http *model_http(struct build *b, const PbHttpManager *message);
struct mesh_tcp *model_tcp(struct build *b, const PbTcpProxy *message);

/* model_route.c, model_match.c, model_action.c, model_retry.c */
struct mesh_route_config *model_route_config(struct build *b, const PbRouteConfig *message);
void model_route_match(struct build *b, const PbRouteMatch *message, struct mesh_route_match *out);
void model_header_matcher(struct build *b, const PbHeaderMatcher *message, struct mesh_header_matcher *out);
void model_action(struct build *b, const PbAction *message, struct mesh_route *route);
void model_redirect(struct build *b, const PbRedirect *message, struct mesh_redirect *out);
void model_direct_response(struct build *b, const PbDirect *message, uint32_t body_limit_bytes, struct mesh_direct_response *out);
struct mesh_retry *model_retry(struct build *b, const PbRetry *message);
struct mesh_mirror *model_mirrors(struct build *b, PbMirror **messages, size_t count);

/* model_validated.c: what the route names, and what mirrors it would have from above. */
void model_validated(struct build *b, struct mesh_route_config *config, const struct mesh_route *route, const struct mesh_mirror *mirrors, size_t mirror_count);

/* model_cluster.c, model_endpoints.c */
struct mesh_cluster *model_cluster(struct build *b, const PbCluster *message);
/* `takes_names`: endpoints may be host names (the DNS types). */
struct mesh_load_assignment *model_load_assignment(struct build *b, const PbAssignment *message, bool takes_names);

/* metadata.filter_metadata[filter], and a value in a struct; NULL: there is none. Both accept NULL. */
typedef Envoy__Config__Core__V3__Metadata PbMetadata;
const Google__Protobuf__Struct *model_metadata(const PbMetadata *metadata, const char *filter);
const Google__Protobuf__Value *model_value(const Google__Protobuf__Struct *fields, const char *key);

#endif
