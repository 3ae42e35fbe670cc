/* SPDX-License-Identifier: Apache-2.0 */
/* What a route changes on the way, in words: a line each. */
#include "compile/dump.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	const char *name;
	bool has_text;
} variable_names[] = {
	[WEFT_VARIABLE_EMPTY] = { "NOTHING", false },
	[WEFT_VARIABLE_REQUEST] = { "REQ", true },
	[WEFT_VARIABLE_RESPONSE] = { "RESP", true },
	[WEFT_VARIABLE_PATH] = { "PATH", false },
	[WEFT_VARIABLE_PATH_WITHOUT_QUERY] = { "PATH(NQ)", false },
	[WEFT_VARIABLE_QUERY] = { "QUERY_PARAMS", false },
	[WEFT_VARIABLE_QUERY_PARAMETER] = { "QUERY_PARAM", true },
	[WEFT_VARIABLE_PROTOCOL] = { "PROTOCOL", false },
	[WEFT_VARIABLE_CLUSTER] = { "UPSTREAM_CLUSTER", false },
	[WEFT_VARIABLE_UPSTREAM_HOST] = { "UPSTREAM_HOST", false },
	[WEFT_VARIABLE_UPSTREAM_ADDRESS] = { "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", false },
	[WEFT_VARIABLE_UPSTREAM_PORT] = { "UPSTREAM_REMOTE_PORT", false },
	[WEFT_VARIABLE_REMOTE_HOST] = { "DOWNSTREAM_REMOTE_ADDRESS", false },
	[WEFT_VARIABLE_REMOTE_ADDRESS] = { "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", false },
	[WEFT_VARIABLE_REMOTE_PORT] = { "DOWNSTREAM_REMOTE_PORT", false },
	[WEFT_VARIABLE_DIRECT_HOST] = { "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", false },
	[WEFT_VARIABLE_DIRECT_ADDRESS] = { "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", false },
	[WEFT_VARIABLE_DIRECT_PORT] = { "DOWNSTREAM_DIRECT_REMOTE_PORT", false },
	[WEFT_VARIABLE_LOCAL_HOST] = { "DOWNSTREAM_LOCAL_ADDRESS", false },
	[WEFT_VARIABLE_LOCAL_ADDRESS] = { "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", false },
	[WEFT_VARIABLE_LOCAL_PORT] = { "DOWNSTREAM_LOCAL_PORT", false },
	[WEFT_VARIABLE_BYTES_RECEIVED] = { "BYTES_RECEIVED", false },
	[WEFT_VARIABLE_STATUS] = { "RESPONSE_CODE", false },
	[WEFT_VARIABLE_FLAGS] = { "RESPONSE_FLAGS", false },
	[WEFT_VARIABLE_START_TIME] = { "START_TIME", true },
};

static void put_text(struct dump *dump, weft_ref ref, struct strbuf *out)
{
	const struct weft_text *text = view_text(&dump->view, ref);

	if (text)
		strbuf_append(out, text->bytes, text->len);
	else
		dump_fail(dump, -EINVAL);
}

static void put_piece(struct dump *dump, const struct weft_format_piece *piece, struct strbuf *out)
{
	if (piece->kind == WEFT_VARIABLE_LITERAL) {
		put_text(dump, piece->text, out);
		return;
	}
	if (piece->kind >= WEFT_ARRAY_SIZE(variable_names)) {
		dump_fail(dump, -EINVAL);
		return;
	}
	strbuf_printf(out, "%%%s", variable_names[piece->kind].name);
	if (variable_names[piece->kind].has_text) {
		strbuf_append_byte(out, '(');
		put_text(dump, piece->text, out);
		if (piece->other) {
			strbuf_append_byte(out, '?');
			put_text(dump, piece->other, out);
		}
		strbuf_append_byte(out, ')');
	}
	if (piece->max_len)
		strbuf_printf(out, ":%u", piece->max_len);
	strbuf_append_byte(out, '%');
}

static void put_value(struct dump *dump, const struct weft_edit *edit, struct strbuf *out)
{
	const struct weft_format *format;
	uint32_t i;

	strbuf_append_text(out, " \"");
	if (edit->flags & WEFT_EDIT_FORMAT) {
		format = view_at(&dump->view, edit->value, 1, sizeof(*format));
		if (!format || !view_at(&dump->view, edit->value, sizeof(*format) + (uint64_t)format->count * sizeof(format->items[0]), 1)) {
			dump_fail(dump, -EINVAL);
			return;
		}
		for (i = 0; i < format->count; i++)
			put_piece(dump, &format->items[i], out);
	} else {
		put_text(dump, edit->value, out);
	}
	strbuf_append_byte(out, '"');
	if (edit->flags & WEFT_EDIT_KEEP_EMPTY)
		strbuf_append_text(out, " (even if empty)");
}

static const char *edit_word(uint8_t action)
{
	switch (action) {
	case WEFT_EDIT_OVERWRITE: return "set to";
	case WEFT_EDIT_OVERWRITE_IF_EXISTS: return "if there, set to";
	case WEFT_EDIT_ADD_IF_ABSENT: return "if not there, added";
	case WEFT_EDIT_APPEND: return "added";
	}
	return "?";
}

struct changes {
	struct dump *dump;
	json_t *array;
	struct strbuf line;
};

static void end_line(struct changes *changes)
{
	dump_append(changes->dump, changes->array, dump_string(changes->dump, strbuf_text(&changes->line), changes->line.size));
	strbuf_truncate(&changes->line, 0);
}

static void add_edits(struct changes *changes, weft_ref ref, const char *what)
{
	struct dump *dump = changes->dump;
	const struct weft_edits *edits = ref ? view_at(&dump->view, ref, 1, sizeof(*edits)) : NULL;
	uint32_t i;

	if (!ref)
		return;
	if (!edits || !view_at(&dump->view, ref, sizeof(*edits) + (uint64_t)edits->count * sizeof(edits->items[0]), 1)) {
		dump_fail(dump, -EINVAL);
		return;
	}
	for (i = 0; i < edits->count; i++) {
		const struct weft_edit *edit = &edits->items[i];

		strbuf_printf(&changes->line, "%s header ", what);
		put_text(dump, edit->name, &changes->line);
		if (edit->action == WEFT_EDIT_REMOVE) {
			strbuf_append_text(&changes->line, " removed");
		} else {
			strbuf_printf(&changes->line, " %s", edit_word(edit->action));
			put_value(dump, edit, &changes->line);
		}
		end_line(changes);
	}
}

static void add_path(struct changes *changes, const struct weft_path_rewrite *rewrite)
{
	struct dump *dump = changes->dump;

	if (rewrite->prefix) {
		if (rewrite->matched_len == WEFT_WHOLE_PATH)
			strbuf_append_text(&changes->line, "path: \"");
		else
			strbuf_printf(&changes->line, "path: the first %u bytes%s become \"", rewrite->matched_len,
				      rewrite->flags & WEFT_REWRITE_TAKES_SLASH ? " and a slash after them" : "");
		put_text(dump, rewrite->prefix, &changes->line);
		strbuf_append_byte(&changes->line, '"');
		end_line(changes);
	} else if (rewrite->pattern) {
		strbuf_append_text(&changes->line, "path: what matches \"");
		put_text(dump, rewrite->pattern, &changes->line);
		strbuf_append_text(&changes->line, "\" becomes \"");
		put_text(dump, rewrite->substitution, &changes->line);
		strbuf_append_byte(&changes->line, '"');
		end_line(changes);
	}
}

static void add_host(struct changes *changes, const struct weft_rewrite *rewrite)
{
	if (!rewrite->host_kind)
		return;
	if (rewrite->host_kind == WEFT_HOST_AUTO) {
		strbuf_printf(&changes->line, "host: the endpoint's name%s", rewrite->appends_host ? ", the former one goes to x-forwarded-host" : "");
		end_line(changes);
		return;
	}
	strbuf_append_text(&changes->line, rewrite->host_kind == WEFT_HOST_LITERAL ? "host: \"" :
			   rewrite->host_kind == WEFT_HOST_HEADER ? "host: as header \"" : "host: the path, where what matches \"");
	put_text(changes->dump, rewrite->host, &changes->line);
	if (rewrite->host_kind == WEFT_HOST_PATH_REGEX) {
		strbuf_append_text(&changes->line, "\" becomes \"");
		put_text(changes->dump, rewrite->substitution, &changes->line);
	}
	strbuf_append_text(&changes->line, rewrite->appends_host ? "\", the former one goes to x-forwarded-host" : "\"");
	end_line(changes);
}

static void add_redirect(struct changes *changes, const struct weft_redirect *redirect)
{
	static const char *const parts[] = { "scheme", "host", "path" };
	const weft_ref refs[] = { redirect->scheme, redirect->host, redirect->path };
	size_t i;

	strbuf_printf(&changes->line, "redirect %u", redirect->status);
	for (i = 0; i < WEFT_ARRAY_SIZE(parts); i++) {
		if (!refs[i])
			continue;
		strbuf_printf(&changes->line, ", %s \"", parts[i]);
		put_text(changes->dump, refs[i], &changes->line);
		strbuf_append_byte(&changes->line, '"');
	}
	if (redirect->port)
		strbuf_printf(&changes->line, ", port %u", redirect->port);
	if (redirect->flags & WEFT_REDIRECT_STRIPS_QUERY)
		strbuf_append_text(&changes->line, ", without the query");
	end_line(changes);
	add_path(changes, &redirect->rewrite);
}

static void add_weights(struct changes *changes, weft_ref ref, const struct weft_choice *choice)
{
	const struct weft_weight *weights = choice ? view_at(&changes->dump->view, ref, choice->count, sizeof(*weights)) : NULL;
	uint32_t i;
	char what[40];

	if (!weights) {
		dump_fail(changes->dump, -EINVAL);
		return;
	}
	for (i = 0; i < choice->count; i++) {
		if (weights[i].host) {
			strbuf_printf(&changes->line, "cluster %u: host \"", i);
			put_text(changes->dump, weights[i].host, &changes->line);
			strbuf_append_byte(&changes->line, '"');
			end_line(changes);
		}
		snprintf(what, sizeof(what), "cluster %u: request", i);
		add_edits(changes, weights[i].request_edits, what);
		snprintf(what, sizeof(what), "cluster %u: response", i);
		add_edits(changes, weights[i].response_edits, what);
	}
}

json_t *dump_changes(struct dump *dump, const struct weft_route *route)
{
	const struct weft_route_extras *extras = view_at(&dump->view, route->extras, 1, sizeof(*extras));
	struct changes changes = { dump, json_array(), STRBUF_INIT };
	const struct weft_redirect *redirect;
	const struct weft_rewrite *rewrite;

	if (!extras) {
		dump_fail(dump, -EINVAL);
		return changes.array;
	}
	redirect = view_at(&dump->view, extras->redirect, 1, sizeof(*redirect));
	rewrite = view_at(&dump->view, extras->rewrite, 1, sizeof(*rewrite));
	if ((extras->redirect && !redirect) || (extras->rewrite && !rewrite))
		dump_fail(dump, -EINVAL);
	if (redirect)
		add_redirect(&changes, redirect);
	if (rewrite) {
		add_path(&changes, &rewrite->path);
		add_host(&changes, rewrite);
	}
	if (extras->weights)
		add_weights(&changes, extras->weights, view_at(&dump->view, route->choice, 1, sizeof(struct weft_choice)));
	if (!extras->weights) {
		add_edits(&changes, extras->request_edits, "request");
		add_edits(&changes, extras->response_edits, "response");
	}
	if (strbuf_status(&changes.line))
		dump_fail(dump, strbuf_status(&changes.line));
	strbuf_release(&changes.line);
	return changes.array;
}

struct json_t *compile_route_changes(const uint8_t *base, uint32_t size_bytes, const struct weft_route *route)
{
	struct dump dump = { .view = { base, size_bytes } };

	return route->extras ? dump_changes(&dump, route) : json_array();
}
