/* SPDX-License-Identifier: Apache-2.0 */
/* What several resources share: addresses, string matchers, fractions, transport sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "mesh/model.h"
#include "mesh/registry.h"
#include "regex/regex.h"

bool model_parse_ip(const char *text, int *family, uint8_t ip[16])
{
	memset(ip, 0, 16);
	*family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(*family, text, ip) == 1;
}

static void socket_address(struct build *b, const PbSocketAddress *message, struct mesh_address *out)
{
	build_check_fields(b, &message->base, MESH_EFFECT_TRAFFIC, KNOWN("address", "port_value", "protocol", "ipv4_compat", "named_port"));
	out->text = build_text(b, message->address);
	if (!*out->text)
		build_refuse(b, "an address is empty");
	if (message->port_specifier_case != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE)
		build_refuse(b, "a port number is needed (port_value)");
	else if (message->port_value > UINT16_MAX)
		build_refuse(b, "port %u is past 65535", message->port_value);
	else
		out->port = (uint16_t)message->port_value;
	if (message->protocol != ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PROTOCOL__TCP) {
		out->kind = MESH_ADDRESS_OTHER;
		build_reason(b, MESH_EFFECT_TRAFFIC, "only TCP is supported");
		return;
	}
	out->kind = model_parse_ip(out->text, &out->family, out->ip) ? MESH_ADDRESS_IP : MESH_ADDRESS_HOSTNAME;
	if (out->kind == MESH_ADDRESS_HOSTNAME)
		out->family = 0;
}

void model_address(struct build *b, const PbAddress *address, struct mesh_address *out)
{
	size_t before = build_enter(b, "address");

	out->text = "";
	switch (address ? address->address_case : 0) {
	case ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS: {
		size_t inner = build_enter(b, "socket_address");

		socket_address(b, address->socket_address, out);
		build_leave(b, inner);
		break;
	}
	case ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_ENVOY_INTERNAL_ADDRESS:
		out->kind = MESH_ADDRESS_INTERNAL;
		if (address->envoy_internal_address->address_name_specifier_case)
			out->text = build_text(b, address->envoy_internal_address->server_listener_name);
		break;
	case ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_PIPE:
		out->kind = MESH_ADDRESS_OTHER;
		out->text = build_text(b, address->pipe->path);
		build_reason(b, MESH_EFFECT_TRAFFIC, "unix sockets are not supported");
		break;
	default:
		build_refuse(b, "an address is needed");
		break;
	}
	build_leave(b, before);
}

void model_cidr(struct build *b, const PbCidr *range, struct mesh_cidr *out)
{
	uint32_t limit;

	out->text = "";
	if (!model_parse_ip(range->address_prefix, &out->family, out->ip)) {
		build_refuse(b, "`%s` is no IP address", range->address_prefix);
		return;
	}
	limit = out->family == AF_INET ? 32 : 128;
	if (uint32_or(range->prefix_len, 0) > limit) {
		build_refuse(b, "a prefix length of %u is past %u", range->prefix_len->value, limit);
		return;
	}
	out->bits = (uint8_t)uint32_or(range->prefix_len, 0);
	for (uint32_t bit = out->bits; bit < limit; bit++)
		out->ip[bit / 8] &= (uint8_t)~(0x80u >> (bit % 8));
	out->text = arena_printf(b->arena, "%s/%u", range->address_prefix, out->bits);
	if (!out->text) {
		out->text = "";
		b->status = -ENOMEM;
	}
}

/* Envoy compiles every regex of a resource before it takes it. */
static void check_regex(struct build *b, const char *text)
{
	_cleanup_(regex_free) struct regex *regex = NULL;
	struct strbuf reason = STRBUF_INIT;
	struct regex_error error;
	int r = regex_parse(text, strlen(text), &regex, &error);

	if (r == -EINVAL) {
		regex_error_text(&error, text, strlen(text), &reason);
		build_refuse(b, "%s", strbuf_text(&reason));
		r = strbuf_status(&reason);
	}
	strbuf_release(&reason);
	if (r == -ENOMEM)
		b->status = r;
}

const char *model_regex(struct build *b, const char *name, const PbRegex *regex)
{
	size_t before = build_enter(b, name);
	const char *text = build_text(b, regex ? regex->regex : "");

	if (*text)
		check_regex(b, text);
	else
		build_refuse(b, "a regex is needed");
	if (regex)
		build_check_fields(b, &regex->base, MESH_EFFECT_MATCH, KNOWN("regex", "google_re2"));
	build_leave(b, before);
	return text;
}

void model_regex_rewrite(struct build *b, const char *name, const PbRegexRewrite *rewrite, struct mesh_regex_rewrite *out)
{
	size_t before;

	if (!rewrite)
		return;
	before = build_enter(b, name);
	out->pattern = model_regex(b, "pattern", rewrite->pattern);
	out->substitution = model_header_value(b, "substitution", rewrite->substitution);
	build_check_fields(b, &rewrite->base, MESH_EFFECT_TRAFFIC, KNOWN("pattern", "substitution"));
	build_leave(b, before);
}

void model_string(struct build *b, const PbString *matcher, struct mesh_string_matcher *out)
{
	out->text = "";
	build_check_fields(b, &matcher->base, MESH_EFFECT_MATCH, KNOWN("exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case"));
	switch (matcher->match_pattern_case) {
	case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_EXACT:
		out->kind = MESH_STRING_EXACT;
		out->text = build_text(b, matcher->exact);
		break;
	case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_PREFIX:
		out->kind = MESH_STRING_PREFIX;
		out->text = build_text(b, matcher->prefix);
		break;
	case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SUFFIX:
		out->kind = MESH_STRING_SUFFIX;
		out->text = build_text(b, matcher->suffix);
		break;
	case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_CONTAINS:
		out->kind = MESH_STRING_CONTAINS;
		out->text = build_text(b, matcher->contains);
		break;
	case ENVOY__TYPE__MATCHER__V3__STRING_MATCHER__MATCH_PATTERN_SAFE_REGEX:
		out->kind = MESH_STRING_REGEX;
		out->text = model_regex(b, "safe_regex", matcher->safe_regex);
		break;
	default:
		/* An unknown pattern (a reason says so) is not a missing one. */
		if (!matcher->base.n_unknown_fields)
			build_refuse(b, "a pattern is needed: exact, prefix, suffix, contains or safe_regex");
		return;
	}
	if (out->kind != MESH_STRING_EXACT && out->kind != MESH_STRING_REGEX && !*out->text)
		build_refuse(b, "an empty pattern");
	if (matcher->ignore_case && out->kind == MESH_STRING_REGEX)
		build_refuse(b, "ignore_case has no effect on a regex");
	out->ignore_case = matcher->ignore_case;
}

void model_percent(struct build *b, const char *name, const Envoy__Type__V3__FractionalPercent *percent, struct mesh_fraction *out)
{
	size_t before = build_enter(b, name);

	*out = (struct mesh_fraction){ 0, 100 };
	if (percent) {
		out->numerator = percent->numerator;
		switch (percent->denominator) {
		case ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__HUNDRED:
			break;
		case ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__TEN_THOUSAND:
			out->denominator = 10000;
			break;
		case ENVOY__TYPE__V3__FRACTIONAL_PERCENT__DENOMINATOR_TYPE__MILLION:
			out->denominator = 1000000;
			break;
		default:
			build_refuse(b, "an unknown denominator: %d", (int)percent->denominator);
			break;
		}
	}
	build_leave(b, before);
}

void model_fraction(struct build *b, const char *name, const PbFraction *fraction, uint32_t *numerator, uint32_t *denominator)
{
	size_t before = build_enter(b, name);
	struct mesh_fraction found;

	if (!fraction->default_value)
		build_refuse(b, "default_value is needed");
	model_percent(b, "default_value", fraction->default_value, &found);
	*numerator = found.numerator;
	*denominator = found.denominator;
	build_check_fields(b, &fraction->base, MESH_EFFECT_MATCH, KNOWN("default_value", "runtime_key"));
	build_leave(b, before);
}

enum mesh_transport model_transport(struct build *b, const PbTransportSocket *socket)
{
	const char *type;

	if (!socket)
		return MESH_TRANSPORT_RAW;
	type = socket->config_type_case ? model_type_name(b, socket->typed_config) : "";
	if (strcmp(type, "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer") == 0)
		return MESH_TRANSPORT_RAW;
	if (strncmp(type, "envoy.extensions.transport_sockets.tls.", 39) == 0)
		return MESH_TRANSPORT_TLS;
	/* without a configuration the name decides */
	if (!*type && strcmp(socket->name, "envoy.transport_sockets.raw_buffer") == 0)
		return MESH_TRANSPORT_RAW;
	if (!*type && strcmp(socket->name, "envoy.transport_sockets.tls") == 0)
		return MESH_TRANSPORT_TLS;
	return MESH_TRANSPORT_OTHER;
}

const char *model_header_value(struct build *b, const char *name, const char *text)
{
	size_t before;

	if (!text[strcspn(text, "\r\n")])
		return build_text(b, text);
	before = build_enter(b, name);
	build_refuse(b, "a line break is not allowed here");
	build_leave(b, before);
	return "";
}
