/* SPDX-License-Identifier: Apache-2.0 */
/* Ways through a tree by name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/yaml_tree.h"

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key)
{
	if (mapping->kind != NODE_MAPPING)
		return NULL;
	for (size_t i = 0; i < mapping->mapping.count; i++)
		if (strcmp(mapping->mapping.pairs[i].key, key) == 0)
			return mapping->mapping.pairs[i].value;
	return NULL;
}

void yaml_json_name(const char *name, char *out)
{
	bool is_start = false;

	for (; *name; name++) {
		if (*name == '_') {
			is_start = true;
			continue;
		}
		*out++ = is_start ? (char)toupper((unsigned char)*name) : *name;
		is_start = false;
	}
	*out = '\0';
}

/* By the name itself or its JSON form, which is what `size` bytes at `name` say. */
static const struct yaml_node *get_either(const struct yaml_node *mapping, const char *name, size_t size)
{
	char snake[128], camel[128];
	const struct yaml_node *found;

	if (size >= sizeof(snake))
		return NULL;
	memcpy(snake, name, size);
	snake[size] = '\0';
	found = yaml_get(mapping, snake);
	if (found)
		return found;
	yaml_json_name(snake, camel);
	return yaml_get(mapping, camel);
}

static const struct yaml_node *get_bracketed(const struct yaml_node *node, const char *text, size_t size)
{
	unsigned long index;
	char *end;

	if (node->kind == NODE_MAPPING)
		return get_either(node, text, size);
	if (node->kind != NODE_SEQUENCE)
		return NULL;
	index = strtoul(text, &end, 10);
	return end == text + size && index < node->sequence.count ? node->sequence.items[index] : NULL;
}

const struct yaml_node *yaml_find(const struct yaml_node *node, const char *path)
{
	while (*path) {
		const struct yaml_node *next;
		size_t size;

		if (*path == '.') {
			path++;
		} else if (*path == '[') {
			/* a key in brackets may itself hold any byte but `]` */
			const char *end = strchr(path, ']');

			if (!end)
				break;
			next = get_bracketed(node, path + 1, (size_t)(end - path) - 1);
			if (!next)
				break;
			node = next;
			path = end + 1;
		} else {
			size = strcspn(path, ".[");
			next = node->kind == NODE_MAPPING ? get_either(node, path, size) : NULL;
			if (!next)
				break;
			node = next;
			path += size;
		}
	}
	return node;
}
