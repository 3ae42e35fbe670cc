/* SPDX-License-Identifier: Apache-2.0 */
/* What rewrites and header edits of all levels do to a request together, worked out as far as it can be without the request: which names of the
 * client's go, what is added, and what hangs on whether the client sent a name. The kernel then needs one pass over a head. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "compile/routes.h"
#include "weft/names.h"

#define NAMES_MAX (2 * WEFT_CHANGES_MAX) /* that are edited; those that need no looking for don't count in the kernel */

/* What becomes of the lines of one name. */
struct fate {
	char name[WEFT_CHANGE_NAME_MAX];
	uint32_t len, hash;
	bool is_removed;            /* the client's */
	enum weft_edit_action action; /* OVERWRITE_IF_EXISTS, ADD_IF_ABSENT: `line`; 0: nothing depends on the client's */
	struct strbuf line;
	struct strbuf added;        /* lines */
};

struct fates {
	struct fate items[NAMES_MAX];
	size_t count;
	bool is_answer;       /* weft's own response: nothing has a line yet */
	bool is_response;
	struct strbuf *proxy; /* what the kernel does not do */
};

/* Does the name have a line at this point? */
enum presence { PRESENT, ABSENT, AS_THE_CLIENT_SAYS };

static enum presence presence_of(const struct fate *fate)
{
	if (fate->added.size || fate->action == WEFT_EDIT_ADD_IF_ABSENT)
		return PRESENT;
	return fate->is_removed ? ABSENT : AS_THE_CLIENT_SAYS;
}

static uint32_t known_name(const struct fate *fate)
{
	uint8_t padded[WEFT_CHANGE_NAME_MAX + 8] = { 0 };

	memcpy(padded, fate->name, fate->len);
	return fate->len <= WEFT_KNOWN_NAME_MAX ? weft_known_name(padded, fate->len, fate->hash) : WEFT_NAME_UNKNOWN;
}

static bool is_name(const struct fate *fate, const char *name)
{
	return fate->len == strlen(name) && !memcmp(fate->name, name, fate->len);
}

/* Names that frame messages, or that Envoy sets itself before it edits, are not for the kernel to change. */
static bool is_plain_name(const struct fate *fate, bool is_request)
{
	if (!is_request && (is_name(fate, "date") || is_name(fate, "location")))
		return false;
	return !(weft_known_names[known_name(fate)].flags & (WEFT_NAME_IS_SPECIAL | WEFT_NAME_IS_PRIVATE)) &&
	       !(fate->len >= 8 && !memcmp(fate->name, "x-envoy-", 8)) && fate->name[0] != ':';
}

static struct fate *fate_of(struct fates *fates, const struct weft_text *name)
{
	struct fate *fate;
	size_t i;

	for (i = 0; i < fates->count; i++)
		if (fates->items[i].len == name->len && !memcmp(fates->items[i].name, name->bytes, name->len))
			return &fates->items[i];
	if (fates->count == NAMES_MAX) {
		reason_add(fates->proxy, "the proxy edits headers: more than %u names", NAMES_MAX);
		return NULL;
	}
	if (!name->len || name->len >= WEFT_CHANGE_NAME_MAX) {
		reason_add(fates->proxy, "the proxy edits headers: a name of %u bytes, where the kernel's have 1 to %u", name->len, WEFT_CHANGE_NAME_MAX - 1);
		return NULL;
	}
	fate = &fates->items[fates->count++];
	*fate = (struct fate){ .len = name->len,
			       .hash = weft_name_hash(name->bytes, name->len),
			       .is_removed = fates->is_answer,
			       .line = STRBUF_INIT,
			       .added = STRBUF_INIT };
	memcpy(fate->name, name->bytes, name->len);
	if (is_plain_name(fate, !fates->is_answer && !fates->is_response))
		return fate;
	reason_add(fates->proxy, "the proxy edits header %.*s", (int)fate->len, fate->name);
	return NULL;
}

static void put_line(const struct fate *fate, const struct weft_text *value, struct strbuf *out)
{
	strbuf_append(out, fate->name, fate->len);
	strbuf_append_text(out, ": ");
	strbuf_append(out, value->bytes, value->len);
	strbuf_append_text(out, "\r\n");
}

static void clear(struct fate *fate)
{
	fate->is_removed = true;
	fate->action = 0;
	strbuf_truncate(&fate->line, 0);
	strbuf_truncate(&fate->added, 0);
}

static bool too_tangled(struct fates *fates, const struct fate *fate)
{
	reason_add(fates->proxy, "the proxy edits header %.*s: several edits that depend on the request", (int)fate->len, fate->name);
	return false;
}

/* How an edit that is not a removal acts, by what was there when its level began. */
enum acting { ACTS, ACTS_NOT, ACTS_BY_THE_CLIENT };

static enum acting acting_of(const struct weft_edit *edit, const struct fate *fate, const struct weft_text *value)
{
	enum presence presence = presence_of(fate);

	if (!value->len && !(edit->flags & WEFT_EDIT_KEEP_EMPTY))
		return ACTS_NOT;
	if (edit->action != WEFT_EDIT_ADD_IF_ABSENT && edit->action != WEFT_EDIT_OVERWRITE_IF_EXISTS)
		return ACTS;
	if (presence == AS_THE_CLIENT_SAYS)
		return ACTS_BY_THE_CLIENT;
	return (presence == PRESENT) == (edit->action == WEFT_EDIT_OVERWRITE_IF_EXISTS) ? ACTS : ACTS_NOT;
}

static bool act(struct fates *fates, const struct weft_edit *edit, struct fate *fate, const struct weft_text *value, enum acting acting)
{
	if (acting == ACTS_NOT)
		return true;
	if (acting == ACTS_BY_THE_CLIENT) {
		if (fate->is_removed || fate->action || fate->added.size)
			return too_tangled(fates, fate);
		fate->action = edit->action;
		put_line(fate, value, &fate->line);
		return true;
	}
	if (edit->action == WEFT_EDIT_OVERWRITE || edit->action == WEFT_EDIT_OVERWRITE_IF_EXISTS) {
		clear(fate);
	} else if (fate->action) {
		return too_tangled(fates, fate);
	} else if (weft_known_names[known_name(fate)].flags & (fates->is_answer || fates->is_response ? WEFT_NAME_IS_JOINED_BACK : WEFT_NAME_IS_JOINED) &&
		   (!fate->is_removed || fate->added.size)) {
		reason_add(fates->proxy, "the proxy appends to header %.*s, which is one line", (int)fate->len, fate->name);
		return false;
	}
	put_line(fate, value, &fate->added);
	return true;
}

/* ---- levels ---------------------------------------------------------------------------------------------------------------------- */

static const struct weft_text *text_at(const struct routes_compile *c, weft_ref ref)
{
	return builder_at(&c->builder, ref);
}

static bool apply_level(const struct routes_compile *c, struct fates *fates, const struct weft_edit *edits, uint32_t count)
{
	_cleanup_free_ struct fate **found = calloc(count, sizeof(*found));
	_cleanup_free_ enum acting *acting = calloc(count, sizeof(*acting));
	uint32_t i;

	if (!found || !acting) {
		reason_add(fates->proxy, "the proxy edits headers: out of memory");
		return false;
	}
	for (i = 0; i < count; i++) {
		found[i] = fate_of(fates, text_at(c, edits[i].name));
		if (!found[i])
			return false;
		if (edits[i].action == WEFT_EDIT_REMOVE)
			clear(found[i]);
	}
	for (i = 0; i < count; i++)
		if (edits[i].action != WEFT_EDIT_REMOVE)
			acting[i] = acting_of(&edits[i], found[i], text_at(c, edits[i].value));
	for (i = 0; i < count; i++)
		if (edits[i].action != WEFT_EDIT_REMOVE && !act(fates, &edits[i], found[i], text_at(c, edits[i].value), acting[i]))
			return false;
	return true;
}

static bool apply_levels(const struct routes_compile *c, struct fates *fates, const struct weft_edits *edits)
{
	uint32_t first, end;

	if (edits->flags & WEFT_EDIT_FORMAT) {
		reason_add(fates->proxy, "the proxy edits headers: values with variables");
		return false;
	}
	for (first = 0; first < edits->count; first = end) {
		for (end = first; end < edits->count && edits->items[end].level == edits->items[first].level; end++)
			;
		if (!apply_level(c, fates, edits->items + first, end - first))
			return false;
	}
	return true;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------------- */

static weft_ref text_of(struct routes_compile *c, const struct strbuf *text)
{
	return text->size ? builder_bytes_text(&c->builder, text->data, text->size) : 0;
}

static weft_ref name_of(struct routes_compile *c, const struct fate *fate)
{
	return builder_bytes_text(&c->builder, fate->name, fate->len);
}

static int write_fates(struct routes_compile *c, const struct fates *fates, struct weft_changes *changes)
{
	struct strbuf tail = STRBUF_INIT;
	int r = 0;
	size_t i;

	for (i = 0; i < fates->count; i++) {
		const struct fate *fate = &fates->items[i];
		struct weft_name_change *item = &changes->items[changes->count];

		strbuf_append(&tail, strbuf_text(&fate->added), fate->added.size);
		r = r ? r : strbuf_status(&fate->added) ? strbuf_status(&fate->added) : strbuf_status(&fate->line);
		if (!fate->is_removed && !fate->action)
			continue;
		*item = (struct weft_name_change){ .name_hash = fate->hash,
						   .name_len = (uint16_t)fate->len,
						   .action = (uint16_t)(fate->is_removed ? WEFT_EDIT_REMOVE : fate->action),
						   .name = name_of(c, fate),
						   .line = text_of(c, &fate->line) };
		changes->names |= 1ull << (fate->hash & 63);
		changes->count++;
	}
	r = r ? r : strbuf_status(&tail);
	changes->tail = text_of(c, &tail);
	strbuf_release(&tail);
	return r ? r : builder_status(&c->builder);
}

static size_t items_of(const struct fates *fates)
{
	size_t i, count = 0;

	for (i = 0; i < fates->count; i++)
		count += fates->items[i].is_removed || fates->items[i].action;
	return count;
}

static bool is_short(const struct routes_compile *c, weft_ref text)
{
	return !text || text_at(c, text)->len <= WEFT_CHANGE_TEXT_MAX;
}

static bool fits(const struct routes_compile *c, const struct fates *fates, const struct weft_changes *changes)
{
	size_t i, added = 0;
	bool are_short = is_short(c, changes->prefix) && is_short(c, changes->host);

	for (i = 0; i < fates->count; i++) {
		added += fates->items[i].added.size;
		are_short &= fates->items[i].line.size <= WEFT_CHANGE_TEXT_MAX;
	}
	if (items_of(fates) > WEFT_CHANGES_MAX)
		reason_add(fates->proxy, "the proxy edits headers: more than %u names", WEFT_CHANGES_MAX);
	else if (!are_short || added > WEFT_CHANGE_TEXT_MAX)
		reason_add(fates->proxy, "the proxy edits headers: more than %u bytes", WEFT_CHANGE_TEXT_MAX);
	else
		return true;
	return false;
}

/* False: it is the proxy's. */
static bool take_rewrite(struct weft_changes *changes, const struct weft_rewrite *rewrite, bool has_own_host, struct strbuf *proxy)
{
	bool has_host = !has_own_host && rewrite->host_kind != WEFT_HOST_KEEP;

	if (rewrite->path.pattern) {
		reason_add(proxy, "the proxy rewrites the path by a regular expression");
		return false;
	}
	if (has_host && (rewrite->host_kind != WEFT_HOST_LITERAL || rewrite->appends_host)) {
		reason_add(proxy, rewrite->host_kind == WEFT_HOST_LITERAL ? "the proxy keeps the former host" : "the proxy rewrites the host");
		return false;
	}
	changes->prefix = rewrite->path.prefix;
	changes->matched_len = rewrite->path.matched_len;
	changes->path_flags = rewrite->path.flags;
	if (has_host)
		changes->host = rewrite->host;
	return true;
}

static void fates_release(struct fates *fates)
{
	size_t i;

	for (i = 0; i < fates->count; i++) {
		strbuf_release(&fates->items[i].line);
		strbuf_release(&fates->items[i].added);
	}
}

int changes_compile(struct routes_compile *c, weft_ref rewrite, weft_ref own_host, weft_ref edits, weft_ref *out, struct strbuf *proxy)
{
	_cleanup_free_ struct weft_changes *made = calloc(1, sizeof(*made) + WEFT_CHANGES_MAX * sizeof(made->items[0]));
	_cleanup_free_ struct fates *fates = calloc(1, sizeof(*fates));
	bool is_kernels = true;
	int r = 0;

	*out = 0;
	if (!rewrite && !own_host && !edits)
		return 0;
	if (!made || !fates)
		return -ENOMEM;
	made->host = own_host;
	fates->proxy = proxy;
	if (rewrite)
		is_kernels = take_rewrite(made, builder_at(&c->builder, rewrite), own_host, proxy);
	if (is_kernels && edits)
		is_kernels = apply_levels(c, fates, builder_at(&c->builder, edits));
	if (is_kernels && fits(c, fates, made)) {
		r = write_fates(c, fates, made);
		if (!r)
			*out = builder_share(&c->builder, made, sizeof(*made) + made->count * sizeof(made->items[0]));
	}
	fates_release(fates);
	return r ? r : builder_status(&c->builder);
}

/* ---- answers of weft's own ---------------------------------------------------------------------------------------------------------- */

int answer_lines_compile(struct routes_compile *c, weft_ref edits, bool has_body, struct strbuf *lines, struct strbuf *proxy)
{
	_cleanup_free_ struct fates *fates = calloc(1, sizeof(*fates));
	bool has_type = false;
	int r = 0;
	size_t i;

	if (!fates)
		return -ENOMEM;
	fates->is_answer = true;
	fates->proxy = proxy;
	if (edits && !apply_levels(c, fates, builder_at(&c->builder, edits)))
		has_body = false; /* the proxy's: what is here counts no more */
	for (i = 0; !r && i < fates->count; i++) {
		const struct fate *fate = &fates->items[i];
		bool is_type = is_name(fate, "content-type");

		has_type |= is_type && fate->added.size;
		if (!is_type || has_body)
			strbuf_append(lines, strbuf_text(&fate->added), fate->added.size);
		r = strbuf_status(&fate->added);
	}
	if (has_body && !has_type)
		strbuf_append_text(lines, "content-type: text/plain\r\n");
	fates_release(fates);
	return r ? r : strbuf_status(lines);
}

/* ---- responses ---------------------------------------------------------------------------------------------------------------------- */

/* False: it does not fit. */
static bool put_response_text(struct weft_response_changes *changes, size_t *used, const void *bytes, size_t size, uint16_t *at)
{
	if (*used + size > WEFT_RESPONSE_TEXT_MAX)
		return false;
	if (size)
		memcpy(changes->text + *used, bytes, size);
	*at = (uint16_t)*used;
	*used += size;
	return true;
}

static bool put_response_item(struct weft_response_changes *changes, size_t *used, const struct fate *fate)
{
	struct weft_response_change *item = &changes->items[changes->count];

	if (!fate->is_removed && !fate->action)
		return true;
	if (changes->count == WEFT_RESPONSE_CHANGES_MAX)
		return false;
	*item = (struct weft_response_change){ .name_hash = fate->hash,
					       .name_len = (uint8_t)fate->len,
					       .action = (uint8_t)(fate->is_removed ? WEFT_EDIT_REMOVE : fate->action),
					       .line_len = (uint16_t)fate->line.size };
	changes->names |= 1ull << (fate->hash & 63);
	changes->count++;
	return put_response_text(changes, used, fate->name, fate->len, &item->name) &&
	       put_response_text(changes, used, strbuf_text(&fate->line), fate->line.size, &item->line);
}

int response_changes_compile(struct routes_compile *c, weft_ref edits, weft_ref *out, struct strbuf *proxy)
{
	_cleanup_free_ struct fates *fates = calloc(1, sizeof(*fates));
	_cleanup_free_ struct weft_response_changes *made = calloc(1, sizeof(*made));
	struct strbuf tail = STRBUF_INIT;
	bool fits = true;
	size_t used = 0, i;
	int r = 0;

	*out = 0;
	if (!edits)
		return 0;
	if (!fates || !made)
		return -ENOMEM;
	fates->is_response = true;
	fates->proxy = proxy;
	if (apply_levels(c, fates, builder_at(&c->builder, edits))) {
		for (i = 0; !r && i < fates->count; i++) {
			const struct fate *fate = &fates->items[i];

			strbuf_append(&tail, strbuf_text(&fate->added), fate->added.size);
			fits = fits && put_response_item(made, &used, fate);
			r = strbuf_status(&fate->added) ? strbuf_status(&fate->added) : strbuf_status(&fate->line);
		}
		made->tail_len = (uint16_t)WEFT_MIN(tail.size, (size_t)UINT16_MAX);
		r = r ? r : strbuf_status(&tail);
		fits = fits && put_response_text(made, &used, strbuf_text(&tail), tail.size, &made->tail);
		if (!fits)
			reason_add(proxy, "the proxy edits headers of responses: more than %u names or %u bytes", WEFT_RESPONSE_CHANGES_MAX, WEFT_RESPONSE_TEXT_MAX);
		else if (!r)
			*out = builder_share(&c->builder, made, sizeof(*made));
	}
	strbuf_release(&tail);
	fates_release(fates);
	return r ? r : builder_status(&c->builder);
}
