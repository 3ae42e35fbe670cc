/* SPDX-License-Identifier: Apache-2.0 */
/* Formats of header values: %NAME%, %NAME(parameters)%, %NAME(parameters):LENGTH%, and %% for a percent sign. One that Envoy would not take
 * refuses the resource. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "mesh/model.h"

struct command {
	const char *name;
	bool is_family;          /* any name that begins so */
	bool needs_parameters;
};

static const struct command commands[] = {
	{ "REQ", false, true },
	{ "RESP", false, true },
	{ "TRAILER", false, true },
	{ "REQ_WITHOUT_QUERY", false, true },
	{ "QUERY_PARAM", false, true },
	{ "DYNAMIC_METADATA", false, true },
	{ "CLUSTER_METADATA", false, true },
	{ "UPSTREAM_METADATA", false, true },
	{ "METADATA", false, true },
	{ "FILTER_STATE", false, true },
	{ "ENVIRONMENT", false, true },
	{ "UPSTREAM_FILTER_STATE", false, true },
	{ "COMMON_DURATION", false, true },
	{ "COALESCE", false, true },
	{ "CEL", false, true },
	{ "PATH", false, false },
	{ "QUERY_PARAMS", false, false },
	{ "START_TIME", true, false },
	{ "EMIT_TIME", false, false },
	{ "PROTOCOL", false, false },
	{ "HOSTNAME", false, false },
	{ "DURATION", false, false },
	{ "REQUESTED_SERVER_NAME", false, false },
	{ "ROUTE_NAME", false, false },
	{ "VIRTUAL_CLUSTER_NAME", false, false },
	{ "VIRTUAL_HOST_NAME", false, false },
	{ "FILTER_CHAIN_NAME", false, false },
	{ "STREAM_ID", false, false },
	{ "UNIQUE_ID", false, false },
	{ "TRACE_ID", false, false },
	{ "SPAN_ID", false, false },
	{ "GRPC_STATUS", true, false },
	{ "ACCESS_LOG_TYPE", false, false },
	{ "LOCAL_REPLY_BODY", false, false },
	{ "CUSTOM_FLAGS", false, false },
	{ "TLS_JA3_FINGERPRINT", false, false },
	{ "TLS_JA4_FINGERPRINT", false, false },
	{ "BYTES_", true, false },
	{ "REQUEST_", true, false },
	{ "RESPONSE_", true, false },
	{ "ROUNDTRIP_DURATION", false, false },
	{ "CONNECTION_", true, false },
	{ "DOWNSTREAM_", true, false },
	{ "UPSTREAM_", true, false },
};

static const struct command *find_command(const char *name, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t length = strlen(commands[i].name);

		if (length > size || memcmp(name, commands[i].name, length) != 0)
			continue;
		if (length == size || commands[i].is_family)
			return &commands[i];
	}
	return NULL;
}

/* After the opening percent sign. Gives the byte after the closing one, or NULL when this is no command at all. */
static const char *parse_command(const char *at, struct mesh_format_piece *out)
{
	*out = (struct mesh_format_piece){ .name = at, .name_size = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"), .text = "" };
	at += out->name_size;
	if (!out->name_size)
		return NULL;
	if (*at == '(') {
		const char *end = strchr(at, ')');

		/* parameters end at the first parenthesis that a length or the end may follow */
		while (end && end[1] != '%' && end[1] != ':')
			end = strchr(end + 1, ')');
		if (!end)
			return NULL;
		out->text = at + 1;
		out->text_size = (size_t)(end - at) - 1;
		at = end + 1;
	}
	if (*at == ':') {
		size_t digits = strspn(at + 1, "0123456789");

		if (!digits)
			return NULL;
		out->max_len = (uint32_t)strtoul(at + 1, NULL, 10);
		at += 1 + digits;
	}
	return *at == '%' ? at + 1 : NULL;
}

const char *format_problem(const char *text, char *buffer, size_t size)
{
	for (const char *at = text; (at = strchr(at, '%')) != NULL;) {
		struct mesh_format_piece piece;
		const struct command *command;
		const char *end;

		if (at[1] == '%') {
			at += 2;
			continue;
		}
		end = parse_command(at + 1, &piece);
		if (!end) {
			snprintf(buffer, size, "no command at position %zu (a percent sign is written %%%%)", (size_t)(at - text));
			return buffer;
		}
		command = find_command(piece.name, piece.name_size);
		if (!command) {
			snprintf(buffer, size, "unknown command %.*s", (int)utf8_cut(piece.name, (size_t)piece.name_size, 60), piece.name);
			return buffer;
		}
		if (command->needs_parameters && !piece.text_size) {
			snprintf(buffer, size, "%s requires parameters", command->name);
			return buffer;
		}
		at = end;
	}
	return NULL;
}

bool mesh_format_next(const char **at, struct mesh_format_piece *out)
{
	const char *end;

	if (!**at)
		return false;
	*out = (struct mesh_format_piece){ .text = *at };
	if (**at != '%') {
		out->text_size = strcspn(*at, "%");
		*at += out->text_size;
		return true;
	}
	if ((*at)[1] == '%') {
		out->text_size = 1;
		*at += 2;
		return true;
	}
	end = parse_command(*at + 1, out);
	if (!end) {
		/* what was not checked: as it is */
		*out = (struct mesh_format_piece){ .text = *at, .text_size = strlen(*at) };
		*at += out->text_size;
		return true;
	}
	*at = end;
	return true;
}
