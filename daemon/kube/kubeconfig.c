/* SPDX-License-Identifier: Apache-2.0 */
/* One kubeconfig: its current context, with what a daemon can use of it. Programs to be run and passwords are refused by name. */
#include <errno.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "kube/access.h"

#define FILE_BYTES_MAX (4u << 20)

struct config {
	yaml_document_t document;
	const char *path;
	char *problem;
	size_t problem_size;
};

static const yaml_node_t *value_of(struct config *config, const yaml_node_t *map, const char *key)
{
	if (!map || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (yaml_node_pair_t *pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top; pair++) {
		const yaml_node_t *name = yaml_document_get_node(&config->document, pair->key);

		if (name && name->type == YAML_SCALAR_NODE && strcmp((const char *)name->data.scalar.value, key) == 0)
			return yaml_document_get_node(&config->document, pair->value);
	}
	return NULL;
}

/* NULL: not there, or empty. */
static const char *text_of(struct config *config, const yaml_node_t *map, const char *key)
{
	const yaml_node_t *value = value_of(config, map, key);
	const char *text = value && value->type == YAML_SCALAR_NODE ? (const char *)value->data.scalar.value : NULL;

	return text && *text ? text : NULL;
}

/* The entry called `name` of the list `list`: what it has under `key`. */
static const yaml_node_t *entry_of(struct config *config, const char *list, const char *name, const char *key)
{
	const yaml_node_t *items = value_of(config, yaml_document_get_root_node(&config->document), list);

	if (!items || items->type != YAML_SEQUENCE_NODE)
		return NULL;
	for (yaml_node_item_t *item = items->data.sequence.items.start; item < items->data.sequence.items.top; item++) {
		const yaml_node_t *entry = yaml_document_get_node(&config->document, *item);
		const char *entry_name = text_of(config, entry, "name");

		if (entry_name && strcmp(entry_name, name) == 0)
			return value_of(config, entry, key);
	}
	return NULL;
}

static int complain(struct config *config, const char *what, const char *name)
{
	snprintf(config->problem, config->problem_size, "%s: %s%s%s", config->path, what, name ? " " : "", name ? name : "");
	return -EINVAL;
}

static int decode(const char *text, struct strbuf *out)
{
	EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
	size_t size = strlen(text);
	int first = 0, rest = 0, r = context && size < SIZE_MAX / 2 ? strbuf_reserve(out, size + 1) : -ENOMEM;

	if (!r) {
		EVP_DecodeInit(context);
		if (EVP_DecodeUpdate(context, (unsigned char *)out->data, &first, (const unsigned char *)text, (int)size) < 0 ||
		    EVP_DecodeFinal(context, (unsigned char *)out->data + first, &rest) < 0 || first + rest == 0)
			r = -EINVAL;
	}
	EVP_ENCODE_CTX_free(context);
	if (r)
		return r;
	out->size = (size_t)(first + rest);
	out->data[out->size] = '\0';
	return 0;
}

/* `key`-data holds it, or `key` names its file, which counts from the kubeconfig's folder. */
static int read_secret(struct config *config, const yaml_node_t *map, const char *key, const char *data_key, struct kube_secret *out)
{
	const char *data = text_of(config, map, data_key), *file = text_of(config, map, key);
	_cleanup_free_ char *copy = NULL;

	if (data)
		return decode(data, &out->text) ? complain(config, "this is no base64:", data_key) : 0;
	if (!file)
		return 0;
	copy = strdup(config->path);
	if (!copy || asprintf(&out->file, "%s%s%s", *file == '/' ? "" : dirname(copy), *file == '/' ? "" : "/", file) < 0) {
		out->file = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int read_cluster(struct config *config, const yaml_node_t *cluster, struct kube_access *access)
{
	const char *server = text_of(config, cluster, "server"), *name = text_of(config, cluster, "tls-server-name");
	const char *insecure = text_of(config, cluster, "insecure-skip-tls-verify");
	size_t size;

	if (!server || (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0))
		return complain(config, "the cluster has no server that begins with https:// or http://", NULL);
	if (text_of(config, cluster, "proxy-url"))
		return complain(config, "a cluster behind a proxy is not supported: proxy-url", NULL);
	access->server = strdup(server);
	access->server_name = name ? strdup(name) : NULL;
	if (!access->server || (name && !access->server_name))
		return -ENOMEM;
	for (size = strlen(server); size && access->server[size - 1] == '/'; size--)
		access->server[size - 1] = '\0';
	access->is_insecure = insecure && strcmp(insecure, "true") == 0;
	return read_secret(config, cluster, "certificate-authority", "certificate-authority-data", &access->ca);
}

static int read_user(struct config *config, const yaml_node_t *user, struct kube_access *access)
{
	static const char *const others[] = { "exec", "auth-provider", "username", "password", "as" };
	const char *token = text_of(config, user, "token"), *token_file = text_of(config, user, "tokenFile");
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (value_of(config, user, others[i]))
			return complain(config, "only a token or a client certificate is supported, not", others[i]);
	r = read_secret(config, user, "client-certificate", "client-certificate-data", &access->cert);
	if (!r)
		r = read_secret(config, user, "client-key", "client-key-data", &access->key);
	/* A file wins, as it does for kubectl. */
	if (!r && token_file)
		r = read_secret(config, user, "tokenFile", "", &access->token);
	else if (!r && token)
		r = strbuf_append_text(&access->token.text, token);
	return r;
}

static int read_context(struct config *config, struct kube_access *access)
{
	const char *name = text_of(config, yaml_document_get_root_node(&config->document), "current-context");
	const yaml_node_t *context = name ? entry_of(config, "contexts", name, "context") : NULL;
	const yaml_node_t *cluster, *user;
	const char *cluster_name, *user_name;
	int r;

	if (!name)
		return complain(config, "it has no current-context", NULL);
	if (!context)
		return complain(config, "there is no context", name);
	cluster_name = text_of(config, context, "cluster");
	user_name = text_of(config, context, "user");
	cluster = cluster_name ? entry_of(config, "clusters", cluster_name, "cluster") : NULL;
	user = user_name ? entry_of(config, "users", user_name, "user") : NULL;
	if (!cluster)
		return complain(config, "there is no cluster", cluster_name ? cluster_name : "in the context");
	if (user_name && !user)
		return complain(config, "there is no user", user_name);
	r = read_cluster(config, cluster, access);
	return r ? r : read_user(config, user, access);
}

int kube_access_kubeconfig(const char *path, struct kube_access *out, char *problem, size_t problem_size)
{
	struct config config = { .path = path, .problem = problem, .problem_size = problem_size };
	_cleanup_(kube_access_release) struct kube_access access = { 0 };
	_cleanup_(kube_secret_wipe) struct strbuf text = STRBUF_INIT;
	yaml_parser_t parser;
	int r = file_read(path, FILE_BYTES_MAX, &text);

	if (r) {
		snprintf(problem, problem_size, "%s: %s", path, strerror(-r));
		return r;
	}
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)strbuf_text(&text), text.size);
	if (!yaml_parser_load(&parser, &config.document)) {
		snprintf(problem, problem_size, "%s:%zu: %s", path, parser.problem_mark.line + 1, parser.problem ? parser.problem : "this is no YAML");
		yaml_parser_delete(&parser);
		return -EINVAL;
	}
	snprintf(problem, problem_size, "%s: out of memory", path);
	r = read_context(&config, &access);
	yaml_document_delete(&config.document);
	yaml_parser_delete(&parser);
	if (r)
		return r;
	*out = access;
	access = (struct kube_access){ 0 };
	return 0;
}
