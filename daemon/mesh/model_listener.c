/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners, filter chains and their matches. */
#include <string.h>

#include "mesh/model.h"

static void chain_match(struct build *b, const Envoy__Config__Listener__V3__FilterChainMatch *message, struct mesh_chain_match *out)
{
	size_t before = build_enter(b, "filter_chain_match");

	build_check_fields(b, &message->base, MESH_EFFECT_MATCH,
			   KNOWN("destination_port", "prefix_ranges", "server_names", "transport_protocol", "application_protocols"));
	if (uint32_or(message->destination_port, 0) > UINT16_MAX)
		build_refuse(b, "port %u is past 65535", message->destination_port->value);
	out->destination_port = (uint16_t)uint32_or(message->destination_port, 0);
	out->server_names = build_texts(b, message->server_names, message->n_server_names);
	for (size_t i = 0; i < out->server_names.count; i++) {
		const char *name = out->server_names.items[i];

		if (strchr(name, '*') && (name[0] != '*' || (name[1] != '.' && name[1]) || strchr(name + 1, '*')))
			build_refuse(b, "server name `%s`: a wildcard stands for the first labels only", name);
		out->server_names.items[i] = build_lower(b, name);
	}
	out->transport_protocol = build_text(b, message->transport_protocol);
	out->application_protocols = build_texts(b, message->application_protocols, message->n_application_protocols);
	out->prefix_ranges = build_array(b, struct mesh_cidr, message->n_prefix_ranges);
	out->prefix_range_count = out->prefix_ranges ? message->n_prefix_ranges : 0;
	for (size_t i = 0; i < out->prefix_range_count; i++) {
		size_t inner = build_enter_index(b, "prefix_ranges", i);

		model_cidr(b, message->prefix_ranges[i], &out->prefix_ranges[i]);
		build_leave(b, inner);
	}
	build_leave(b, before);
}

/* The configuration of a terminal filter is known by its type: build_unpack() gives NULL for another one, or a broken one (refused). */
static void terminal_filter(struct build *b, const Google__Protobuf__Any *config, enum mesh_filter_kind kind, struct mesh_filter_chain *chain)
{
	size_t before = build_enter(b, "typed_config");
	const ProtobufCMessage *message;

	if (kind == MESH_FILTER_HTTP_MANAGER) {
		message = build_unpack(b, config,
				       &envoy__extensions__filters__network__http_connection_manager__v3__http_connection_manager__descriptor);
		if (message) {
			chain->kind = MESH_CHAIN_HTTP;
			chain->http = model_http(b, (const PbHttpManager *)message);
		}
	} else {
		message = build_unpack(b, config, &envoy__extensions__filters__network__tcp_proxy__v3__tcp_proxy__descriptor);
		if (message) {
			chain->kind = MESH_CHAIN_TCP;
			chain->tcp = model_tcp(b, (const PbTcpProxy *)message);
		}
	}
	build_leave(b, before);
}

static void network_filters(struct build *b, const PbFilterChain *message, struct mesh_filter_chain *chain)
{
	chain->filters.items = build_array(b, struct mesh_filter, message->n_filters);
	chain->filters.count = chain->filters.items ? message->n_filters : 0;
	for (size_t i = 0; i < chain->filters.count; i++) {
		const Envoy__Config__Listener__V3__Filter *filter = message->filters[i];
		const Google__Protobuf__Any *config = filter->config_type_case ? filter->typed_config : NULL;
		struct mesh_filter *out = &chain->filters.items[i];
		size_t before = build_enter_index(b, "filters", i);

		build_check_fields(b, &filter->base, MESH_EFFECT_POLICY, KNOWN("name", "typed_config"));
		if (!*filter->name)
			build_refuse(b, "a name is needed");
		model_filter(b, filter->name, config, out);
		if (out->kind == MESH_FILTER_HTTP_MANAGER || out->kind == MESH_FILTER_TCP_PROXY) {
			if (i + 1 != message->n_filters)
				build_refuse(b, "%s must be the last filter", filter->name);
			else
				terminal_filter(b, config, out->kind, chain);
		}
		build_leave(b, before);
	}
}

static void filter_chain(struct build *b, const PbFilterChain *message, struct mesh_filter_chain *chain)
{
	struct mesh_reasons *outer = b->reasons;

	b->reasons = &chain->reasons;
	chain->match.transport_protocol = "";
	build_check_fields(b, &message->base, MESH_EFFECT_POLICY,
			   KNOWN("filter_chain_match", "filters", "transport_socket", "name",
				 /* a wait for a handshake that weft does not make */
				 "metadata", "transport_socket_connect_timeout"));
	chain->name = build_text(b, message->name);
	if (message->filter_chain_match)
		chain_match(b, message->filter_chain_match, &chain->match);
	chain->transport = model_transport(b, message->transport_socket);
	if (chain->transport != MESH_TRANSPORT_RAW) {
		size_t before = build_enter(b, "transport_socket");

		build_reason(b, MESH_EFFECT_POLICY, "terminating %s is not supported", chain->transport == MESH_TRANSPORT_TLS ? "TLS" : "this transport");
		build_leave(b, before);
	}
	network_filters(b, message, chain);
	b->reasons = outer;
}

static void listener_filters(struct build *b, const PbListener *message, struct mesh_listener *listener)
{
	listener->listener_filters.items = build_array(b, struct mesh_filter, message->n_listener_filters);
	listener->listener_filters.count = listener->listener_filters.items ? message->n_listener_filters : 0;
	for (size_t i = 0; i < listener->listener_filters.count; i++) {
		const Envoy__Config__Listener__V3__ListenerFilter *filter = message->listener_filters[i];
		size_t before = build_enter_index(b, "listener_filters", i);

		/* filter_disabled only spares an inspector some ports */
		build_check_fields(b, &filter->base, MESH_EFFECT_POLICY, KNOWN("name", "typed_config", "filter_disabled"));
		model_filter(b, filter->name, filter->config_type_case ? filter->typed_config : NULL, &listener->listener_filters.items[i]);
		build_leave(b, before);
	}
}

static void addresses(struct build *b, const PbListener *message, struct mesh_listener *listener)
{
	listener->address.text = "";
	listener->is_internal = message->listener_specifier_case != 0;
	if (message->address)
		model_address(b, message->address, &listener->address);
	else if (!listener->is_internal)
		build_refuse(b, "an address is needed");
	if (listener->address.kind == MESH_ADDRESS_HOSTNAME)
		build_refuse(b, "`%s` is no IP address", listener->address.text);

	listener->additional_addresses = build_array(b, struct mesh_address, message->n_additional_addresses);
	listener->additional_address_count = listener->additional_addresses ? message->n_additional_addresses : 0;
	for (size_t i = 0; i < listener->additional_address_count; i++) {
		size_t before = build_enter_index(b, "additional_addresses", i);

		model_address(b, message->additional_addresses[i]->address, &listener->additional_addresses[i]);
		if (listener->additional_addresses[i].kind == MESH_ADDRESS_HOSTNAME)
			build_refuse(b, "`%s` is no IP address", listener->additional_addresses[i].text);
		build_leave(b, before);
	}
}

static enum mesh_direction direction(const PbListener *message)
{
	switch (message->traffic_direction) {
	case ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__INBOUND:
		return MESH_DIRECTION_INBOUND;
	case ENVOY__CONFIG__CORE__V3__TRAFFIC_DIRECTION__OUTBOUND:
		return MESH_DIRECTION_OUTBOUND;
	default:
		return MESH_DIRECTION_UNSPECIFIED;
	}
}

/* Envoy refuses two chains of one match; the texts of a match are few, so a plain comparison will do. */
static bool texts_equal(const struct mesh_texts *a, const struct mesh_texts *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static bool matches_equal(const struct mesh_chain_match *a, const struct mesh_chain_match *b)
{
	if (a->destination_port != b->destination_port || a->prefix_range_count != b->prefix_range_count ||
	    strcmp(a->transport_protocol, b->transport_protocol) != 0)
		return false;
	for (size_t i = 0; i < a->prefix_range_count; i++)
		if (a->prefix_ranges[i].family != b->prefix_ranges[i].family || a->prefix_ranges[i].bits != b->prefix_ranges[i].bits ||
		    memcmp(a->prefix_ranges[i].ip, b->prefix_ranges[i].ip, 16) != 0)
			return false;
	return texts_equal(&a->server_names, &b->server_names) && texts_equal(&a->application_protocols, &b->application_protocols);
}

static void check_unique_matches(struct build *b, const struct mesh_listener *listener)
{
	for (size_t i = 1; i < listener->filter_chain_count; i++) {
		for (size_t j = 0; j < i; j++) {
			size_t before;

			/* a chain with a condition that the model lacks may differ in just that */
			if (listener->filter_chains[i].reasons.count || listener->filter_chains[j].reasons.count)
				continue;
			if (!matches_equal(&listener->filter_chains[i].match, &listener->filter_chains[j].match))
				continue;
			before = build_enter_index(b, "filter_chains", i);
			build_refuse(b, "has the same match as filter_chains[%zu]", j);
			build_leave(b, before);
			break;
		}
	}
}

struct mesh_listener *model_listener(struct build *b, const PbListener *message)
{
	struct mesh_listener *listener = build_new(b, struct mesh_listener);
	size_t before;

	if (!listener)
		return NULL;
	b->reasons = &listener->resource.reasons;
	build_check_fields(b, &message->base, MESH_EFFECT_POLICY,
			   KNOWN("name", "address", "additional_addresses", "filter_chains", "default_filter_chain", "use_original_dst",
				 "listener_filters", "listener_filters_timeout", "continue_on_listener_filters_timeout", "traffic_direction",
				 "bind_to_port", "deprecated_v1", "internal_listener",
				 /* how Envoy's own socket is set up, and what it counts */
				 "stat_prefix", "per_connection_buffer_limit_bytes", "metadata", "drain_type", "freebind", "transparent",
				 "socket_options", "tcp_fast_open_queue_length", "connection_balance_config", "reuse_port", "enable_reuse_port",
				 "access_log", "tcp_backlog_size", "max_connections_to_accept_per_socket_event", "enable_mptcp",
				 "ignore_global_conn_limit", "bypass_overload_manager", "tcp_keepalive"));
	listener->resource.kind = MESH_LISTENER;
	listener->resource.name = build_text(b, message->name);
	listener->resource.place = build_place(b);
	if (!*listener->resource.name)
		build_refuse(b, "a name is needed");
	addresses(b, message, listener);
	listener->direction = direction(message);
	listener->binds_to_port = bool_or(message->bind_to_port, true);
	if (!message->bind_to_port && message->deprecated_v1)
		listener->binds_to_port = bool_or(message->deprecated_v1->bind_to_port, true);
	listener->uses_original_dst = bool_or(message->use_original_dst, false);
	listener->listener_filters_timeout_ms = build_duration_ms(b, "listener_filters_timeout", message->listener_filters_timeout, 15000);
	listener->continues_on_listener_filters_timeout = message->continue_on_listener_filters_timeout;
	listener_filters(b, message, listener);

	listener->filter_chains = build_array(b, struct mesh_filter_chain, message->n_filter_chains);
	listener->filter_chain_count = listener->filter_chains ? message->n_filter_chains : 0;
	for (size_t i = 0; i < listener->filter_chain_count; i++) {
		before = build_enter_index(b, "filter_chains", i);
		filter_chain(b, message->filter_chains[i], &listener->filter_chains[i]);
		build_leave(b, before);
	}
	if (message->default_filter_chain)
		listener->default_filter_chain = build_new(b, struct mesh_filter_chain);
	if (listener->default_filter_chain) {
		before = build_enter(b, "default_filter_chain");
		filter_chain(b, message->default_filter_chain, listener->default_filter_chain);
		build_leave(b, before);
	}
	if (!message->n_filter_chains && !message->default_filter_chain)
		build_refuse(b, "a filter chain is needed");
	check_unique_matches(b, listener);
	return listener;
}
