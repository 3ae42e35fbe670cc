/* SPDX-License-Identifier: Apache-2.0 */
/* What a route asks for beside, as its request begins. Faults and CORS act in the order of the filters that istiod lists: a fault is injected
 * before CORS is looked at. */
#include "proxy/policies.h"

void policies_free(struct policies **policies)
{
	if (!*policies)
		return;
	resend_release(&(*policies)->resend);
	if ((*policies)->routes)
		published_put((*policies)->routes);
	free((*policies)->plain_head);
	free((*policies)->origin);
	free((*policies)->expose_headers);
	free(*policies);
	*policies = NULL;
}

struct policies *policies_of(struct exchange *exchange)
{
	if (!exchange->policies)
		exchange->policies = calloc(1, sizeof(*exchange->policies));
	return exchange->policies;
}

/* Envoy draws for each fraction anew. */
static bool is_drawn(struct thread *thread, const struct weft_fraction *fraction)
{
	if (fraction->numerator >= fraction->denominator)
		return true;
	return thread_random(thread) % fraction->denominator < fraction->numerator;
}

/* ---- faults ---------------------------------------------------------------------------------------------------------------------- */

static bool fault_takes(const struct policy_request *request, const struct weft_fault *fault)
{
	if (fault->cluster_id && (request->result->kind != WEFT_ROUTE_CLUSTER || request->result->cluster_id != fault->cluster_id))
		return false;
	return !fault->condition_count ||
	       weft_conditions_hold(request->query, request->bytes, request->head, fault->conditions, fault->condition_count) == WEFT_HOLDS;
}

/* The first value of a header, if it is a number. */
static bool number_of(const struct lines *lines, const char *text, u64 max, u64 *number)
{
	const struct name name = name_of_text(text);
	const struct line *line = lines_look(lines, &name);

	return line && span_number((struct text_span){lines->text + line->value, line->value_len}, number) && *number <= max;
}

/* Envoy: a request may ask for less than was configured. */
static void lower(const struct lines *lines, const char *text, struct weft_fraction *fraction)
{
	u64 number;

	if (number_of(lines, text, UINT32_MAX, &number))
		fraction->numerator = WEFT_MIN((u32)number, fraction->numerator);
}

/* Envoy: HeaderDelayProvider, HeaderAbortProvider. */
static void ask_request(const struct outgoing *outgoing, struct weft_fault *asked)
{
	struct lines *lines = outgoing->thread->request_lines;
	u64 number;

	outgoing_lines(outgoing, lines);
	if (asked->flags & WEFT_FAULT_DELAY_BY_HEADER) {
		asked->delay_ms = number_of(lines, "x-envoy-fault-delay-request", UINT64_MAX, &number) ? (u32)WEFT_MIN(number, (u64)UINT32_MAX) : 0;
		lower(lines, "x-envoy-fault-delay-request-percentage", &asked->delayed);
	}
	if (!(asked->flags & WEFT_FAULT_ABORT_BY_HEADER))
		return;
	lower(lines, "x-envoy-fault-abort-request-percentage", &asked->aborted);
	if (number_of(lines, "x-envoy-fault-abort-request", 599, &number) && number >= 200) {
		asked->abort_status = (u16)number;
	} else if (number_of(lines, "x-envoy-fault-abort-grpc-request", UINT32_MAX, &number)) {
		asked->abort_status = 200;
		asked->grpc_status = (u32)number;
		asked->flags |= WEFT_FAULT_HAS_GRPC_STATUS;
	}
}

static int inject(struct outgoing *outgoing, const struct policy_request *request, const struct weft_fault *fault, struct policy_answer *answer)
{
	struct thread *thread = outgoing->thread;
	struct weft_fault asked = *fault;
	weft_ref edits;

	if (!fault_takes(request, fault))
		return 0;
	if (fault->flags & (WEFT_FAULT_DELAY_BY_HEADER | WEFT_FAULT_ABORT_BY_HEADER))
		ask_request(outgoing, &asked);
	if (!request->was_delayed && asked.delay_ms && is_drawn(thread, &asked.delayed)) {
		answer->kind = POLICY_DELAY;
		answer->delay_ms = asked.delay_ms;
		return 0;
	}
	if (!asked.abort_status || !is_drawn(thread, &asked.aborted))
		return 0;
	answer->kind = POLICY_ABORT;
	answer->status = asked.abort_status;
	/* Envoy closes the connection after every 400. */
	outgoing->exchange->closes |= asked.abort_status == 400;
	outgoing->exchange->has_grpc_status = asked.flags & WEFT_FAULT_HAS_GRPC_STATUS;
	outgoing->exchange->grpc_status = asked.grpc_status;
	/* Envoy: what a route says of responses is for what it forwards. */
	edits = request->result->kind == WEFT_ROUTE_CLUSTER ? route_response_edits(&outgoing->image, request->result) : 0;
	if (!edits)
		return 0;
	outgoing_lines(outgoing, thread->request_lines);
	return outgoing_remember(outgoing, edits, thread->request_lines);
}

/* ---- CORS ------------------------------------------------------------------------------------------------------------------------ */

static struct text_span value_of(const struct lines *lines, const char *text)
{
	const struct name name = name_of_text(text);
	const struct line *line = lines_look(lines, &name);

	return line ? (struct text_span){lines->text + line->value, line->value_len} : (struct text_span){(const u8 *)"", 0};
}

/* Envoy: what takes a star takes every origin. */
static bool is_allowed(const struct policy_request *request, const struct weft_cors *cors)
{
	struct weft_cursor cursor = {0};

	for (u32 i = 0; i < cors->origin_count; i++) {
		weft_ref ref = cors->origins + i * (u32)sizeof(struct weft_condition);
		const struct weft_condition *condition = WEFT_OBJECT(weft_condition, &request->query->image, &cursor, ref);

		if (!condition)
			return false;
		if (weft_word_matches(request->query, '*', 1, condition) == WEFT_HOLDS ||
		    weft_conditions_hold(request->query, request->bytes, request->head, ref, 1) == WEFT_HOLDS)
			return true;
	}
	return false;
}

static void add_text(const struct weft_image_handle *image, struct lines *lines, const char *text, weft_ref ref, struct text_span asked)
{
	const struct weft_text *value = ref ? weft_at(image, ref) : NULL;
	const struct name name = name_of_text(text);

	if (!value)
		return;
	if (value->len == 1 && value->bytes[0] == '*')
		lines_add(lines, &name, asked.bytes, asked.len, 0);
	else
		lines_add(lines, &name, value->bytes, value->len, 0);
}

static void add_true(struct lines *lines, const char *text)
{
	const struct name name = name_of_text(text);

	lines_add(lines, &name, (const u8 *)"true", 4, 0);
}

static void answer_preflight(const struct outgoing *outgoing, const struct weft_cors *cors, const struct lines *asked)
{
	const struct weft_image_handle *image = &outgoing->image;
	struct lines *lines = outgoing->thread->response_lines;
	struct text_span network = value_of(asked, "access-control-request-private-network");
	const struct weft_text *max_age = cors->max_age ? weft_at(image, cors->max_age) : NULL;
	const struct name name = name_of_text("access-control-max-age");

	lines_begin(lines, true);
	if (cors->flags & WEFT_CORS_CREDENTIALS)
		add_true(lines, "access-control-allow-credentials");
	add_text(image, lines, "access-control-allow-methods", cors->allow_methods, value_of(asked, "access-control-request-method"));
	add_text(image, lines, "access-control-allow-headers", cors->allow_headers, value_of(asked, "access-control-request-headers"));
	if (max_age)
		lines_add(lines, &name, max_age->bytes, max_age->len, 0);
	if (cors->flags & WEFT_CORS_PRIVATE_NETWORK && network.len == 4 && !memcmp(network.bytes, "true", 4))
		add_true(lines, "access-control-allow-private-network");
	policies_put_lines(outgoing->exchange, lines);
}

static int remember_origin(struct outgoing *outgoing, const struct weft_cors *cors, struct text_span origin)
{
	const struct weft_text *expose = cors->expose_headers ? weft_at(&outgoing->image, cors->expose_headers) : NULL;
	struct policies *policies = policies_of(outgoing->exchange);

	if (!policies)
		return -ENOMEM;
	policies->origin = strndup((const char *)origin.bytes, origin.len);
	policies->expose_headers = expose ? strndup((const char *)expose->bytes, expose->len) : strdup("");
	policies->allows_credentials = cors->flags & WEFT_CORS_CREDENTIALS;
	return policies->origin && policies->expose_headers ? 0 : -ENOMEM;
}

static int apply_cors(struct outgoing *outgoing, const struct policy_request *request, const struct weft_cors *cors, struct policy_answer *answer)
{
	struct lines *asked = outgoing->thread->request_lines;
	struct text_span origin;
	bool allowed;
	int r;

	if (!is_drawn(outgoing->thread, &cors->enabled))
		return 0;
	outgoing_lines(outgoing, asked);
	origin = value_of(asked, "origin");
	if (!origin.len)
		return 0;
	allowed = is_allowed(request, cors);
	if (allowed) {
		r = remember_origin(outgoing, cors, origin);
		if (r)
			return r;
	}
	if (outgoing->exchange->method != WEFT_METHOD_OPTIONS || !value_of(asked, "access-control-request-method").len ||
	    (!allowed && cors->flags & WEFT_CORS_FORWARDS))
		return 0;
	answer_preflight(outgoing, cors, asked);
	answer->kind = POLICY_PREFLIGHT;
	return 0;
}

bool policies_need_lines(const struct exchange *exchange)
{
	const struct policies *policies = exchange->policies;

	return policies && (policies->mirrors || policies->auto_host || (exchange->is_grpc && policies->max_duration_ms));
}

bool policies_have_lines(const struct exchange *exchange)
{
	return exchange->policies && exchange->policies->origin;
}

void policies_put_lines(const struct exchange *exchange, struct lines *lines)
{
	const struct policies *policies = exchange->policies;
	const struct name origin = name_of_text("access-control-allow-origin"), credentials = name_of_text("access-control-allow-credentials"),
			  expose = name_of_text("access-control-expose-headers");

	if (!policies_have_lines(exchange))
		return;
	lines_set(lines, &origin, (const u8 *)policies->origin, (u32)strlen(policies->origin));
	if (policies->allows_credentials)
		lines_set(lines, &credentials, (const u8 *)"true", 4);
	if (*policies->expose_headers)
		lines_set(lines, &expose, (const u8 *)policies->expose_headers, (u32)strlen(policies->expose_headers));
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------------ */

static bool may_retry(const struct policy_request *request, const struct weft_retry *retry)
{
	if (!retry->request_header_count)
		return true;
	for (u32 i = 0; i < retry->request_header_count; i++) {
		weft_ref ref = retry->request_headers + i * (u32)sizeof(struct weft_condition);

		if (weft_conditions_hold(request->query, request->bytes, request->head, ref, 1) == WEFT_HOLDS)
			return true;
	}
	return false;
}

static int remember_policies(struct outgoing *outgoing, const struct policy_request *request, const struct weft_policies *from)
{
	const struct weft_image_handle *image = &outgoing->image;
	const struct weft_retry *retry = from->retry ? weft_at(image, from->retry) : NULL;
	struct policies *policies;

	if (!retry && !from->mirrors && !from->idle_timeout_ms && !from->max_duration_ms)
		return 0;
	policies = policies_of(outgoing->exchange);
	if (!policies)
		return -ENOMEM;
	policies->routes = published_get(outgoing->thread->scopes[outgoing->exchange->connection->pod->is.scope].routes);
	policies->mirrors = from->mirrors ? weft_at(image, from->mirrors) : NULL;
	policies->try_timeout_ms = retry ? retry->try_timeout_ms : 0;
	policies->try_idle_timeout_ms = retry ? retry->try_idle_timeout_ms : 0;
	policies->idle_timeout_ms = from->idle_timeout_ms;
	policies->max_duration_ms = from->max_duration_ms;
	policies->ends_at_ms = from->max_duration_ms ? now_ms() + from->max_duration_ms : 0;
	if (retry && retry->on && may_retry(request, retry)) {
		policies->retry = retry;
		policies->retries_left = retry->count;
		policies->back_off_ms = retry->back_off_base_ms;
	}
	return 0;
}

static const struct weft_policies *policies_at(const struct weft_image_handle *image, const struct weft_route_result *result)
{
	const struct weft_weight *weight = route_weight(image, result);
	const struct weft_route *route = result->route ? weft_at(image, result->route) : NULL;
	weft_ref ref = weight && weight->policies ? weight->policies : route ? route->policies : 0;

	return ref ? weft_at(image, ref) : NULL;
}

int policies_begin(struct outgoing *outgoing, const struct policy_request *request, struct policy_answer *answer)
{
	const struct weft_policies *policies = policies_at(&outgoing->image, request->result);
	int r = 0;

	if (!policies)
		return 0;
	if (policies->fault && request->listener_flags & WEFT_LISTENER_FAULTS)
		r = inject(outgoing, request, weft_at(&outgoing->image, policies->fault), answer);
	if (!r && answer->kind == POLICY_GO && policies->cors && request->listener_flags & WEFT_LISTENER_CORS)
		r = apply_cors(outgoing, request, weft_at(&outgoing->image, policies->cors), answer);
	if (!r && answer->kind == POLICY_GO && request->result->kind == WEFT_ROUTE_CLUSTER)
		r = remember_policies(outgoing, request, policies);
	return r;
}
