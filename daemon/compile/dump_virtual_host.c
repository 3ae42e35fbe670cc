/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/dump.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* ---- routes ---------------------------------------------------------------------------------------------------------------------- */

static const char *path_kind_name(uint32_t kind)
{
	static const char *const names[] = { NULL, "exact", "prefix", "separated_prefix", "regex", "connect", "other" };

	return kind && kind < WEFT_ARRAY_SIZE(names) ? names[kind] : "unknown";
}

static const char *action_name(uint16_t action)
{
	static const char *const names[] = { NULL, "cluster", "direct_response", "proxy", "refused" };

	return action && action < WEFT_ARRAY_SIZE(names) ? names[action] : "unknown";
}

static const char *condition_kind_name(uint8_t kind)
{
	static const char *const names[] = { NULL, "present", "exact", "prefix", "suffix", "contains", "range", "grpc", "fraction", "regex", "regex" };

	return kind && kind < WEFT_ARRAY_SIZE(names) ? names[kind] : "unknown";
}

/* A range or fraction is shown as people write it. */
static void dump_condition_value(struct dump *dump, json_t *object, const struct weft_condition *condition)
{
	const struct weft_fraction *fraction;
	const struct weft_range *range;
	const struct weft_dfa *dfa;
	const struct weft_nfa *nfa;

	if (condition->kind == WEFT_CONDITION_REGEX) {
		dfa = view_at(&dump->view, condition->value, 1, sizeof(*dfa));
		if (!dfa)
			dump_fail(dump, -EINVAL);
		else
			dump_set_text(dump, object, "value", dfa->pattern);
	} else if (condition->kind == WEFT_CONDITION_PROGRAM) {
		nfa = view_at(&dump->view, condition->value, 1, sizeof(*nfa));
		if (!nfa)
			dump_fail(dump, -EINVAL);
		else
			dump_set_text(dump, object, "value", nfa->pattern);
	} else if (condition->kind == WEFT_CONDITION_RANGE) {
		range = view_at(&dump->view, condition->value, 1, sizeof(*range));
		if (!range)
			dump_fail(dump, -EINVAL);
		else
			dump_set(dump, object, "value", json_sprintf("[%lld, %lld)", (long long)range->start, (long long)range->end));
	} else if (condition->kind == WEFT_CONDITION_FRACTION) {
		fraction = view_at(&dump->view, condition->value, 1, sizeof(*fraction));
		if (!fraction)
			dump_fail(dump, -EINVAL);
		else
			dump_set(dump, object, "value", json_sprintf("%u of %u", fraction->numerator, fraction->denominator));
	} else {
		dump_set_text(dump, object, "value", condition->value);
	}
}

/* What the condition is on: a header's name as it is, others in words. */
static json_t *dump_condition_name(struct dump *dump, const struct weft_condition *condition)
{
	json_t *name = dump_text(dump, condition->name), *words;

	if (condition->subject == WEFT_SUBJECT_CHANCE)
		words = json_string("chance");
	else if (condition->subject == WEFT_SUBJECT_QUERY)
		words = json_sprintf("?%s", json_string_value(name));
	else if (condition->subject == WEFT_SUBJECT_ROUTE_PATH)
		words = json_string("path");
	else
		return name;
	json_decref(name);
	return words;
}

static json_t *dump_conditions(struct dump *dump, const struct weft_route *route)
{
	const struct weft_condition *conditions = view_at(&dump->view, route->conditions, route->condition_count, sizeof(*conditions));
	json_t *array = json_array();
	uint32_t i;

	if (!conditions && route->condition_count)
		dump_fail(dump, -EINVAL);
	for (i = 0; conditions && i < route->condition_count; i++) {
		json_t *one = json_object();

		dump_set(dump, one, "name", dump_condition_name(dump, &conditions[i]));
		dump_set(dump, one, "kind", json_string(condition_kind_name(conditions[i].kind)));
		dump_condition_value(dump, one, &conditions[i]);
		if (conditions[i].flags & WEFT_CONDITION_INVERT)
			dump_set(dump, one, "inverted", json_true());
		if (conditions[i].flags & WEFT_CONDITION_IGNORE_CASE)
			dump_set(dump, one, "ignore_case", json_true());
		if (conditions[i].flags & WEFT_CONDITION_MISSING_AS_EMPTY)
			dump_set(dump, one, "missing_as_empty", json_true());
		dump_append(dump, array, one);
	}
	return array;
}

static json_t *dump_direct(struct dump *dump, weft_ref ref)
{
	const struct weft_direct_response *direct = view_at(&dump->view, ref, 1, sizeof(*direct));
	json_t *object = json_object();
	const void *head, *body;

	if (!direct) {
		dump_fail(dump, -EINVAL);
		return object;
	}
	head = view_at(&dump->view, direct->head, direct->head_len, 1);
	body = view_at(&dump->view, direct->body, direct->body_len, 1);
	if (!head || (direct->body_len && !body)) {
		dump_fail(dump, -EINVAL);
		return object;
	}
	dump_set(dump, object, "status", json_integer(direct->status));
	dump_set(dump, object, "head", dump_string(dump, head, direct->head_len));
	dump_set(dump, object, "body_bytes", json_integer(direct->body_len));
	if (body)
		dump_set(dump, object, "body", dump_string(dump, body, WEFT_MIN(direct->body_len, 256u)));
	return object;
}

static json_t *dump_route(struct dump *dump, const struct weft_route *route)
{
	json_t *object = json_object();

	dump_set(dump, object, "id", json_integer(route->id));
	dump_set_text(dump, object, "name", route->name);
	dump_set(dump, object, "path_kind", json_string(path_kind_name(route->path_kind)));
	dump_set(dump, object, "path", dump_text(dump, route->path));
	dump_set(dump, object, "conditions", dump_conditions(dump, route));
	if (route->flags & WEFT_ROUTE_MATCH_UNSUPPORTED)
		dump_set(dump, object, "match_is_unsupported", json_true());
	dump_set(dump, object, "action", json_string(action_name(route->action)));
	if (route->choice)
		dump_set(dump, object, "clusters", dump_choice(dump, route->choice));
	if (route->direct)
		dump_set(dump, object, "direct_response", dump_direct(dump, route->direct));
	if (route->extras)
		dump_set(dump, object, "changes", dump_changes(dump, route));
	if (route->timeout_ms)
		dump_set(dump, object, "timeout_ms", json_integer(route->timeout_ms));
	if (route->retries)
		dump_set(dump, object, "retries", json_integer(route->retries));
	if (route->hash_policies)
		dump_set(dump, object, "hash_policies", dump_hash_policies(dump, route->hash_policies));
	if (route->missing_status != 503)
		dump_set(dump, object, "missing_status", json_integer(route->missing_status));
	dump_set(dump, object, "verdict", json_string(verdict_name(route->verdict)));
	dump_set_text(dump, object, "reason", route->reason);
	return object;
}

/* ---- automata -------------------------------------------------------------------------------------------------------------------- */

struct step {
	weft_ref ref;
	uint32_t depth;
};

static json_t *dump_candidates(struct dump *dump, weft_ref ref)
{
	const struct weft_list *list = view_list(&dump->view, ref);
	json_t *array = json_array();
	uint32_t i;

	if (ref && !list)
		dump_fail(dump, -EINVAL);
	for (i = 0; list && i < list->count; i++)
		dump_append(dump, array, json_integer(list->items[i]));
	return array;
}

static json_t *dump_node(struct dump *dump, const struct weft_trie_node *node, uint32_t depth)
{
	json_t *object = json_object();

	dump_set(dump, object, "depth", json_integer(depth));
	dump_set(dump, object, "label", dump_string(dump, node->label, node->label_len));
	dump_set(dump, object, "at_end", dump_candidates(dump, node->at_end));
	dump_set(dump, object, "at_prefix", dump_candidates(dump, node->at_prefix));
	return object;
}

/* Depth first, children in order, on a stack of its own: tries can be deeper than ours. A damaged image may hold a cycle, so
 * the nodes are counted. */
static json_t *dump_trie(struct dump *dump, weft_ref root)
{
	_cleanup_free_ struct step *stack = NULL;
	size_t count = 0, capacity = 0, left = dump->view.size_bytes / sizeof(struct weft_trie_node);
	json_t *array = json_array();
	struct step step = { root, 0 };

	for (;;) {
		const struct weft_trie_node *node = view_at(&dump->view, step.ref, 1, sizeof(*node));
		const weft_ref *children;
		uint32_t i;

		children = node ? view_at(&dump->view, node->children, node->child_count, sizeof(*children)) : NULL;
		if (!node || !left-- || (node->child_count && !children) ||
		    !view_at(&dump->view, step.ref, (uint64_t)sizeof(*node) + node->label_len, 1)) {
			dump_fail(dump, -EINVAL);
			return array;
		}
		dump_append(dump, array, dump_node(dump, node, step.depth));
		if (count + node->child_count > capacity) {
			size_t grown_capacity = (count + node->child_count) * 2;
			struct step *grown = reallocarray(stack, grown_capacity, sizeof(*grown));

			if (!grown) {
				dump_fail(dump, -ENOMEM);
				return array;
			}
			stack = grown;
			capacity = grown_capacity;
		}
		for (i = node->child_count; i > 0; i--)
			stack[count++] = (struct step){ children[i - 1], step.depth + 1 };
		if (!count)
			return array;
		step = stack[--count];
	}
}

/* Automata over regular expressions: how large they are, and which routes they lead to. */
static json_t *dump_dfa(struct dump *dump, weft_ref ref)
{
	const struct weft_dfa *dfa = view_at(&dump->view, ref, 1, sizeof(*dfa));
	const weft_ref *lists = dfa ? view_at(&dump->view, dfa->lists, dfa->list_count, sizeof(*lists)) : NULL;
	json_t *object = json_object(), *lanes = json_array(), *array = json_array();
	uint32_t i;

	if (!dfa || !lists || dfa->lane_count > WEFT_DFA_LANES) {
		dump_fail(dump, -EINVAL);
	} else {
		for (i = 0; i < dfa->lane_count; i++) {
			json_t *lane = json_object();

			dump_set(dump, lane, "states", json_integer(dfa->lanes[i].state_count));
			dump_set(dump, lane, "classes", json_integer(dfa->lanes[i].class_count));
			dump_append(dump, lanes, lane);
		}
		for (i = 1; i < dfa->list_count; i++)
			dump_append(dump, array, dump_candidates(dump, lists[i]));
	}
	dump_set(dump, object, "automata", lanes);
	dump_set(dump, object, "candidates", array);
	return object;
}

json_t *dump_virtual_host(struct dump *dump, const struct weft_virtual_host *host)
{
	const struct weft_list *routes = view_list(&dump->view, host->routes);
	json_t *object = json_object(), *array = json_array();
	uint32_t i;

	dump_set(dump, object, "name", dump_text(dump, host->name));
	for (i = 0; routes && i < routes->count; i++) {
		const struct weft_route *route = view_at(&dump->view, routes->items[i], 1, sizeof(*route));

		if (route)
			dump_append(dump, array, dump_route(dump, route));
		else
			dump_fail(dump, -EINVAL);
	}
	if (host->flags & WEFT_VIRTUAL_HOST_NEEDS_TLS)
		dump_set(dump, object, "needs_tls", json_true());
	dump_set(dump, object, "routes", array);
	if (host->paths)
		dump_set(dump, object, "paths", dump_trie(dump, host->paths));
	if (host->paths_nocase)
		dump_set(dump, object, "paths_ignoring_case", dump_trie(dump, host->paths_nocase));
	if (host->regexes)
		dump_set(dump, object, "regexes", dump_dfa(dump, host->regexes));
	return object;
}
