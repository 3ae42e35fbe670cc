/* SPDX-License-Identifier: Apache-2.0 */
/* Header edits: the lists of all levels become one, in the order in which they act. Values with variables become lists of pieces. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"
#include "weft/names.h"

#define VALUE_MAX 60000u /* more than any head may have */
#define EDITS_MAX ((BUILDER_OBJECT_MAX - sizeof(struct weft_edits)) / sizeof(struct weft_edit)) /* of one message: the list lies in one page */

/* ---- variables ------------------------------------------------------------------------------------------------------------------- */

/* `takes`: what may stand in parentheses. */
static const struct variable {
	const char *name;
	enum weft_variable kind;
	enum { TAKES_NOTHING, TAKES_HEADERS, TAKES_NAME, TAKES_TIME, TAKES_PATH, TAKES_ANY } takes;
} variables[] = {
	{ "REQ", WEFT_VARIABLE_REQUEST, TAKES_HEADERS },
	{ "RESP", WEFT_VARIABLE_RESPONSE, TAKES_HEADERS },
	{ "PATH", WEFT_VARIABLE_PATH, TAKES_PATH },
	{ "QUERY_PARAM", WEFT_VARIABLE_QUERY_PARAMETER, TAKES_NAME },
	{ "QUERY_PARAMS", WEFT_VARIABLE_QUERY, TAKES_NOTHING },
	{ "PROTOCOL", WEFT_VARIABLE_PROTOCOL, TAKES_NOTHING },
	{ "UPSTREAM_CLUSTER", WEFT_VARIABLE_CLUSTER, TAKES_NOTHING },
	{ "UPSTREAM_CLUSTER_RAW", WEFT_VARIABLE_CLUSTER, TAKES_NOTHING },
	{ "UPSTREAM_HOST", WEFT_VARIABLE_UPSTREAM_HOST, TAKES_NOTHING },
	{ "UPSTREAM_REMOTE_ADDRESS", WEFT_VARIABLE_UPSTREAM_HOST, TAKES_NOTHING },
	{ "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", WEFT_VARIABLE_UPSTREAM_ADDRESS, TAKES_NOTHING },
	{ "UPSTREAM_REMOTE_PORT", WEFT_VARIABLE_UPSTREAM_PORT, TAKES_NOTHING },
	{ "DOWNSTREAM_REMOTE_ADDRESS", WEFT_VARIABLE_REMOTE_HOST, TAKES_NOTHING },
	{ "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", WEFT_VARIABLE_REMOTE_ADDRESS, TAKES_NOTHING },
	{ "DOWNSTREAM_REMOTE_PORT", WEFT_VARIABLE_REMOTE_PORT, TAKES_NOTHING },
	{ "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", WEFT_VARIABLE_DIRECT_HOST, TAKES_NOTHING },
	{ "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", WEFT_VARIABLE_DIRECT_ADDRESS, TAKES_NOTHING },
	{ "DOWNSTREAM_DIRECT_REMOTE_PORT", WEFT_VARIABLE_DIRECT_PORT, TAKES_NOTHING },
	{ "DOWNSTREAM_LOCAL_ADDRESS", WEFT_VARIABLE_LOCAL_HOST, TAKES_NOTHING },
	{ "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", WEFT_VARIABLE_LOCAL_ADDRESS, TAKES_NOTHING },
	{ "DOWNSTREAM_LOCAL_PORT", WEFT_VARIABLE_LOCAL_PORT, TAKES_NOTHING },
	{ "BYTES_RECEIVED", WEFT_VARIABLE_BYTES_RECEIVED, TAKES_NOTHING },
	{ "RESPONSE_CODE", WEFT_VARIABLE_STATUS, TAKES_NOTHING },
	{ "RESPONSE_FLAGS", WEFT_VARIABLE_FLAGS, TAKES_NOTHING },
	{ "START_TIME", WEFT_VARIABLE_START_TIME, TAKES_TIME },
	/* Nothing in weft sets these, so they are as in an Envoy where nothing does. */
	{ "DYNAMIC_METADATA", WEFT_VARIABLE_EMPTY, TAKES_ANY },
	{ "FILTER_STATE", WEFT_VARIABLE_EMPTY, TAKES_ANY },
	{ "UPSTREAM_FILTER_STATE", WEFT_VARIABLE_EMPTY, TAKES_ANY },
	{ "REQUESTED_SERVER_NAME", WEFT_VARIABLE_EMPTY, TAKES_NOTHING },
};

struct format_compile {
	struct routes_compile *c;
	const struct edits_names *names;
	struct strbuf literal;
	struct weft_format_piece *items;
	uint32_t count, capacity;
};

static int add_piece(struct format_compile *f, const struct weft_format_piece *piece)
{
	if (f->count == f->capacity) {
		uint32_t capacity = f->capacity ? f->capacity * 2 : 8;
		struct weft_format_piece *grown = reallocarray(f->items, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		f->items = grown;
		f->capacity = capacity;
	}
	f->items[f->count++] = *piece;
	return 0;
}

static int end_literal(struct format_compile *f)
{
	struct weft_format_piece piece = { .kind = WEFT_VARIABLE_LITERAL };

	if (!f->literal.size)
		return strbuf_status(&f->literal);
	piece.text = builder_bytes_text(&f->c->builder, f->literal.data, f->literal.size);
	strbuf_truncate(&f->literal, 0);
	return add_piece(f, &piece);
}

static bool is_name(const struct mesh_format_piece *piece, const char *name)
{
	return piece->name_size == strlen(name) && !memcmp(piece->name, name, piece->name_size);
}

static const struct variable *find_variable(const struct mesh_format_piece *piece)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(variables); i++)
		if (is_name(piece, variables[i].name))
			return &variables[i];
	return NULL;
}

static weft_ref lower_text(struct routes_compile *c, const char *text, size_t size)
{
	struct strbuf lower = STRBUF_INIT;
	weft_ref ref = 0;
	size_t i;

	for (i = 0; i < size; i++)
		strbuf_append_byte(&lower, (char)weft_lower((uint8_t)text[i]));
	if (!strbuf_status(&lower))
		ref = builder_bytes_text(&c->builder, strbuf_text(&lower), lower.size);
	else if (!c->builder.status)
		c->builder.status = strbuf_status(&lower);
	strbuf_release(&lower);
	return ref;
}

/* %REQ(x?y)%: y where there is no x. */
static void header_names(struct routes_compile *c, const struct mesh_format_piece *source, struct weft_format_piece *piece)
{
	const char *mark = memchr(source->text, '?', source->text_size);
	size_t first = mark ? (size_t)(mark - source->text) : source->text_size;

	piece->text = lower_text(c, source->text, first);
	if (mark)
		piece->other = lower_text(c, mark + 1, source->text_size - first - 1);
}

/* Of strftime, what Envoy's formatter and every libc understand alike. */
static bool is_plain_time(const char *text, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		if (text[i] == '%' && (++i == size || !strchr("YmdHMSyjeaAbBpIZTFDnt%s", text[i])))
			return false;
	return true;
}

/* Values that are known here become literals. */
static bool add_known(struct format_compile *f, const struct mesh_format_piece *source)
{
	char name[256];
	const char *value;

	if (is_name(source, "ROUTE_NAME")) {
		strbuf_append_text(&f->literal, f->names->route);
	} else if (is_name(source, "VIRTUAL_HOST_NAME")) {
		strbuf_append_text(&f->literal, f->names->virtual_host);
	} else if (is_name(source, "ENVIRONMENT") && source->text_size < sizeof(name)) {
		snprintf(name, sizeof(name), "%.*s", (int)source->text_size, source->text);
		value = getenv(name);
		strbuf_append_text(&f->literal, value ? value : "-");
	} else {
		return false;
	}
	return true;
}

static int add_variable(struct format_compile *f, const struct mesh_format_piece *source, struct strbuf *unsupported)
{
	const struct variable *variable = find_variable(source);
	struct weft_format_piece piece = { .max_len = source->max_len };
	int r;

	if (!source->max_len && add_known(f, source))
		return 0;
	if (!variable || (variable->takes == TAKES_NOTHING && source->text_size) ||
	    (variable->takes == TAKES_TIME && !is_plain_time(source->text, source->text_size))) {
		reason_add(unsupported, "the variable %%%.*s%s%.*s%s%% in a header is not supported", (int)WEFT_MIN(source->name_size, (size_t)60),
			   source->name, source->text_size ? "(" : "", (int)WEFT_MIN(source->text_size, (size_t)60), source->text,
			   source->text_size ? ")" : "");
		return 0;
	}
	r = end_literal(f);
	if (r)
		return r;
	piece.kind = variable->kind;
	switch (variable->takes) {
	case TAKES_HEADERS: header_names(f->c, source, &piece); break;
	case TAKES_PATH:
		if (source->text_size >= 2 && !memcmp(source->text, "NQ", 2))
			piece.kind = WEFT_VARIABLE_PATH_WITHOUT_QUERY;
		break;
	case TAKES_NAME:
	case TAKES_TIME: piece.text = builder_bytes_text(&f->c->builder, source->text, source->text_size); break;
	case TAKES_NOTHING:
	case TAKES_ANY: break;
	}
	return add_piece(f, &piece);
}

static int write_format(struct format_compile *f, weft_ref *out)
{
	_cleanup_free_ struct weft_format *format = calloc(1, sizeof(*format) + f->count * sizeof(format->items[0]));

	if (!format)
		return -ENOMEM;
	format->count = f->count;
	if (f->count)
		memcpy(format->items, f->items, f->count * sizeof(format->items[0]));
	*out = builder_share(&f->c->builder, format, sizeof(*format) + f->count * sizeof(format->items[0]));
	return builder_status(&f->c->builder);
}

/* A literal text where there is nothing else in it. */
static int value_compile(struct routes_compile *c, const struct edits_names *names, const char *value, uint8_t *flags, weft_ref *out,
			 struct strbuf *unsupported)
{
	struct format_compile f = { .c = c, .names = names, .literal = STRBUF_INIT };
	struct mesh_format_piece piece;
	int r = 0;

	while (!r && mesh_format_next(&value, &piece)) {
		if (piece.name)
			r = add_variable(&f, &piece, unsupported);
		else
			r = strbuf_append(&f.literal, piece.text, piece.text_size);
	}
	if (!r && !f.count) {
		*out = builder_bytes_text(&c->builder, strbuf_text(&f.literal), f.literal.size);
		r = strbuf_status(&f.literal) ? strbuf_status(&f.literal) : builder_status(&c->builder);
	} else if (!r) {
		*flags |= WEFT_EDIT_FORMAT;
		r = end_literal(&f);
		if (!r)
			r = write_format(&f, out);
	}
	strbuf_release(&f.literal);
	free(f.items);
	return r;
}

/* ---- edits ----------------------------------------------------------------------------------------------------------------------- */

static int add_edit(struct routes_compile *c, struct weft_edits *edits, const char *name, uint8_t level, enum weft_edit_action action)
{
	struct weft_edit *edit = &edits->items[edits->count++];
	size_t len = strlen(name);

	edit->action = (uint8_t)action;
	edit->level = level;
	edit->name_len = (uint8_t)WEFT_MIN(len, (size_t)UINT8_MAX);
	edit->name_hash = weft_name_hash((const uint8_t *)name, (uint32_t)len);
	edit->name = builder_bytes_text(&c->builder, name, len);
	return builder_status(&c->builder);
}

static enum weft_edit_action action_of(enum mesh_append action)
{
	switch (action) {
	case MESH_APPEND_IF_EXISTS_OR_ADD: return WEFT_EDIT_APPEND;
	case MESH_ADD_IF_ABSENT: return WEFT_EDIT_ADD_IF_ABSENT;
	case MESH_OVERWRITE_IF_EXISTS_OR_ADD: return WEFT_EDIT_OVERWRITE;
	case MESH_OVERWRITE_IF_EXISTS: return WEFT_EDIT_OVERWRITE_IF_EXISTS;
	}
	return WEFT_EDIT_APPEND;
}

static bool is_overwriting(enum mesh_append action)
{
	return action == MESH_OVERWRITE_IF_EXISTS_OR_ADD || action == MESH_OVERWRITE_IF_EXISTS;
}

static int add_adds(struct routes_compile *c, const struct edits_names *names, struct weft_edits *edits, const struct mesh_header_add *adds,
		    size_t count, uint8_t level, bool overwrites, struct strbuf *unsupported)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < count; i++) {
		struct weft_edit *edit = &edits->items[edits->count];

		if (is_overwriting(adds[i].action) != overwrites)
			continue;
		if (strlen(adds[i].value) > VALUE_MAX) {
			reason_add(unsupported, "a header value of more than %u bytes is not supported", VALUE_MAX);
			continue;
		}
		r = add_edit(c, edits, adds[i].name, level, action_of(adds[i].action));
		if (!r)
			r = value_compile(c, names, adds[i].value, &edit->flags, &edit->value, unsupported);
		if (adds[i].keep_empty_value)
			edit->flags |= WEFT_EDIT_KEEP_EMPTY;
		edits->flags |= edit->flags & WEFT_EDIT_FORMAT;
	}
	return r;
}

static int add_level(struct routes_compile *c, const struct edits_names *names, struct weft_edits *edits, const struct mesh_header_edits *source,
		     bool is_request, uint8_t level, struct strbuf *unsupported)
{
	const struct mesh_texts *removed = is_request ? &source->request_remove : &source->response_remove;
	const struct mesh_header_add *adds = is_request ? source->request_add : source->response_add;
	size_t count = is_request ? source->request_add_count : source->response_add_count, i;
	int r = 0;

	for (i = 0; !r && i < removed->count; i++)
		r = add_edit(c, edits, removed->items[i], level, WEFT_EDIT_REMOVE);
	if (!r)
		r = add_adds(c, names, edits, adds, count, level, true, unsupported);
	if (!r)
		r = add_adds(c, names, edits, adds, count, level, false, unsupported);
	return r;
}

static size_t edit_count(const struct mesh_header_edits *edits, bool is_request)
{
	return is_request ? edits->request_add_count + edits->request_remove.count : edits->response_add_count + edits->response_remove.count;
}

int edits_compile(struct routes_compile *c, const struct edits_names *names, const struct mesh_header_edits *const *levels, size_t level_count,
		  bool is_request, weft_ref *out, struct strbuf *unsupported)
{
	_cleanup_free_ struct weft_edits *edits = NULL;
	size_t i, count = 0;
	int r = 0;

	*out = 0;
	for (i = 0; i < level_count; i++)
		count += edit_count(levels[i], is_request);
	if (!count)
		return 0;
	if (count > EDITS_MAX) {
		reason_add(unsupported, "%zu header edits are more than an image holds in one piece (%zu)", count, EDITS_MAX);
		return 0;
	}
	edits = calloc(1, sizeof(*edits) + count * sizeof(edits->items[0]));
	if (!edits)
		return -ENOMEM;
	for (i = 0; !r && i < level_count; i++)
		r = add_level(c, names, edits, levels[i], is_request, (uint8_t)i, unsupported);
	if (r)
		return r;
	*out = builder_share(&c->builder, edits, sizeof(*edits) + count * sizeof(edits->items[0]));
	return builder_status(&c->builder);
}
