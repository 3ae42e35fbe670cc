/* SPDX-License-Identifier: Apache-2.0 */
/* Header edits: request_headers_to_add, ..._to_remove and the same for responses. */
#include <string.h>
#include <strings.h>

#include "mesh/model.h"

static bool is_reserved(const char *name)
{
	return *name == ':' || strcasecmp(name, "host") == 0;
}

static enum mesh_append append_action(struct build *b, const PbHeaderOption *option)
{
	typedef Envoy__Config__Core__V3__HeaderValueOption__HeaderAppendAction Action;
	Action action = option->append_action;

	if (option->append && action)
		build_refuse(b, "both append and append_action are set");
	if (option->append && !option->append->value)
		return MESH_OVERWRITE_IF_EXISTS_OR_ADD;
	switch (action) {
	case ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__APPEND_IF_EXISTS_OR_ADD:
		return MESH_APPEND_IF_EXISTS_OR_ADD;
	case ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__ADD_IF_ABSENT:
		return MESH_ADD_IF_ABSENT;
	case ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS_OR_ADD:
		return MESH_OVERWRITE_IF_EXISTS_OR_ADD;
	case ENVOY__CONFIG__CORE__V3__HEADER_VALUE_OPTION__HEADER_APPEND_ACTION__OVERWRITE_IF_EXISTS:
		return MESH_OVERWRITE_IF_EXISTS;
	default:
		build_refuse(b, "an unknown append_action: %d", (int)action);
		return MESH_APPEND_IF_EXISTS_OR_ADD;
	}
}

static void header_add(struct build *b, const PbHeaderOption *option, struct mesh_header_add *out)
{
	char buffer[128];
	const char *problem;

	out->name = "";
	out->value = "";
	build_check_fields(b, &option->base, MESH_EFFECT_TRAFFIC, KNOWN("header", "append", "append_action", "keep_empty_value"));
	out->action = append_action(b, option);
	out->keep_empty_value = option->keep_empty_value;
	if (!option->header || !*option->header->key) {
		build_refuse(b, "a header name is needed");
		return;
	}
	build_check_fields(b, &option->header->base, MESH_EFFECT_TRAFFIC, KNOWN("key", "value"));
	if (is_reserved(option->header->key))
		build_refuse(b, "host and headers that begin with `:` may not be modified");
	model_header_value(b, "header.key", option->header->key);
	out->name = build_lower(b, option->header->key);
	out->value = model_header_value(b, "header.value", option->header->value);
	out->has_variables = strchr(out->value, '%') != NULL;
	problem = format_problem(out->value, buffer, sizeof(buffer));
	if (problem)
		build_refuse(b, "`%s`: %s", out->value, problem);
}

static void add_list(struct build *b, const char *name, PbHeaderOption *const *options, size_t count, struct mesh_header_add **out,
		     size_t *out_count)
{
	*out = build_array(b, struct mesh_header_add, count);
	if (!*out)
		return;
	*out_count = count;
	for (size_t i = 0; i < count; i++) {
		size_t before = build_enter_index(b, name, i);

		header_add(b, options[i], &(*out)[i]);
		build_leave(b, before);
	}
}

static struct mesh_texts remove_list(struct build *b, const char *name, char *const *items, size_t count)
{
	struct mesh_texts texts = build_texts(b, items, count);

	for (size_t i = 0; i < texts.count; i++) {
		size_t before = build_enter_index(b, name, i);

		if (!*texts.items[i])
			build_refuse(b, "an empty header name");
		if (is_reserved(texts.items[i]))
			build_refuse(b, "host and headers that begin with `:` may not be removed");
		if (texts.items[i][strcspn(texts.items[i], "\r\n")])
			build_refuse(b, "a line break is not allowed here");
		texts.items[i] = build_lower(b, texts.items[i]);
		build_leave(b, before);
	}
	return texts;
}

void model_header_edits(struct build *b, const struct header_lists *lists, struct mesh_header_edits *out)
{
	add_list(b, "request_headers_to_add", lists->request_add, lists->request_add_count, &out->request_add, &out->request_add_count);
	add_list(b, "response_headers_to_add", lists->response_add, lists->response_add_count, &out->response_add, &out->response_add_count);
	out->request_remove = remove_list(b, "request_headers_to_remove", lists->request_remove, lists->request_remove_count);
	out->response_remove = remove_list(b, "response_headers_to_remove", lists->response_remove, lists->response_remove_count);
}
