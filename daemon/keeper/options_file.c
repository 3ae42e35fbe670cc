/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/options_file.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/strbuf.h"

struct file {
	const char *path;
	FILE *errors;
	struct arena *memory;
	yaml_document_t document;
};

static int complain(const struct file *file, size_t line, const char *what, const char *name)
{
	fprintf(file->errors, "weftd: %s:%zu: %s%s\n", file->path, line, name, what);
	return -EINVAL;
}

static const char *scalar(const yaml_node_t *node)
{
	if (!node || node->type != YAML_SCALAR_NODE || strlen((const char *)node->data.scalar.value) != node->data.scalar.length)
		return NULL;
	return (const char *)node->data.scalar.value;
}

/* False: it is no list of scalars, nor a mapping of some. */
static bool join(struct file *file, const yaml_node_t *node, struct strbuf *out)
{
	const char *text;

	if (node->type == YAML_SEQUENCE_NODE) {
		for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
			text = scalar(yaml_document_get_node(&file->document, *item));
			if (!text)
				return false;
			strbuf_printf(out, "%s%s", out->size ? "," : "", text);
		}
		return true;
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const char *name = scalar(yaml_document_get_node(&file->document, pair->key));

		text = scalar(yaml_document_get_node(&file->document, pair->value));
		if (!name || !text)
			return false;
		strbuf_printf(out, "%s%s=%s", out->size ? "," : "", name, text);
	}
	return true;
}

static int read_pair(struct file *file, const yaml_node_pair_t *pair, options_file_fn fn, void *arg)
{
	const yaml_node_t *key = yaml_document_get_node(&file->document, pair->key), *node = yaml_document_get_node(&file->document, pair->value);
	_cleanup_(strbuf_release) struct strbuf joined = STRBUF_INIT;
	const char *name = scalar(key), *value;
	size_t line = key->start_mark.line + 1;

	if (!name)
		return complain(file, line, "an option's name is expected", "");
	if (node->type == YAML_SCALAR_NODE)
		value = scalar(node);
	else
		value = join(file, node, &joined) ? strbuf_text(&joined) : NULL;
	if (strbuf_status(&joined))
		return -ENOMEM;
	if (!value)
		return complain(file, line, ": one value, a list or a mapping of them is expected", name);
	name = arena_text(file->memory, name);
	value = arena_text(file->memory, value);
	return name && value ? fn(arg, name, value, line) : -ENOMEM;
}

static int read_document(struct file *file, options_file_fn fn, void *arg)
{
	const yaml_node_t *root = yaml_document_get_root_node(&file->document);
	int r = 0;

	if (!root)
		return 0;
	if (root->type != YAML_MAPPING_NODE)
		return complain(file, root->start_mark.line + 1, "options are expected, as `log-level: info`", "");
	for (yaml_node_pair_t *pair = root->data.mapping.pairs.start; !r && pair < root->data.mapping.pairs.top; pair++)
		r = read_pair(file, pair, fn, arg);
	return r;
}

int options_file_read(const char *path, FILE *errors, struct arena *memory, options_file_fn fn, void *arg)
{
	struct file file = { .path = path, .errors = errors, .memory = memory };
	_cleanup_fclose_ FILE *stream = fopen(path, "re");
	yaml_parser_t parser;
	int r;

	if (!stream) {
		fprintf(errors, "weftd: --options %s: %s\n", path, strerror(errno));
		return -EINVAL;
	}
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_file(&parser, stream);
	if (yaml_parser_load(&parser, &file.document)) {
		r = read_document(&file, fn, arg);
		yaml_document_delete(&file.document);
	} else {
		r = complain(&file, parser.problem_mark.line + 1, parser.problem ? parser.problem : "it can't be read", "");
	}
	yaml_parser_delete(&parser);
	return r;
}
