/* SPDX-License-Identifier: Apache-2.0 */
/* Which header fields go on. Requests: what Envoy strips before it matches and forwards is taken out of the head that the router sees, too.
 * Names keep the case they came in, as on the kernel's path. */
#include "proxy/edit.h"

#include <strings.h>

#include "weft/http1.h"

/* Connection may name 9 fields (the parser refuses more). */
#define NAMED_MAX 9u

/* Envoy's own controls: without effect and not passed on where the client is not trusted. */
static const char *const private_names[] = {
	"x-envoy-internal", "x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-expected-rq-timeout-ms",
	"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes", "x-envoy-retriable-header-names",
	"x-envoy-hedge-on-per-try-timeout", "x-envoy-upstream-rq-timeout-alt-response", "x-envoy-upstream-alt-stat-name", "x-envoy-is-timeout-retry",
	"x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-upstream-stream-duration-ms",
};

struct named {
	u32 hash[NAMED_MAX];
	struct weft_span span[NAMED_MAX];
	u32 count;
};

static u32 name_of(const u8 *bytes, const struct weft_field *field)
{
	return weft_known_name(bytes + field->name.off, field->name.len, field->name_hash);
}

static bool is_text(const u8 *bytes, const struct weft_span *span, const char *text)
{
	return span->len == strlen(text) && !strncasecmp((const char *)bytes + span->off, text, span->len);
}

static bool is_exactly(const u8 *bytes, const struct weft_span *span, const char *text)
{
	return span->len == strlen(text) && !memcmp(bytes + span->off, text, span->len);
}

/* Calls `fn` for every element of a comma list, trimmed; stops when it returns true. */
static bool each_token(const u8 *bytes, const struct weft_span *list, bool (*fn)(void *arg, const u8 *bytes, struct weft_span token), void *arg)
{
	u32 at = list->off, end = (u32)list->off + list->len;

	while (at < end) {
		u32 begin = at, last;

		while (at < end && bytes[at] != ',')
			at++;
		last = at++;
		while (begin < last && weft_is_blank(bytes[begin]))
			begin++;
		while (last > begin && weft_is_blank(bytes[last - 1]))
			last--;
		if (last > begin && fn(arg, bytes, (struct weft_span){(u16)begin, (u16)(last - begin)}))
			return true;
	}
	return false;
}

static bool add_named(void *arg, const u8 *bytes, struct weft_span token)
{
	struct named *named = arg;

	if (named->count == NAMED_MAX)
		return true;
	named->hash[named->count] = weft_name_hash(bytes + token.off, token.len);
	named->span[named->count++] = token;
	return false;
}

static bool is_named(const struct named *named, const u8 *bytes, const struct weft_field *field)
{
	for (u32 i = 0; i < named->count; i++)
		if (named->hash[i] == field->name_hash && named->span[i].len == field->name.len &&
		    !strncasecmp((const char *)bytes + named->span[i].off, (const char *)bytes + field->name.off, field->name.len))
			return true;
	return false;
}

static bool is_close(void *arg, const u8 *bytes, struct weft_span token)
{
	return is_text(bytes, &token, "close");
}

/* Of TE only the exact token goes on (in this case, nothing else). */
static bool is_trailers(void *arg, const u8 *bytes, struct weft_span token)
{
	return is_exactly(bytes, &token, "trailers");
}

static bool is_private(const u8 *bytes, const struct weft_field *field)
{
	if (field->name.len < 8 || strncasecmp((const char *)bytes + field->name.off, "x-envoy-", 8))
		return false;
	for (size_t i = 0; i < WEFT_ARRAY_SIZE(private_names); i++)
		if (is_text(bytes, &field->name, private_names[i]))
			return true;
	return false;
}

/* Envoy: Grpc::Common::hasGrpcContentType. */
static bool is_grpc(const u8 *bytes, const struct weft_span *value)
{
	static const char type[] = "application/grpc";
	u32 len = sizeof(type) - 1;

	return value->len >= len && !memcmp(bytes + value->off, type, len) && (value->len == len || bytes[value->off + len] == '+');
}

/* REPLACE: the name stays, the value is the one that goes on (of TE and Transfer-Encoding there is only one). */
enum field_action { FIELD_KEEP = 0, FIELD_DROP, FIELD_JOIN, FIELD_REPLACE };

static enum field_action request_action(const u8 *bytes, const struct weft_head *head, const struct weft_field *field, u32 name,
					const struct named *named, struct request_plan *plan)
{
	switch (name) {
	case WEFT_NAME_CONNECTION:
		return plan->is_upgrade ? FIELD_KEEP : FIELD_DROP;
	case WEFT_NAME_UPGRADE:
		return plan->is_upgrade ? FIELD_KEEP : FIELD_DROP;
	case WEFT_NAME_PROXY_CONNECTION:
		if (each_token(bytes, &field->value, is_close, NULL))
			plan->wants_close = true;
		return FIELD_DROP;
	case WEFT_NAME_KEEP_ALIVE:
	case WEFT_NAME_X_FORWARDED_CLIENT_CERT:
		return FIELD_DROP;
	case WEFT_NAME_HOST:
		return head->flags & WEFT_HEAD_ABSOLUTE_FORM ? FIELD_DROP : FIELD_KEEP;
	case WEFT_NAME_TRANSFER_ENCODING:
		/* Envoy: what follows the head of an upgrade is the tunnel's. */
		if (plan->is_upgrade)
			return FIELD_DROP;
		return is_exactly(bytes, &field->value, "chunked") ? FIELD_KEEP : FIELD_REPLACE;
	case WEFT_NAME_TE:
		if (!field->value.len || is_exactly(bytes, &field->value, "trailers"))
			return FIELD_KEEP;
		return each_token(bytes, &field->value, is_trailers, NULL) ? FIELD_REPLACE : FIELD_DROP;
	case WEFT_NAME_CONTENT_LENGTH:
		if (!is_named(named, bytes, field))
			return FIELD_KEEP;
		plan->drops_length = true;
		return FIELD_DROP;
	case WEFT_NAME_X_FORWARDED_PROTO:
		if (!field->value.len)
			plan->has_empty_scheme = true;
		break;
	case WEFT_NAME_CONTENT_TYPE:
		plan->is_grpc = is_grpc(bytes, &field->value);
		break;
	default:
		break;
	}
	if (named->count && is_named(named, bytes, field))
		return FIELD_DROP;
	if (head->flags & WEFT_HEAD_PRIVATE && is_private(bytes, field))
		return FIELD_DROP;
	return FIELD_KEEP;
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */

struct writer {
	u8 *bytes;
	u32 len;
};

static struct weft_span put(struct writer *writer, const u8 *bytes, u32 len)
{
	struct weft_span span = {(u16)writer->len, (u16)len};

	weft_assert(writer->len + len + 64 <= SCRATCH_BYTES);
	memcpy(writer->bytes + writer->len, bytes, len);
	writer->len += len;
	return span;
}

/* Every field anew, repeated ones joined at the place of the first; the head's spans refer to the scratch from then on. */
static void write_joined(struct thread *thread, const u8 *bytes, struct weft_head *head, const u8 *actions, struct request_plan *plan)
{
	struct writer writer = {.bytes = thread->scratch};
	u32 kept = 0, first_line;

	if (head->flags & WEFT_HEAD_ABSOLUTE_FORM) {
		struct weft_span from = head->target;

		/* Scheme, authority and path stand in it. */
		head->target = put(&writer, bytes + from.off, from.len);
		head->authority.off = (u16)(head->authority.off - from.off + head->target.off);
		head->path.off = (u16)(head->path.off - from.off + head->target.off);
	}
	head->method_span = put(&writer, bytes + head->method_span.off, head->method_span.len);
	first_line = writer.len;
	for (u32 i = 0; i < head->field_count; i++) {
		struct weft_field field = head->fields[i];
		u32 name = name_of(bytes, &field), value_at;

		if (actions[i] == FIELD_DROP || actions[i] == FIELD_JOIN)
			continue;
		field.name = put(&writer, bytes + field.name.off, field.name.len);
		put(&writer, (const u8 *)": ", 2);
		value_at = writer.len;
		if (actions[i] == FIELD_REPLACE && name == WEFT_NAME_TE)
			put(&writer, (const u8 *)"trailers", 8);
		else if (actions[i] == FIELD_REPLACE)
			put(&writer, (const u8 *)"chunked", 7);
		else
			put(&writer, bytes + field.value.off, field.value.len);
		for (u32 other = i + 1; name && other < head->field_count; other++) {
			if (actions[other] != FIELD_JOIN || name_of(bytes, &head->fields[other]) != name)
				continue;
			if (writer.len > value_at && head->fields[other].value.len) /* Envoy: what is empty adds no comma */
				put(&writer, (const u8 *)",", 1);
			put(&writer, bytes + head->fields[other].value.off, head->fields[other].value.len);
		}
		field.value = (struct weft_span){(u16)value_at, (u16)(writer.len - value_at)};
		put(&writer, (const u8 *)"\r\n", 2);
		if (name == WEFT_NAME_HOST)
			head->authority = field.value;
		/* kept <= i: what is overwritten was read. Joined lines stand later and are looked up in `bytes` by their own fields. */
		head->fields[kept++] = field;
	}
	head->field_count = (u16)kept;
	memset(writer.bytes + writer.len, 0, 64);
	plan->lines = writer.bytes + first_line;
	plan->lines_len = writer.len - first_line;
	plan->bytes = (const struct weft_head_bytes *)writer.bytes;
}

static u32 line_end(const struct weft_head *head, u32 i)
{
	return i + 1 < head->field_count ? head->fields[i + 1].name.off : head->head_len - 2;
}

/* The lines that stay, in runs; the head keeps its spans into `bytes`. */
static void write_kept(struct thread *thread, const u8 *bytes, struct weft_head *head, const u8 *actions, struct request_plan *plan)
{
	struct writer writer = {.bytes = thread->scratch};
	u32 kept = 0, from = head->fields[0].name.off;

	for (u32 i = 0; i < head->field_count; i++) {
		u32 end = line_end(head, i);

		if (actions[i] != FIELD_DROP)
			continue;
		put(&writer, bytes + from, head->fields[i].name.off - from);
		from = end;
	}
	put(&writer, bytes + from, head->head_len - 2 - from);
	for (u32 i = 0; i < head->field_count; i++)
		if (actions[i] != FIELD_DROP)
			head->fields[kept++] = head->fields[i];
	head->field_count = (u16)kept;
	plan->lines = writer.bytes;
	plan->lines_len = writer.len;
}

/* Lines of joined names after their first one. */
static bool mark_joined(const u8 *bytes, const struct weft_head *head, u8 *actions, const struct request_plan *plan)
{
	u64 seen = 0;
	bool is_joined = false;

	for (u32 i = 0; i < head->field_count; i++) {
		u32 name = name_of(bytes, &head->fields[i]);

		if (!name || actions[i] != FIELD_KEEP)
			continue;
		if (!(weft_known_names[name].flags & WEFT_NAME_IS_JOINED) && !(plan->is_upgrade && name == WEFT_NAME_CONNECTION))
			continue;
		if (seen & 1ull << name) {
			actions[i] = FIELD_JOIN;
			is_joined = true;
		}
		seen |= 1ull << name;
	}
	return is_joined;
}

void headers_plan_request(struct thread *thread, const u8 *bytes, struct weft_head *head, struct request_plan *plan)
{
	struct named named = {.count = 0};
	u8 actions[WEFT_FIELDS_MAX];
	bool drops = false, rewrites = false;

	*plan = (struct request_plan){
		.is_changed = head->flags & (WEFT_HEAD_ODD | WEFT_HEAD_HTTP_10 | WEFT_HEAD_ABSOLUTE_FORM),
		.wants_close = head->flags & WEFT_HEAD_CLOSE,
		.wants_keep_alive = head->flags & WEFT_HEAD_KEEP_ALIVE && !(head->flags & WEFT_HEAD_CLOSE),
		.bytes = (const struct weft_head_bytes *)bytes,
	};
	if (head->field_count) {
		plan->lines = bytes + head->fields[0].name.off;
		plan->lines_len = head->head_len - 2 - head->fields[0].name.off;
	}
	if (head->flags & WEFT_HEAD_UPGRADE && head->flags & WEFT_HEAD_CONNECTION_UPGRADE) {
		plan->is_upgrade = true;
		plan->is_websocket = head->flags & WEFT_HEAD_WEBSOCKET;
		for (u32 i = 0; i < head->field_count; i++)
			if (name_of(bytes, &head->fields[i]) == WEFT_NAME_UPGRADE && is_text(bytes, &head->fields[i].value, "h2c"))
				plan->is_upgrade = false;
	}
	if (head->flags & WEFT_HEAD_CONNECTION_OTHER && !plan->is_upgrade)
		for (u32 i = 0; i < head->field_count; i++)
			if (name_of(bytes, &head->fields[i]) == WEFT_NAME_CONNECTION)
				each_token(bytes, &head->fields[i].value, add_named, &named);
	for (u32 i = 0; i < head->field_count; i++) {
		actions[i] = (u8)request_action(bytes, head, &head->fields[i], name_of(bytes, &head->fields[i]), &named, plan);
		drops |= actions[i] == FIELD_DROP;
		rewrites |= actions[i] == FIELD_REPLACE;
	}
	if (head->flags & WEFT_HEAD_REPEATED_JOINED || plan->is_upgrade)
		rewrites |= mark_joined(bytes, head, actions, plan);
	if (rewrites)
		write_joined(thread, bytes, head, actions, plan);
	else if (drops)
		write_kept(thread, bytes, head, actions, plan);
	plan->is_changed |= drops | rewrites;
}

/* ---- responses ------------------------------------------------------------------------------------------------------------- */

static bool response_drops(u32 name, const struct response_plan *plan)
{
	switch (name) {
	case WEFT_NAME_CONNECTION:
	case WEFT_NAME_UPGRADE:
		return !plan->keeps_upgrade;
	case WEFT_NAME_KEEP_ALIVE:
		return !plan->keeps_keep_alive;
	case WEFT_NAME_PROXY_CONNECTION:
		return true;
	case WEFT_NAME_CONTENT_LENGTH:
		return plan->drops_length;
	case WEFT_NAME_TRANSFER_ENCODING:
		return plan->drops_coding;
	default:
		return false;
	}
}

/* A value of a folded or oddly ended line, without the CR and LF in it. */
static void put_value(struct buffer *out, const u8 *bytes, const struct weft_span *value)
{
	for (u32 i = value->off; i < (u32)value->off + value->len; i++)
		if (bytes[i] != '\r' && bytes[i] != '\n')
			out->block->data[out->end++] = bytes[i];
}

static u32 without_line_ends(u8 *value, u32 len)
{
	u32 kept = 0;

	for (u32 i = 0; i < len; i++)
		if (value[i] != '\r' && value[i] != '\n')
			value[kept++] = value[i];
	return kept;
}

static void put_fields_anew(struct buffer *out, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan)
{
	u64 done = 0;

	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		u32 name = name_of(bytes, field), value_at;
		bool is_joined = name && weft_known_names[name].flags & WEFT_NAME_IS_JOINED_BACK;

		if (response_drops(name, plan) || (is_joined && done & 1ull << name))
			continue;
		buffer_put(out, bytes + field->name.off, field->name.len);
		buffer_put_text(out, ": ");
		value_at = buffer_len(out);
		put_value(out, bytes, &field->value);
		for (u32 other = i + 1; is_joined && other < head->field_count; other++) {
			if (name_of(bytes, &head->fields[other]) != name)
				continue;
			if (buffer_len(out) > value_at && head->fields[other].value.len)
				buffer_put_text(out, ",");
			put_value(out, bytes, &head->fields[other].value);
		}
		buffer_put_text(out, "\r\n");
		if (is_joined)
			done |= 1ull << name;
	}
}

static void put_status(struct buffer *out, u16 status)
{
	buffer_put_text(out, " ");
	buffer_put_number(out, status);
	buffer_put_text(out, " ");
	buffer_put(out, status_reason_phrase(status), strlen(status_reason_phrase(status)));
	buffer_put_text(out, "\r\n");
}

/* A value of a folded or oddly ended line goes on without the CR and LF in it. */
static void unfold(struct lines *lines, const struct weft_head *head)
{
	if (!(head->flags & WEFT_HEAD_ODD))
		return;
	for (u32 i = 0; i < lines->count; i++)
		lines->items[i].value_len = without_line_ends(lines->text + lines->items[i].value, lines->items[i].value_len);
}

void headers_response_lines(struct lines *lines, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan)
{
	lines_begin(lines, true);
	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		const struct name name = {bytes + field->name.off, field->name.len, field->name_hash};
		u32 known = name_of(bytes, field);

		if (response_drops(known, plan))
			continue;
		if (known && weft_known_names[known].flags & WEFT_NAME_IS_JOINED_BACK)
			lines_append(lines, &name, bytes + field->value.off, field->value.len);
		else
			lines_add(lines, &name, bytes + field->value.off, field->value.len, 0);
	}
	unfold(lines, head);
}

void headers_copy_response(struct lines *lines, const u8 *bytes, const struct weft_head *head, const struct response_plan *plan)
{
	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		const struct name name = {bytes + field->name.off, field->name.len, field->name_hash};

		if (!response_drops(name_of(bytes, field), plan))
			lines_append(lines, &name, bytes + field->value.off, field->value.len);
	}
	unfold(lines, head);
}

int headers_put_response(struct thread *thread, struct buffer *out, const u8 *bytes, const struct weft_head *head,
			 const struct response_plan *plan)
{
	u32 from = 8, cookie_len = plan->set_cookie ? (u32)strlen(plan->set_cookie) : 0;
	u32 room = plan->lines ? lines_room(plan->lines) : head->head_len + (u32)head->field_count * 2;
	int r = buffer_reserve(thread, out, room + cookie_len + 256);

	if (r)
		return r;
	buffer_put_text(out, "HTTP/1.");
	buffer_put(out, plan->is_http_10 ? "0" : "1", 1);
	if (plan->lines) {
		put_status(out, head->status);
		lines_put(plan->lines, out, thread->proxy->decorates);
	} else if (head->flags & (WEFT_HEAD_ODD | WEFT_HEAD_REPEATED_JOINED)) {
		put_status(out, head->status);
		put_fields_anew(out, bytes, head, plan);
	} else {
		for (u32 i = 0; i < head->field_count; i++) {
			const struct weft_field *field = &head->fields[i];

			if (!response_drops(name_of(bytes, field), plan))
				continue;
			buffer_put(out, bytes + from, field->name.off - from);
			from = line_end(head, i);
		}
		buffer_put(out, bytes + from, head->head_len - 2 - from);
	}
	if (plan->set_cookie)
		buffer_put(out, plan->set_cookie, cookie_len);
	if (plan->extra)
		buffer_put(out, plan->extra, strlen(plan->extra));
	buffer_put_text(out, "\r\n");
	return 0;
}
