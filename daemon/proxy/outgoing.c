/* SPDX-License-Identifier: Apache-2.0 */
/* The head that goes upstream where the route changes it, or where weft adds what Envoy adds for its own sake; and what is remembered for the
 * response's edits. */
#include "proxy/outgoing.h"

#include <time.h>

#include "base/strbuf.h"
#include "proxy/policies.h"

u64 outgoing_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (u64)now.tv_sec * 1000 + (u64)now.tv_nsec / 1000000;
}

const struct weft_route_extras *route_extras(const struct weft_image_handle *image, weft_ref route_ref)
{
	const struct weft_route *route = route_ref ? weft_at(image, route_ref) : NULL;

	return route && route->extras ? weft_at(image, route->extras) : NULL;
}

/* The weighted cluster's own where it has any. */
static const struct weft_weight *chosen_weight(const struct weft_image_handle *image, const struct weft_route_extras *extras, u32 item)
{
	const struct weft_weight *weights = extras && extras->weights ? weft_at(image, extras->weights) : NULL;

	return weights ? &weights[item] : NULL;
}

const struct weft_weight *route_weight(const struct weft_image_handle *image, const struct weft_route_result *result)
{
	return result->kind == WEFT_ROUTE_CLUSTER ? chosen_weight(image, route_extras(image, result->route), result->choice_item) : NULL;
}

weft_ref route_response_edits(const struct weft_image_handle *image, const struct weft_route_result *result)
{
	const struct weft_route_extras *extras = route_extras(image, result->route);
	const struct weft_weight *weight = route_weight(image, result);

	return weight ? weight->response_edits : extras ? extras->response_edits : 0;
}

static bool has_format(const struct weft_image_handle *image, weft_ref ref)
{
	const struct weft_edits *edits = ref ? weft_at(image, ref) : NULL;

	return edits && edits->flags & WEFT_EDIT_FORMAT;
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------- */

void outgoing_lines(const struct outgoing *outgoing, struct lines *lines)
{
	const u8 *bytes = outgoing->plan->bytes->data;
	const struct weft_head *head = outgoing->head;

	lines_begin(lines, false);
	for (u32 i = 0; i < head->field_count; i++) {
		const struct weft_field *field = &head->fields[i];
		const struct name name = {bytes + field->name.off, field->name.len, field->name_hash};

		if (weft_known_name(name.text, name.len, name.hash) != WEFT_NAME_HOST)
			lines_add(lines, &name, bytes + field->value.off, field->value.len, 0);
	}
}

static void add_decoration(struct lines *lines, const char *text, const char *value)
{
	const struct name name = name_of_text(text);

	lines_add(lines, &name, (const u8 *)value, (u32)strlen(value), LINE_IS_DECORATION);
}

/* What Envoy's edits find of its own making. */
static void decorate(const struct outgoing *outgoing, struct lines *lines)
{
	const struct weft_virtual_host *virtual_host = outgoing->virtual_host;
	const struct exchange *exchange = outgoing->exchange;
	static const char count[] = "x-envoy-attempt-count";
	const struct name proto = name_of_text("x-forwarded-proto"), attempts = name_of_text(count);
	u32 expected_ms = exchange->timeout_ms, try_ms = exchange->policies ? exchange->policies->try_timeout_ms : 0;
	char text[24];

	if (!lines_look(lines, &proto))
		add_decoration(lines, "x-forwarded-proto", "http");
	if (try_ms && (!expected_ms || try_ms < expected_ms))
		expected_ms = try_ms;
	if (expected_ms) {
		snprintf(text, sizeof(text), "%u", expected_ms);
		add_decoration(lines, "x-envoy-expected-rq-timeout-ms", text);
	}
	if (!virtual_host || !(virtual_host->flags & WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS))
		return;
	if (!lines_look(lines, &attempts))
		add_decoration(lines, count, "1");
	else if (outgoing->decorates)
		lines_set(lines, &attempts, (const u8 *)"1", 1);
}

/* ---- rewrites ---------------------------------------------------------------------------------------------------------------- */

static void add_original(const struct outgoing *outgoing, struct lines *lines, const char *text, struct text_span value)
{
	const struct name name = name_of_text(text);

	/* The client's own goes on where nobody decorates. */
	if (outgoing->decorates)
		lines_remove(lines, &name);
	else if (lines_look(lines, &name))
		return;
	lines_add(lines, &name, value.bytes, value.len, LINE_IS_DECORATION);
}

bool outgoing_is_listed_last(struct text_span list, struct text_span host)
{
	const u8 *comma;

	while (list.len && list.bytes[list.len - 1] == ',')
		list.len--;
	comma = list.len ? memrchr(list.bytes, ',', list.len) : NULL;
	if (comma)
		list = (struct text_span){comma + 1, list.len - (u32)(comma + 1 - list.bytes)};
	return list.len == host.len && !memcmp(list.bytes, host.bytes, host.len);
}

static bool ends_with(const struct line *line, const struct lines *lines, struct text_span host)
{
	return line && outgoing_is_listed_last((struct text_span){lines->text + line->value, line->value_len}, host);
}

static int new_host(struct outgoing *outgoing, const struct weft_rewrite *rewrite, const struct weft_weight *weight, struct lines *lines)
{
	const struct name forwarded = name_of_text("x-forwarded-host");
	struct text_span former = outgoing->authority;
	const struct weft_text *own = weight && weight->host ? weft_at(&outgoing->image, weight->host) : NULL;
	int r = 0;

	if (own)
		strbuf_append(&outgoing->new_host, own->bytes, own->len);
	else if (rewrite && rewrite->host_kind == WEFT_HOST_AUTO)
		return 0; /* when its endpoint is known (auto_host.c) */
	else if (rewrite && rewrite->host_kind)
		r = rewrite_host(outgoing->thread, &outgoing->image, rewrite, lines, outgoing->target.bytes, outgoing->path_len, &outgoing->new_host);
	if (r || !outgoing->new_host.size)
		return r;
	if (!own) {
		add_original(outgoing, lines, "x-envoy-original-host", former);
		if (rewrite->appends_host && !ends_with(lines_look(lines, &forwarded), lines, former))
			lines_append(lines, &forwarded, former.bytes, former.len);
	}
	outgoing->authority = (struct text_span){(const u8 *)outgoing->new_host.data, (u32)outgoing->new_host.size};
	return 0;
}

static int new_path(struct outgoing *outgoing, const struct weft_rewrite *rewrite, struct lines *lines)
{
	int r;

	if (!rewrite || (!rewrite->path.prefix && !rewrite->path.pattern))
		return 0;
	r = rewrite_path(outgoing->thread, &outgoing->image, &rewrite->path, outgoing->target.bytes, outgoing->target.len, outgoing->path_len,
			 &outgoing->new_target);
	if (r || !outgoing->new_target.size)
		return r;
	add_original(outgoing, lines, "x-envoy-original-path", outgoing->target);
	outgoing->target = (struct text_span){(const u8 *)outgoing->new_target.data, (u32)outgoing->new_target.size};
	return 0;
}

/* ---- what is remembered -------------------------------------------------------------------------------------------------------- */

static size_t lines_size(const struct lines *lines)
{
	return offsetof(struct lines, text) + lines->used;
}

static struct lines *lines_copy(const struct lines *lines)
{
	size_t size = lines_size(lines);
	struct lines *copy = malloc(size);

	if (copy)
		memcpy(copy, lines, size);
	return copy;
}

int outgoing_remember(const struct outgoing *outgoing, weft_ref response_edits, const struct lines *lines)
{
	const struct connection *connection = outgoing->exchange->connection;
	struct text_span method = outgoing->method, target = outgoing->target, authority = outgoing->authority;
	size_t bytes_size = (size_t)method.len + target.len + authority.len + 1;
	struct edited *edited = calloc(1, sizeof(*edited));

	if (!edited)
		return -ENOMEM;
	outgoing->exchange->edited = edited;
	edited->routes = published_get(outgoing->thread->scopes[connection->pod->is.scope].routes);
	edited->response_edits = response_edits;
	edited->cluster_id = outgoing->exchange->cluster_id;
	edited->start_ms = outgoing->start_ms;
	edited->is_https = outgoing->is_https;
	edited->counts_attempts = outgoing->virtual_host && outgoing->virtual_host->flags & WEFT_VIRTUAL_HOST_COUNTS_ATTEMPTS_BACK;
	if (!has_format(&outgoing->image, response_edits))
		return 0;
	edited->thread = outgoing->thread;
	edited->share = connection->pod->is.pod_id % SHARES;
	if (memory_take(edited->thread, edited->share, bytes_size + lines_size(lines)))
		return -ENOMEM;
	edited->size = bytes_size + lines_size(lines);
	edited->bytes = malloc(bytes_size);
	edited->request = lines_copy(lines);
	if (!edited->bytes || !edited->request)
		return -ENOMEM;
	edited->method_len = method.len;
	edited->target_len = target.len;
	edited->authority_len = authority.len;
	memcpy(edited->bytes, method.bytes, method.len);
	memcpy(edited->bytes + method.len, target.bytes, target.len);
	memcpy(edited->bytes + method.len + target.len, authority.bytes, authority.len);
	return 0;
}

/* Taken so far. */
static u64 body_bytes(const struct exchange *exchange)
{
	const struct flow *flow = &exchange->connection->request;

	if (flow->body == FLOW_CHUNKED)
		return flow->chunked.data_len;
	return flow->left < exchange->content_length ? exchange->content_length - flow->left : exchange->content_length;
}

void edited_context(const struct exchange *exchange, const struct lines *response, struct edit_context *context)
{
	const struct edited *edited = exchange->edited;

	*context = (struct edit_context){
		.connection = exchange->connection,
		.exchange = exchange,
		.image = edited->routes->handle,
		.request = edited->request,
		.response = response,
		.method = edited->bytes,
		.method_len = edited->method_len,
		.target = edited->bytes + edited->method_len,
		.target_len = edited->target_len,
		.authority = edited->bytes + edited->method_len + edited->target_len,
		.authority_len = edited->authority_len,
		.cluster_id = edited->cluster_id,
		.start_ms = edited->start_ms,
		.body_bytes = body_bytes(exchange),
		.is_https = edited->is_https,
	};
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

void outgoing_begin(struct outgoing *outgoing, struct exchange *exchange, const struct weft_image_handle *image, const struct request_plan *plan,
		    const struct weft_head *head)
{
	struct thread *thread = exchange->connection->thread;

	*outgoing = (struct outgoing){
		.thread = thread,
		.exchange = exchange,
		.image = *image,
		.plan = plan,
		.head = head,
		.authority = {plan->bytes->data + head->authority.off, head->authority.len},
		.is_https = weft_is_https(plan->bytes, head),
		.decorates = thread->proxy->decorates,
		.start_ms = outgoing_clock_ms(),
		.new_host = STRBUF_INIT,
		.new_target = STRBUF_INIT,
	};
}

void outgoing_end(struct outgoing *outgoing)
{
	strbuf_release(&outgoing->new_host);
	strbuf_release(&outgoing->new_target);
}

static struct edit_context request_context(const struct outgoing *outgoing)
{
	return (struct edit_context){
		.connection = outgoing->exchange->connection,
		.exchange = outgoing->exchange,
		.image = outgoing->image,
		.request = outgoing->lines,
		.method = outgoing->method.bytes,
		.method_len = outgoing->method.len,
		.target = outgoing->target.bytes,
		.target_len = outgoing->target.len,
		.authority = outgoing->authority.bytes,
		.authority_len = outgoing->authority.len,
		.cluster_id = outgoing->exchange->cluster_id,
		.start_ms = outgoing->start_ms,
		.is_https = outgoing->is_https,
	};
}

int outgoing_edit(struct outgoing *outgoing, const struct weft_route_result *result)
{
	const struct weft_image_handle *image = &outgoing->image;
	const struct weft_route_extras *extras = route_extras(image, result->route);
	const struct weft_weight *weight = chosen_weight(image, extras, result->choice_item);
	const struct weft_rewrite *rewrite = extras && extras->rewrite ? weft_at(image, extras->rewrite) : NULL;
	weft_ref request_edits = weight ? weight->request_edits : extras ? extras->request_edits : 0;
	weft_ref response_edits = weight ? weight->response_edits : extras ? extras->response_edits : 0;
	struct lines *lines = outgoing->thread->request_lines;
	struct edit_context context;
	int r;

	if (!outgoing->decorates && !outgoing->is_listed && !rewrite && !request_edits && !response_edits && !(weight && weight->host))
		return 0;
	outgoing->virtual_host = result->virtual_host ? weft_at(image, result->virtual_host) : NULL;
	outgoing_lines(outgoing, lines);
	decorate(outgoing, lines);
	time_limits_tell(outgoing->exchange, lines);
	outgoing->lines = lines;
	context = request_context(outgoing);
	edits_apply(&context, request_edits, lines);
	r = new_host(outgoing, rewrite, weight, lines);
	if (!r)
		r = new_path(outgoing, rewrite, lines);
	if (!r && (response_edits || outgoing->decorates))
		r = outgoing_remember(outgoing, response_edits, lines);
	return r ? r : lines->is_full ? -ENOSPC : 0;
}
