/* SPDX-License-Identifier: Apache-2.0 */
/* Header edits as Envoy's HeaderParser makes them, and the variables in their values. */
#include "proxy/edit.h"

#include <arpa/inet.h>
#include <time.h>

#include "base/strbuf.h"

void edited_free(struct edited **edited)
{
	if (!*edited)
		return;
	published_put((*edited)->routes);
	free((*edited)->request);
	free((*edited)->bytes);
	if ((*edited)->size)
		memory_give((*edited)->thread, (*edited)->share, (*edited)->size);
	free(*edited);
	*edited = NULL;
}

/* ---- variables --------------------------------------------------------------------------------------------------------------- */

static struct text_span text_at(const struct weft_image_handle *image, weft_ref ref)
{
	const struct weft_text *text = ref ? weft_at(image, ref) : NULL;

	return text ? (struct text_span){text->bytes, text->len} : (struct text_span){(const u8 *)"", 0};
}

static bool is_span(struct text_span span, const char *text)
{
	return span.len == strlen(text) && !memcmp(span.bytes, text, span.len);
}

static void put_span(struct strbuf *out, const u8 *bytes, u32 len)
{
	strbuf_append(out, bytes, len);
}

/* False: there is no such header. Of several lines the first. */
static bool put_header(const struct lines *lines, struct text_span name, struct strbuf *out)
{
	const struct name wanted = {name.bytes, name.len, weft_name_hash(name.bytes, name.len)};
	const struct line *line = lines ? lines_look(lines, &wanted) : NULL;

	if (!line)
		return false;
	put_span(out, lines->text + line->value, line->value_len);
	return true;
}

static bool put_request_header(const struct edit_context *context, struct text_span name, struct strbuf *out)
{
	if (is_span(name, ":path"))
		put_span(out, context->target, context->target_len);
	else if (is_span(name, ":method"))
		put_span(out, context->method, context->method_len);
	else if (is_span(name, ":authority") || is_span(name, "host"))
		put_span(out, context->authority, context->authority_len);
	else if (is_span(name, ":scheme"))
		strbuf_append_text(out, context->is_https ? "https" : "http");
	else
		return put_header(context->request, name, out);
	return true;
}

static bool put_response_header(const struct edit_context *context, struct text_span name, struct strbuf *out)
{
	if (!is_span(name, ":status"))
		return put_header(context->response, name, out);
	strbuf_printf(out, "%u", context->exchange->status);
	return true;
}

static void put_headers(const struct edit_context *context, const struct weft_format_piece *piece, struct strbuf *out,
			bool (*put)(const struct edit_context *context, struct text_span name, struct strbuf *out))
{
	if (!put(context, text_at(&context->image, piece->text), out) && piece->other)
		put(context, text_at(&context->image, piece->other), out);
}

static u32 path_len(const struct edit_context *context)
{
	const u8 *mark = memchr(context->target, '?', context->target_len);

	return mark ? (u32)(mark - context->target) : context->target_len;
}

/* The first parameter of the name, as it stands there. */
static void put_query_parameter(const struct edit_context *context, struct text_span name, struct strbuf *out)
{
	const u8 *at = context->target + path_len(context), *end = context->target + context->target_len;

	while (at < end) {
		const u8 *next = memchr(at + 1, '&', (size_t)(end - at - 1)), *mark;

		at++;
		next = next ? next : end;
		mark = memchr(at, '=', (size_t)(next - at));
		if ((size_t)((mark ? mark : next) - at) == name.len && !memcmp(at, name.bytes, name.len)) {
			if (mark)
				put_span(out, mark + 1, (u32)(next - mark - 1));
			return;
		}
		at = next;
	}
}

enum part { PART_HOST, PART_ADDRESS, PART_PORT };

static void put_address(struct strbuf *out, const struct weft_address *address, u16 port_be, enum part part)
{
	switch (part) {
	case PART_HOST: strbuf_append_text(out, weft_host_text(address, port_be).text); break;
	case PART_ADDRESS: strbuf_append_text(out, weft_address_text(address).text); break;
	case PART_PORT: strbuf_printf(out, "%u", ntohs(port_be)); break;
	}
}

/* Envoy, use_remote_address false: the last address of x-forwarded-for, without a port; without one the client's own. */
static void put_remote(const struct edit_context *context, enum part part, struct strbuf *out)
{
	static const u8 name[] = "x-forwarded-for";
	const struct connection *connection = context->connection;
	struct strbuf list = STRBUF_INIT;
	char ip[INET6_ADDRSTRLEN] = "";
	const char *last;
	u8 address[16];

	if (put_header(context->request, (struct text_span){name, sizeof(name) - 1}, &list)) {
		last = strrchr(strbuf_text(&list), ',');
		last = last ? last + 1 : strbuf_text(&list);
		last += strspn(last, " \t");
		snprintf(ip, sizeof(ip), "%.*s", (int)strcspn(last, " \t"), last);
	}
	if (inet_pton(AF_INET, ip, address) == 1 || inet_pton(AF_INET6, ip, address) == 1)
		strbuf_printf(out, part == PART_PORT ? "0" : part == PART_ADDRESS ? "%s" : strchr(ip, ':') ? "[%s]:0" : "%s:0", ip);
	else
		put_address(out, client_address(connection), connection->client_port_be, part);
	strbuf_release(&list);
}

static void put_upstream(const struct edit_context *context, enum part part, struct strbuf *out)
{
	const struct upstream *upstream = context->exchange->upstream;

	if (upstream && context->response)
		put_address(out, &upstream->key.address, (u16)upstream->key.port_be, part);
}

static void put_cluster(const struct edit_context *context, struct strbuf *out)
{
	struct weft_image_handle image = thread_endpoints(context->connection->thread, context->connection->pod->is.scope);
	const struct weft_cluster *cluster = image.base ? weft_at(&image, weft_find_cluster(&image, context->cluster_id)) : NULL;
	const struct weft_text *name = cluster && cluster->name ? weft_at(&image, cluster->name) : NULL;

	if (name)
		put_span(out, name->bytes, name->len);
}

static void put_start_time(const struct edit_context *context, struct text_span format, struct strbuf *out)
{
	time_t seconds = (time_t)(context->start_ms / 1000);
	char text[256], pattern[256];
	struct tm parts;

	gmtime_r(&seconds, &parts);
	if (format.len) {
		snprintf(pattern, sizeof(pattern), "%.*s", (int)format.len, (const char *)format.bytes);
		text[strftime(text, sizeof(text), pattern, &parts)] = 0;
		strbuf_append_text(out, text);
		return;
	}
	text[strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts)] = 0;
	strbuf_printf(out, "%s.%03uZ", text, (unsigned)(context->start_ms % 1000));
}

static void put_variable(const struct edit_context *context, const struct weft_format_piece *piece, struct strbuf *out)
{
	const struct connection *connection = context->connection;
	struct text_span text = text_at(&context->image, piece->text);

	switch ((enum weft_variable)piece->kind) {
	case WEFT_VARIABLE_LITERAL: put_span(out, text.bytes, text.len); break;
	case WEFT_VARIABLE_EMPTY: break;
	case WEFT_VARIABLE_REQUEST: put_headers(context, piece, out, put_request_header); break;
	case WEFT_VARIABLE_RESPONSE: put_headers(context, piece, out, put_response_header); break;
	case WEFT_VARIABLE_PATH: put_span(out, context->target, context->target_len); break;
	case WEFT_VARIABLE_PATH_WITHOUT_QUERY: put_span(out, context->target, path_len(context)); break;
	case WEFT_VARIABLE_QUERY: put_span(out, context->target + path_len(context), context->target_len - path_len(context)); break;
	case WEFT_VARIABLE_QUERY_PARAMETER: put_query_parameter(context, text, out); break;
	case WEFT_VARIABLE_PROTOCOL: strbuf_append_text(out, context->exchange->is_http_10 ? "HTTP/1.0" : "HTTP/1.1"); break;
	case WEFT_VARIABLE_CLUSTER: put_cluster(context, out); break;
	case WEFT_VARIABLE_UPSTREAM_HOST: put_upstream(context, PART_HOST, out); break;
	case WEFT_VARIABLE_UPSTREAM_ADDRESS: put_upstream(context, PART_ADDRESS, out); break;
	case WEFT_VARIABLE_UPSTREAM_PORT: put_upstream(context, PART_PORT, out); break;
	case WEFT_VARIABLE_REMOTE_HOST: put_remote(context, PART_HOST, out); break;
	case WEFT_VARIABLE_REMOTE_ADDRESS: put_remote(context, PART_ADDRESS, out); break;
	case WEFT_VARIABLE_REMOTE_PORT: put_remote(context, PART_PORT, out); break;
	case WEFT_VARIABLE_DIRECT_HOST: put_address(out, client_address(connection), connection->client_port_be, PART_HOST); break;
	case WEFT_VARIABLE_DIRECT_ADDRESS: put_address(out, client_address(connection), 0, PART_ADDRESS); break;
	case WEFT_VARIABLE_DIRECT_PORT: put_address(out, NULL, connection->client_port_be, PART_PORT); break;
	case WEFT_VARIABLE_LOCAL_HOST: put_address(out, &connection->original, connection->original_port_be, PART_HOST); break;
	case WEFT_VARIABLE_LOCAL_ADDRESS: put_address(out, &connection->original, 0, PART_ADDRESS); break;
	case WEFT_VARIABLE_LOCAL_PORT: put_address(out, NULL, connection->original_port_be, PART_PORT); break;
	case WEFT_VARIABLE_BYTES_RECEIVED: strbuf_printf(out, "%llu", (unsigned long long)context->body_bytes); break;
	case WEFT_VARIABLE_STATUS:
		if (context->response)
			strbuf_printf(out, "%u", context->code);
		break;
	/* The flags of a response that went well; others have no edits. */
	case WEFT_VARIABLE_FLAGS:
		if (context->response)
			strbuf_append_text(out, "-");
		break;
	case WEFT_VARIABLE_START_TIME: put_start_time(context, text, out); break;
	}
}

static void put_format(const struct edit_context *context, const struct weft_format *format, struct strbuf *out)
{
	for (u32 i = 0; i < format->count; i++) {
		size_t before = out->size;

		put_variable(context, &format->items[i], out);
		if (format->items[i].max_len && out->size - before > format->items[i].max_len)
			strbuf_truncate(out, before + format->items[i].max_len);
	}
}

/* ---- edits -------------------------------------------------------------------------------------------------------------------- */

static struct name name_of_edit(const struct weft_image_handle *image, const struct weft_edit *edit)
{
	struct text_span text = text_at(image, edit->name);

	return (struct name){text.bytes, text.len, edit->name_hash};
}

/* The values of one level, evaluated before any of its edits acts. */
struct values {
	struct strbuf text;
	size_t ends[LINES_MAX];
	bool acts[LINES_MAX];
};

static bool acts(const struct weft_edit *edit, const struct name *name, const struct lines *lines, size_t value_len)
{
	if (!value_len && !(edit->flags & WEFT_EDIT_KEEP_EMPTY))
		return false;
	if (edit->action == WEFT_EDIT_ADD_IF_ABSENT)
		return !lines_look(lines, name);
	if (edit->action == WEFT_EDIT_OVERWRITE_IF_EXISTS)
		return lines_look(lines, name);
	return true;
}

static void evaluate(const struct edit_context *context, const struct weft_edit *edits, u32 count, const struct lines *lines, struct values *values)
{
	size_t begin = 0;

	for (u32 i = 0; i < count; i++) {
		const struct name name = name_of_edit(&context->image, &edits[i]);

		if (edits[i].action == WEFT_EDIT_REMOVE) {
			values->ends[i] = begin;
			continue;
		}
		if (edits[i].flags & WEFT_EDIT_FORMAT) {
			put_format(context, weft_at(&context->image, edits[i].value), &values->text);
		} else {
			struct text_span text = text_at(&context->image, edits[i].value);

			put_span(&values->text, text.bytes, text.len);
		}
		values->acts[i] = acts(&edits[i], &name, lines, values->text.size - begin);
		values->ends[i] = begin = values->text.size;
	}
}

/* What a level adds stands in the order of its list; what it overwrites stands before (the compiler put it there). */
static void apply_level(const struct edit_context *context, const struct weft_edit *edits, u32 count, struct lines *lines)
{
	struct values values = {.text = STRBUF_INIT};
	size_t begin = 0;

	for (u32 i = 0; i < count; i++) {
		const struct name name = name_of_edit(&context->image, &edits[i]);

		if (edits[i].action == WEFT_EDIT_REMOVE)
			lines_remove(lines, &name);
	}
	evaluate(context, edits, count, lines, &values);
	for (u32 i = 0; i < count; i++) {
		const struct name name = name_of_edit(&context->image, &edits[i]);
		const u8 *value = (const u8 *)strbuf_text(&values.text) + begin;
		u32 len = (u32)(values.ends[i] - begin);

		begin = values.ends[i];
		if (edits[i].action == WEFT_EDIT_REMOVE || !values.acts[i])
			continue;
		if (edits[i].action == WEFT_EDIT_OVERWRITE || edits[i].action == WEFT_EDIT_OVERWRITE_IF_EXISTS)
			lines_set(lines, &name, value, len);
		else
			lines_append(lines, &name, value, len);
	}
	if (strbuf_status(&values.text))
		lines->is_full = true;
	strbuf_release(&values.text);
}

void edits_apply(const struct edit_context *context, weft_ref ref, struct lines *lines)
{
	const struct weft_edits *edits = ref ? weft_at(&context->image, ref) : NULL;
	u32 first = 0, end;

	for (; edits && first < edits->count; first = end) {
		for (end = first; end < edits->count && edits->items[end].level == edits->items[first].level; end++)
			;
		if (end - first > LINES_MAX) {
			lines->is_full = true;
			return;
		}
		apply_level(context, edits->items + first, end - first, lines);
	}
}
