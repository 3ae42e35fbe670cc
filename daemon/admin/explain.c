/* SPDX-License-Identifier: Apache-2.0 */
#include "admin/explain.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/explain_hash.h"
#include "admin/explain_head.h"
#include "admin/explain_kernel.h"
#include "admin/server.h"
#include "base/cleanup.h"
#include "compile/compile.h"
#include "kube/sockets.h"
#include "weft/changes.h"
#include "weft/exceptions.h"
#include "weft/fast.h"
#include "weft/first_line.h"
#include "weft/http1.h"
#include "weft/location.h"
#include "weft/path.h"
#include "weft/router.h"
#include "weft/server_name.h"

struct explanation {
	const struct explain_world *world;
	const struct weft_head_bytes *bytes;
	struct weft_head head;
	const struct weft_listener *listener;
	const struct weft_route *route;
	struct weft_address client; /* all 0: not known */
	const uint8_t *target; /* normalised */
	uint32_t target_len;
	json_t *answer;
};

static void set(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
}

/* ---- reading images for people --------------------------------------------------------------------------------------------------- */

/* Names are bytes from a configuration: what is not UTF-8 is shown with question marks. */
static json_t *to_json(const uint8_t *bytes, size_t len)
{
	json_t *value = json_stringn((const char *)bytes, len);
	char *copy;

	if (value)
		return value;
	copy = malloc(len + 1);
	if (!copy)
		return json_string("");
	for (size_t i = 0; i < len; i++)
		copy[i] = bytes[i] < 0x80 ? (char)bytes[i] : '?';
	value = json_stringn(copy, len);
	free(copy);
	return value ? value : json_string("");
}

static json_t *text(const struct weft_image_handle *image, weft_ref ref)
{
	const struct weft_text *found = weft_at(image, ref);

	return found ? to_json(found->bytes, found->len) : json_string("");
}

static const struct weft_cluster *find_cluster(const struct weft_image_handle *image, uint32_t id)
{
	const struct weft_image_header *header = (const void *)image->base;
	const weft_ref *entry;

	if (id >= header->cluster_count)
		return NULL;
	entry = weft_at(image, header->cluster_directory + id * (uint32_t)sizeof(weft_ref));
	return entry ? weft_at(image, *entry) : NULL;
}

static const char *verdict_text(uint8_t verdict)
{
	static const char *const names[] = { "", "kernel", "proxy", "refused", "ignored" };

	return verdict < ARRAY_SIZE(names) ? names[verdict] : "?";
}

static json_t *address(const struct weft_address *ip, uint16_t port_be)
{
	return json_string(weft_host_text(ip, port_be).text);
}

/* ---- the outcome ----------------------------------------------------------------------------------------------------------------- */

/* `reason` is the name that the request would be counted under; NULL when it stays in the kernel. */
static json_t *conclude(struct explanation *x, const char *path, const char *reason, const char *why)
{
	set(x->answer, "path", json_string(path));
	set(x->answer, "reason", json_string(reason ? reason : ""));
	set(x->answer, "why", json_string(why));
	return x->answer;
}

static json_t *conclude_slow(struct explanation *x, enum weft_reason reason, const char *why)
{
	return conclude(x, "slow", weft_reason_names[reason], why);
}

static json_t *conclude_status(struct explanation *x, unsigned status, const char *path, const char *reason, const char *why)
{
	set(x->answer, "status", json_integer(status));
	return conclude(x, path, reason, why);
}

/* ---- listener -------------------------------------------------------------------------------------------------------------------- */

static const char *listener_kind(uint8_t kind)
{
	switch (kind) {
	case WEFT_LISTENER_HTTP: return "http";
	case WEFT_LISTENER_TCP: return "tcp";
	case WEFT_LISTENER_PASS: return "pass";
	case WEFT_LISTENER_REFUSED: return "refused";
	case WEFT_LISTENER_BLOCK: return "block";
	default: return "?";
	}
}

static bool knows_host(const struct explanation *x, const struct weft_listener *listener)
{
	const struct weft_route_query query = { .image = x->world->routes, .route_table = listener->route_table };
	struct weft_route_result result = { 0 };

	if (listener->kind != WEFT_LISTENER_HTTP || !listener->route_table)
		return false;
	weft_route(&query, x->bytes, &x->head, &result);
	return result.virtual_host != 0;
}

/* Services have addresses that only DNS knows. Without one, any listener of the port that knows the host is the one that is meant. */
static const struct weft_listener *listener_by_host(const struct explanation *x, uint16_t port_be)
{
	const struct weft_image_handle *image = &x->world->routes;
	const struct weft_image_header *header = (const void *)image->base;
	const struct weft_list *list = weft_at(image, header->listeners);

	for (uint32_t i = 0; list && i < list->count; i++) {
		const struct weft_listener *listener = weft_at(image, list->items[i]);

		if (listener && listener->key.port_be == port_be && knows_host(x, listener))
			return listener;
	}
	return NULL;
}

static void describe_listener(struct explanation *x, const char *note)
{
	const struct weft_image_handle *image = &x->world->routes;
	const struct weft_listener *listener = x->listener;
	json_t *object = json_object();

	set(object, "name", text(image, listener->name));
	set(object, "address", address(&listener->key.address, listener->key.port_be));
	set(object, "kind", json_string(listener_kind(listener->kind)));
	set(object, "verdict", json_string(verdict_text(listener->verdict)));
	set(object, "reason", text(image, listener->reason));
	set(object, "note", json_string(note));
	set(x->answer, "listener", object);
}

static void find_listener(struct explanation *x, const struct explain_url *url)
{
	const uint16_t port_be = htons(url->port);
	const char *note = "";
	weft_ref ref = 0;

	if (weft_find_listener(&x->world->routes, &url->address, port_be, &ref) == 0) {
		x->listener = weft_at(&x->world->routes, ref);
	} else if (!url->is_ip) {
		x->listener = listener_by_host(x, port_be);
		note = "found by the host: explain does not ask DNS for its address";
	}
	if (x->listener)
		describe_listener(x, note);
}

/* ---- route ----------------------------------------------------------------------------------------------------------------------- */

static void condition_value(const struct weft_image_handle *image, const struct weft_condition *condition, struct strbuf *out)
{
	const void *value = weft_at(image, condition->value);
	const struct weft_fraction *fraction = value;
	const struct weft_range *range = value;
	const struct weft_text *text_value = value;

	if (!value || condition->kind == WEFT_CONDITION_PRESENT)
		return;
	if (condition->kind == WEFT_CONDITION_REGEX)
		text_value = weft_at(image, ((const struct weft_dfa *)value)->pattern);
	else if (condition->kind == WEFT_CONDITION_PROGRAM)
		text_value = weft_at(image, ((const struct weft_nfa *)value)->pattern);
	if (condition->kind == WEFT_CONDITION_RANGE) {
		strbuf_printf(out, " [%lld, %lld)", (long long)range->start, (long long)range->end);
	} else if (condition->kind == WEFT_CONDITION_FRACTION) {
		strbuf_printf(out, " %u in %u", fraction->numerator, fraction->denominator);
	} else if (text_value) {
		strbuf_append_text(out, " \"");
		strbuf_append(out, text_value->bytes, text_value->len);
		strbuf_append_byte(out, '"');
	}
}

static json_t *condition(const struct weft_image_handle *image, const struct weft_condition *condition)
{
	static const char *const kinds[] = {
		"?", "is present", "is", "begins with", "ends with", "contains", "is a number in", "is gRPC's", "is drawn:", "matches", "matches",
	};
	static const char *const subjects[] = { "", ":method", ":authority", ":path", ":scheme", "query parameter ", "chance", "path" };
	const char *subject = condition->subject < ARRAY_SIZE(subjects) ? subjects[condition->subject] : "?";
	const struct weft_text *name = weft_at(image, condition->name);
	_cleanup_(strbuf_release) struct strbuf out = STRBUF_INIT;

	strbuf_append_text(&out, subject);
	if (name && (condition->subject == WEFT_SUBJECT_HEADER || condition->subject == WEFT_SUBJECT_QUERY))
		strbuf_append(&out, name->bytes, name->len);
	strbuf_printf(&out, "%s %s", condition->flags & WEFT_CONDITION_INVERT ? " not:" : "",
		      condition->kind < ARRAY_SIZE(kinds) ? kinds[condition->kind] : "?");
	condition_value(image, condition, &out);
	return to_json((const uint8_t *)strbuf_text(&out), out.size);
}

static const char *path_kind(uint32_t kind)
{
	static const char *const names[] = { "", "exact", "prefix", "path_separated_prefix", "regex" };

	return kind < ARRAY_SIZE(names) ? names[kind] : "other";
}

static void describe_route(struct explanation *x, const struct weft_route_result *result)
{
	const struct weft_image_handle *image = &x->world->routes;
	const struct weft_virtual_host *host = weft_at(image, result->virtual_host);
	const struct weft_route_table *table = weft_at(image, x->listener->route_table);
	json_t *object, *conditions;

	set(x->answer, "route_configuration", table ? text(image, table->name) : json_string(""));
	if (!host)
		return;
	set(x->answer, "virtual_host", text(image, host->name));
	x->route = weft_at(image, result->route);
	if (!x->route)
		return;
	object = json_object();
	conditions = json_array();
	set(object, "name", text(image, x->route->name));
	set(object, "id", json_integer(x->route->id));
	set(object, "path_kind", json_string(path_kind(x->route->path_kind)));
	set(object, "path", text(image, x->route->path));
	for (uint32_t i = 0; i < x->route->condition_count; i++) {
		const struct weft_condition *each = weft_at(image, x->route->conditions + i * (uint32_t)sizeof(struct weft_condition));

		if (each)
			json_array_append_new(conditions, condition(image, each));
	}
	set(object, "conditions", conditions);
	set(object, "timeout_ms", json_integer(x->route->timeout_ms));
	set(object, "changes", compile_route_changes(image->base, image->size, x->route));
	set(object, "verdict", json_string(verdict_text(x->route->verdict)));
	set(object, "reason", text(image, x->route->reason));
	set(x->answer, "route", object);
}

/* The target as the proxy normalises it before any match; `room` holds WEFT_PATH_ROOM of it. */
static int normalize(struct explanation *x, uint8_t *room, size_t size, struct weft_route_query *query)
{
	const uint8_t *target = x->bytes->data + x->head.target.off;
	uint32_t len, path_len;
	int r;

	r = weft_path_normalize(target, x->head.target.len, x->listener->flags, room, (uint32_t)size - 8, &len, &path_len);
	if (r)
		return r;
	query->target = room;
	query->target_len = len;
	query->path_len = path_len;
	if (len != x->head.target.len || memcmp(room, target, len) != 0)
		set(x->answer, "normalized_target", to_json(room, len));
	return 0;
}

/* ---- clusters and endpoints ------------------------------------------------------------------------------------------------------ */

struct choice_outcome {
	bool has_bypass, has_remote, has_proxy, has_missing, has_none, has_refused, has_changes, is_too_large, has_long_hash;
};

static const char *policy_name(uint8_t policy)
{
	switch (policy) {
	case WEFT_LB_ROUND_ROBIN: return "ROUND_ROBIN";
	case WEFT_LB_LEAST_REQUEST: return "LEAST_REQUEST";
	case WEFT_LB_RANDOM: return "RANDOM";
	case WEFT_LB_HASH: return "hash";
	default: return "proxy";
	}
}

/* Others are of priorities that only retries go to. */
static bool gets_requests(const struct weft_image_handle *image, const struct weft_cluster *cluster, uint32_t index)
{
	const uint16_t *turns = cluster->priority_count ? weft_at(image, cluster->schedule) : NULL;
	bool is_found = !turns;

	for (uint32_t i = 0; !is_found && i < cluster->schedule_len; i++)
		is_found = turns[i] == index;
	return is_found;
}

static json_t *describe_endpoints(const struct explanation *x, const struct weft_cluster *cluster, struct choice_outcome *outcome)
{
	const struct explain_world *world = x->world;
	json_t *list = json_array();

	for (uint32_t i = 0; i < cluster->endpoint_count; i++) {
		const bool is_for_retries = !gets_requests(&world->endpoints, cluster, i);
		const struct weft_endpoint *endpoint = weft_at(&world->endpoints, cluster->endpoints + i * (uint32_t)sizeof(struct weft_endpoint));
		bool is_local;
		json_t *object;

		if (!endpoint)
			break;
		is_local = world->is_served_pod(world->arg, &endpoint->address);
		object = json_object();
		set(object, "address", address(&endpoint->address, endpoint->port_be));
		set(object, "id", json_integer(endpoint->id));
		set(object, "weight", json_integer(endpoint->weight));
		set(object, "is_local", json_boolean(is_local));
		json_array_append_new(list, object);
		if (is_for_retries)
			set(object, "is_for_retries", json_true());
		else if (is_local && world->fast_path == WEFT_FAST_PATH_ON)
			outcome->has_bypass = true;
		else
			outcome->has_remote = true;
	}
	return list;
}

/* One endpoint, or why it can't be told beforehand. */
static void describe_hash(const struct explanation *x, uint32_t id, json_t *object, struct choice_outcome *outcome)
{
	struct explain_hash hash;

	explain_hash(x->world, x->route, x->bytes, &x->head, x->target, x->target_len, id, &x->client, &hash);
	outcome->has_proxy = outcome->has_proxy || hash.is_for_proxy;
	outcome->has_long_hash = outcome->has_long_hash || hash.is_too_much;
	if (hash.has_endpoint)
		set(object, "hashed_to", address(&hash.endpoint.address, hash.endpoint.port_be));
	if (*hash.why)
		set(object, "hash", json_string(hash.why));
}

static void describe_cluster(struct explanation *x, json_t *list, uint32_t id, uint32_t weight, struct choice_outcome *outcome)
{
	const struct weft_cluster *cluster = find_cluster(&x->world->endpoints, id);
	json_t *object = json_object();

	json_array_append_new(list, object);
	set(object, "weight", json_integer(weight));
	if (!cluster) {
		outcome->has_missing = true;
		set(object, "name", json_string(""));
		set(object, "reason", json_string(id ? "there is no such cluster" : "the request names it"));
		return;
	}
	set(object, "name", text(&x->world->endpoints, cluster->name));
	set(object, "policy", json_string(policy_name(cluster->policy)));
	set(object, "verdict", json_string(verdict_text(cluster->verdict)));
	set(object, "reason", text(&x->world->endpoints, cluster->reason));
	if (cluster->kind == WEFT_CLUSTER_REFUSED || cluster->verdict == WEFT_VERDICT_REFUSED)
		outcome->has_refused = true;
	else if (cluster->kind == WEFT_CLUSTER_BLACK_HOLE || (cluster->kind == WEFT_CLUSTER_ENDPOINTS && cluster->endpoint_count == 0))
		outcome->has_none = true;
	else if (cluster->kind != WEFT_CLUSTER_ENDPOINTS || cluster->policy == WEFT_LB_PROXY)
		outcome->has_proxy = true;
	else
		set(object, "endpoints", describe_endpoints(x, cluster, outcome));
	if (cluster->policy == WEFT_LB_HASH && cluster->verdict != WEFT_VERDICT_REFUSED && x->target)
		describe_hash(x, id, object, outcome);
}

/* Would the head be longer, as the route changes it, than the kernel writes one? */
static bool outgrows(const struct explanation *x, weft_ref changes)
{
	const struct weft_route_query query = { .image = x->world->routes };
	struct weft_change change;

	return changes && x->head.head_len && !weft_change_head(&change, &query, x->bytes, &x->head, changes);
}

static void describe_choice(struct explanation *x, weft_ref ref, struct choice_outcome *outcome)
{
	const struct weft_choice *choice = weft_at(&x->world->routes, ref);
	json_t *list = json_array();
	uint32_t before = 0;

	for (uint32_t i = 0; choice && i < choice->count; i++) {
		describe_cluster(x, list, choice->items[i].cluster_id, choice->items[i].until - before, outcome);
		before = choice->items[i].until;
		outcome->has_changes |= choice->items[i].changes || choice->items[i].response_changes;
		outcome->is_too_large |= outgrows(x, choice->items[i].changes);
	}
	set(x->answer, "clusters", list);
}

/* What a request has for which weft's own answer is the proxy's. */
static enum weft_reason local_obstacle(const struct explanation *x, const char **why)
{
	if (x->head.flags & WEFT_HEAD_CONTENT_LENGTH) {
		*why = "the request has a body";
		return WEFT_REASON_DIRECT_WITH_BODY;
	}
	*why = "the request has a content-type, which may be gRPC's";
	return x->head.flags & WEFT_HEAD_CONTENT_TYPE ? WEFT_REASON_DIRECT_CONTENT_TYPE : WEFT_REASON_NONE;
}

static json_t *conclude_cluster(struct explanation *x, const struct choice_outcome *outcome)
{
	enum weft_reason obstacle;
	const char *why;
	const struct explain_world *world = x->world;

	if (outcome->has_missing)
		return conclude_status(x, x->route->missing_status, "slow", weft_reason_names[WEFT_REASON_NO_CLUSTER],
				       "the route names a cluster that does not exist");
	if (outcome->has_refused && !outcome->has_bypass && !outcome->has_remote && !outcome->has_proxy)
		return conclude_status(x, 503, "slow", weft_reason_names[WEFT_REASON_BALANCE_PROXY],
				       "weft can't do exactly what the cluster asks for (its reason says why)");
	if (outcome->has_refused || outcome->has_proxy)
		return conclude_slow(x, WEFT_REASON_BALANCE_PROXY, "the proxy chooses the endpoint of this cluster (the cluster's reason, or the route's, says why)");
	if (outcome->has_long_hash)
		return conclude_slow(x, WEFT_REASON_BALANCE_PROXY, "what the cluster hashes of this request is longer than the kernel hashes, or stands in several lines");
	obstacle = local_obstacle(x, &why);
	if (outcome->has_none && !outcome->has_bypass && !outcome->has_remote && obstacle != WEFT_REASON_NONE)
		return conclude_status(x, 503, "slow", weft_reason_names[obstacle], why);
	if (outcome->has_none && !outcome->has_bypass && !outcome->has_remote)
		return conclude_status(x, 503, world->has_push_pop ? "local_reply" : "slow", weft_reason_names[WEFT_REASON_NO_ENDPOINT],
				       "the cluster has no usable endpoint: \"no healthy upstream\"");
	if ((outcome->has_changes || x->head.flags & WEFT_HEAD_NOT_CANONICAL || weft_changes_always(&x->head)) && !world->has_push_pop)
		return conclude_slow(x, WEFT_REASON_EDITS_OFF, "this kernel can't change what a request holds");
	if (outcome->is_too_large)
		return conclude_slow(x, WEFT_REASON_EDITED_TOO_LARGE, "the head, as the route changes it, is longer than the kernel writes one");
	if (outcome->has_remote && !world->has_sk_skb)
		return conclude(x, outcome->has_bypass ? "bypass or slow" : "slow", "", "this kernel can't redirect responses of pods elsewhere (sk_skb)");
	if (outcome->has_bypass && outcome->has_remote)
		return conclude(x, "bypass or remote", NULL, "by the endpoint: from socket to socket where it is an enrolled pod of this node");
	if (outcome->has_bypass)
		return conclude(x, "bypass", NULL, "every endpoint is an enrolled pod of this node: from socket to socket");
	return conclude(x, "remote", NULL, world->fast_path == WEFT_FAST_PATH_REMOTE ?
			"on a pooled connection, also to pods of this node (--fast-path remote)" :
			"on a pooled connection: no endpoint is an enrolled pod of this node");
}

/* ---- why not in the kernel ------------------------------------------------------------------------------------------------------- */

static const char *head_why(enum weft_reason reason)
{
	switch (reason) {
	case WEFT_REASON_CHUNKED_REQUEST: return "a chunked body has no known end";
	case WEFT_REASON_CONNECTION_CLOSE: return "the Connection header says more than keep-alive";
	case WEFT_REASON_UPGRADE: return "the request asks for an upgrade";
	case WEFT_REASON_EXPECT: return "the request has an Expect header";
	case WEFT_REASON_GRPC: return "the request is of gRPC (content-type), which is retried by what its answer says";
	case WEFT_REASON_HTTP_10: return "HTTP/1.0";
	case WEFT_REASON_ABSOLUTE_FORM: return "the target is neither a path nor a URL that the kernel reads";
	case WEFT_REASON_NORMALIZES: return "normalisation changes the path";
	case WEFT_REASON_ODD_HEAD: return "the head is oddly spaced";
	default: return "a header that the proxy removes or acts upon";
	}
}

/* What keeps this request from the kernel whatever its route; NONE: nothing. */
static enum weft_reason early_reason(const struct explanation *x, const struct weft_route_query *query, const char **why)
{
	const struct explain_kernel_query kernel = {
		.routes = &query->image,
		.route_table = query->route_table,
		.target = query->target,
		.target_len = query->target_len,
		.path_len = query->path_len,
	};
	enum weft_reason reason;

	*why = "this kernel has no usable sockmap (`weftctl status` says why)";
	if (!x->world->has_sockmap)
		return WEFT_REASON_FAST_PATH_OFF;
	*why = "the kernel may carry nothing (--fast-path off)";
	if (x->world->fast_path == WEFT_FAST_PATH_OFF)
		return WEFT_REASON_FAST_PATH_OFF;
	*why = "the head is longer than the kernel reads, or has more lines";
	if (x->head.head_len > WEFT_KERNEL_HEAD_MAX || x->head.field_count > WEFT_KERNEL_FIELDS_MAX)
		return WEFT_REASON_HEAD_TOO_LARGE;
	*why = "the listener is the proxy's (its reason says why)";
	if (!(x->listener->flags & WEFT_LISTENER_KERNEL))
		return WEFT_REASON_LISTENER_PROXY;
	reason = weft_head_reason(&x->head, x->listener->flags);
	*why = head_why(reason);
	if (reason != WEFT_REASON_NONE)
		return reason;
	reason = explain_kernel_route(&kernel, x->bytes, &x->head);
	*why = reason == WEFT_REASON_REGEX_TOO_COMPLEX ? "a regular expression on the way to the route is the proxy's to follow" :
							 "the host, or what a route of it asks for, is longer than the kernel follows, or more routes with "
							 "conditions come first than it tries (64)";
	return reason;
}

/* How long weft's own answer may be in the kernel, and that the proxy gives those to HEAD that Envoy says another length of. */
static bool fits_kernel(const struct explanation *x, const struct weft_route_result *result)
{
	const struct weft_direct_response *direct = weft_at(&x->world->routes, result->direct);
	const struct weft_route_query query = { .image = x->world->routes };
	bool is_head = x->head.method == WEFT_METHOD_HEAD;
	struct weft_change change;
	uint32_t len;

	if (result->kind == WEFT_ROUTE_DIRECT)
		return direct && direct->head_len <= WEFT_DIRECT_HEAD_MAX && direct->body_len <= WEFT_DIRECT_BODY_MAX && !(is_head && !direct->body_len);
	if (is_head || result->kind != WEFT_ROUTE_REDIRECT)
		return !is_head;
	len = weft_location_head(&change, &query, x->bytes, &x->head, result->location);
	return len && len <= WEFT_DIRECT_HEAD_MAX;
}

static json_t *conclude_local(struct explanation *x, const struct weft_route_result *result, unsigned status, enum weft_reason early,
			      const char *early_why, const char *why)
{
	if (early != WEFT_REASON_NONE)
		return conclude_status(x, status, "slow", weft_reason_names[early], early_why);
	early = local_obstacle(x, &early_why);
	if (early != WEFT_REASON_NONE)
		return conclude_status(x, status, "slow", weft_reason_names[early], early_why);
	if (!x->world->has_push_pop)
		return conclude_status(x, status, "slow", weft_reason_names[WEFT_REASON_DIRECT_TOO_LARGE], "this kernel can't make local replies");
	if (!fits_kernel(x, result))
		return conclude_status(x, status, "slow", weft_reason_names[WEFT_REASON_DIRECT_TOO_LARGE],
				       x->head.method == WEFT_METHOD_HEAD ? "the answer to HEAD has no body that its length could be of" :
									    "the answer is longer than the kernel writes one");
	return conclude_status(x, status, "local_reply", NULL, why);
}

/* A route's redirect, or without one its virtual host's. */
static json_t *conclude_redirect(struct explanation *x, const struct weft_route_result *result, enum weft_reason early, const char *early_why)
{
	const struct weft_route_extras *extras = x->route ? weft_at(&x->world->routes, x->route->extras) : NULL;
	const struct weft_redirect *redirect = extras ? weft_at(&x->world->routes, extras->redirect) : NULL;

	if (early == WEFT_REASON_NONE && redirect && x->route->action == WEFT_ACTION_PROXY) {
		early = WEFT_REASON_ROUTE_PROXY;
		early_why = "the route is the proxy's (its reason says why)";
	}
	return conclude_local(x, result, redirect ? redirect->status : 301, early, early_why,
			      redirect ? "the route redirects" : "the virtual host needs TLS: what is not https is redirected");
}

static json_t *explain_route(struct explanation *x)
{
	struct weft_route_query query = { .image = x->world->routes, .route_table = x->listener->route_table };
	const size_t room_size = WEFT_PATH_ROOM((size_t)x->head.target.len) + 8;
	_cleanup_free_ uint8_t *room = calloc(1, room_size);
	const struct weft_direct_response *direct;
	struct weft_route_result result = { 0 };
	struct choice_outcome outcome = { 0 };
	enum weft_reason early;
	const char *early_why;

	if (!room)
		return NULL;
	if (normalize(x, room, room_size, &query))
		return conclude_status(x, 400, "slow", weft_reason_names[WEFT_REASON_NORMALIZES], "the path can't be normalised");
	x->target = query.target;
	x->target_len = query.target_len;
	early = early_reason(x, &query, &early_why);
	weft_route(&query, x->bytes, &x->head, &result);
	describe_route(x, &result);
	switch (result.kind) {
	case WEFT_ROUTE_NOT_FOUND:
		return conclude_local(x, &result, 404, early, early_why,
				      result.virtual_host ? "no route of the virtual host matches" : "no virtual host has this host");
	case WEFT_ROUTE_REFUSED:
		return conclude_status(x, 503, "slow", weft_reason_names[WEFT_REASON_ROUTE_REFUSED],
				       "weft can't do exactly what this route asks for, and never does it approximately");
	case WEFT_ROUTE_DIRECT:
		direct = weft_at(&x->world->routes, result.direct);
		if (x->route && x->route->action == WEFT_ACTION_PROXY && early == WEFT_REASON_NONE) {
			early = WEFT_REASON_ROUTE_PROXY;
			early_why = "the route is the proxy's (its reason says why)";
		}
		return conclude_local(x, &result, direct ? direct->status : 0, early, early_why, "the route has a direct response");
	case WEFT_ROUTE_REDIRECT:
		return conclude_redirect(x, &result, early, early_why);
	case WEFT_ROUTE_CLUSTER:
		break;
	default:
		return conclude_slow(x, (enum weft_reason)(result.reason < WEFT_REASON_COUNT ? result.reason : WEFT_REASON_ROUTE_PROXY), "");
	}
	if (x->route)
		describe_choice(x, x->route->choice, &outcome);
	if (early != WEFT_REASON_NONE)
		return conclude_slow(x, early, early_why);
	if (x->route && x->route->action == WEFT_ACTION_PROXY)
		return conclude_slow(x, WEFT_REASON_ROUTE_PROXY, "the route is the proxy's (its reason says why)");
	if (x->head.head_len + x->head.content_length > x->world->redirect_limit_bytes)
		return conclude_slow(x, WEFT_REASON_BODY_TOO_LARGE, "head and body are more than the kernel may carry (--redirect-limit)");
	return conclude_cluster(x, &outcome);
}

static json_t *explain_parse(struct explanation *x, int parsed)
{
	switch (parsed) {
	case WEFT_PARSE_TOO_LARGE:
		return conclude_status(x, 431, "slow", weft_reason_names[WEFT_REASON_HEAD_TOO_LARGE], "the head is too long or has too many lines");
	case WEFT_PARSE_VERSION:
		return conclude_status(x, 426, "slow", weft_reason_names[WEFT_REASON_HTTP_10], "this version of HTTP is not served");
	case WEFT_PARSE_CODING:
		return conclude_status(x, 501, "slow", weft_reason_names[WEFT_REASON_BAD_HEAD], "a transfer coding other than chunked");
	default:
		return conclude_status(x, 400, "slow", weft_reason_names[weft_parse_reason(parsed)], "the head is malformed");
	}
}

/* ---- bytes ----------------------------------------------------------------------------------------------------------------------- */

static json_t *explain_bytes(struct explanation *x, weft_ref choice)
{
	struct choice_outcome outcome = { 0 };
	bool has_endpoint;

	if (!choice)
		return conclude(x, "closed", "", "no filter chain takes these bytes, or weft refuses the one that does (the listener's reason says so)");
	describe_choice(x, choice, &outcome);
	has_endpoint = outcome.has_bypass || outcome.has_remote;
	if (!has_endpoint && !outcome.has_proxy)
		return conclude(x, "closed", "", "there is no endpoint: the proxy closes the connection");
	if (has_endpoint && x->listener->kind == WEFT_LISTENER_TCP && x->listener->flags & WEFT_LISTENER_KERNEL && x->world->fast_path != WEFT_FAST_PATH_OFF)
		return conclude(x, "direct", "", "connect() goes to an endpoint at once, and no byte of the connection costs anything");
	return conclude(x, "tunnel", "", "the proxy carries bytes both ways");
}

static json_t *explain_tls(struct explanation *x, struct explain_url *url)
{
	const struct weft_listener *listener = x->listener;
	const struct weft_sni *found;
	char none[] = "";

	if (listener->names) {
		for (char *p = url->host; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		found = weft_find_server_name(&x->world->routes, listener->names, url->is_ip ? none : url->host);
		return explain_bytes(x, found ? found->choice : 0);
	}
	if (listener->kind == WEFT_LISTENER_TCP)
		return explain_bytes(x, listener->tcp_choice);
	if (listener->kind == WEFT_LISTENER_HTTP && listener->flags & WEFT_LISTENER_SNIFF)
		return explain_bytes(x, listener->other_choice);
	return NULL;
}

static json_t *explain_listener(struct explanation *x)
{
	switch (x->listener->kind) {
	case WEFT_LISTENER_HTTP:
		break;
	case WEFT_LISTENER_TCP:
		return explain_bytes(x, x->listener->tcp_choice);
	case WEFT_LISTENER_PASS:
		return conclude(x, "untouched", "", "weft leaves these connections alone");
	case WEFT_LISTENER_BLOCK:
		return conclude(x, "blocked", "", "connections are refused (BlackHoleCluster)");
	default:
		return conclude_status(x, 503, "slow", weft_reason_names[WEFT_REASON_LISTENER_PROXY],
				       "weft does not enforce what the listener asks for, so it serves nothing there");
	}
	if (x->listener->flags & WEFT_LISTENER_HTTP_REFUSED)
		return conclude_status(x, 503, "slow", weft_reason_names[WEFT_REASON_LISTENER_PROXY],
				       "weft does not enforce what the listener's chain for HTTP asks for");
	if (!x->listener->route_table)
		return conclude_status(x, 404, "slow", weft_reason_names[WEFT_REASON_LISTENER_PROXY], "the listener has no route configuration");
	return explain_route(x);
}

/* What connect() looks at before it looks for a listener. NULL: go on. */
static const char *why_not_meshed(const struct explain_world *world, const struct explain_url *url)
{
	if (weft_address_equals(&world->pod_addresses[weft_address_family(&url->address)], &url->address))
		return "it is the pod's own address";
	if (address_is_never_meshed(&url->address))
		return "loopback, link-local and multicast addresses are never meshed";
	if (world->exceptions && weft_is_excepted(world->exceptions, &url->address, htons(url->port)))
		return "an annotation of the pod excepts this destination";
	return NULL;
}

json_t *explain_request(const struct explain_world *world, const json_t *request)
{
	const char *method = json_string_value(json_object_get(request, "method"));
	const char *url_text = json_string_value(json_object_get(request, "url"));
	_cleanup_(strbuf_release) struct strbuf head = STRBUF_INIT;
	struct explanation x = { .world = world };
	struct explain_url url;
	const char *why;
	char complaint[128];
	size_t head_len;
	int r;

	if (!method || !url_text)
		return admin_error("explain needs a method and a URL");
	if (!method[0] || strpbrk(method, " \t\r\n") || strpbrk(url_text, " \t\r\n"))
		return admin_error("a method or URL has no white space");
	r = explain_url_parse(url_text, &url, complaint, sizeof(complaint));
	if (r == 0)
		r = explain_head(method, &url, json_object_get(request, "headers"), &head, complaint, sizeof(complaint));
	if (r == -EINVAL)
		return admin_error("%s", complaint);
	head_len = head.size;
	if (r || strbuf_append(&head, "\0\0\0\0\0\0\0\0", 8))
		return admin_error("out of memory");
	if (head_len > UINT16_MAX)
		return admin_error("a head of %zu bytes is more than anybody serves", head_len);

	x.bytes = (const struct weft_head_bytes *)(const void *)head.data;
	x.answer = json_object();
	set(x.answer, "request", json_pack("{s:s, s:s, s:s, s:i}", "method", method, "url", url_text, "host", url.host, "port", (int)url.port));
	r = weft_parse_request(x.bytes, (uint32_t)head_len, &x.head);
	why = url.is_ip ? why_not_meshed(world, &url) : NULL;
	if (why)
		return conclude(&x, "untouched", "", why);
	if (r != WEFT_PARSE_DONE)
		memset(&x.head, 0, sizeof(x.head));
	x.client = world->pod_addresses[weft_address_family(&url.address)];
	if (!url.is_ip && !weft_address_is_set(&x.client))
		x.client = world->pod_addresses[WEFT_FAMILY_6];
	find_listener(&x, &url);
	if (!x.listener)
		return conclude(&x, "untouched", "", "no listener has this destination: weft leaves the connection alone");
	if (url.is_tls) {
		json_t *answer = explain_tls(&x, &url);

		if (answer)
			return answer;
		if (x.listener->kind == WEFT_LISTENER_HTTP)
			return conclude_status(&x, 400, "slow", weft_reason_names[WEFT_REASON_NOT_HTTP], "the listener takes plain HTTP alone");
	}
	if (r != WEFT_PARSE_DONE && x.listener->kind == WEFT_LISTENER_HTTP && x.listener->flags & WEFT_LISTENER_SNIFF &&
	    weft_inspect_first_line((const uint8_t *)head.data, (uint32_t)head_len) == WEFT_FIRST_LINE_OTHER)
		return explain_bytes(&x, x.listener->other_choice);
	if (r != WEFT_PARSE_DONE && x.listener->kind == WEFT_LISTENER_HTTP)
		return explain_parse(&x, r);
	return explain_listener(&x);
}
