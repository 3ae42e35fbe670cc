/* SPDX-License-Identifier: Apache-2.0 */
/* Hash policies of routes, and the tables of hashing clusters: of these only how many places each endpoint has. */
#include "compile/dump.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

static const char *policy_kind_name(uint8_t kind)
{
	static const char *const names[] = {
		[WEFT_HASH_HEADER] = "header", [WEFT_HASH_COOKIE] = "cookie", [WEFT_HASH_SOURCE_IP] = "source_ip", [WEFT_HASH_QUERY] = "query",
		[WEFT_HASH_METHOD] = "method", [WEFT_HASH_AUTHORITY] = "authority", [WEFT_HASH_PATH] = "path", [WEFT_HASH_SCHEME] = "scheme",
	};

	return kind < WEFT_ARRAY_SIZE(names) && names[kind] ? names[kind] : "unknown";
}

json_t *dump_hash_policies(struct dump *dump, weft_ref ref)
{
	const struct weft_hash_policies *policies = view_at(&dump->view, ref, 1, sizeof(*policies));
	const struct weft_hash_policy *items = NULL;
	json_t *array = json_array();
	uint32_t i;

	if (policies)
		items = view_at(&dump->view, ref + (uint32_t)sizeof(*policies), policies->count, sizeof(*items));
	if (!items)
		dump_fail(dump, -EINVAL);
	for (i = 0; items && i < policies->count; i++) {
		json_t *one = json_object();

		dump_set(dump, one, "kind", json_string(policy_kind_name(items[i].kind)));
		if (items[i].kind == WEFT_HASH_HEADER || items[i].kind == WEFT_HASH_COOKIE || items[i].kind == WEFT_HASH_QUERY)
			dump_set(dump, one, "name", dump_text(dump, items[i].name));
		if (items[i].flags & WEFT_HASH_MAKES_COOKIE)
			dump_set(dump, one, "makes_cookie", dump_text(dump, items[i].cookie_tail));
		if (items[i].pattern) {
			dump_set(dump, one, "pattern", dump_text(dump, items[i].pattern));
			dump_set(dump, one, "substitution", dump_text(dump, items[i].substitution));
		}
		if (items[i].flags & WEFT_HASH_TERMINAL)
			dump_set(dump, one, "terminal", json_true());
		dump_append(dump, array, one);
	}
	return array;
}

static json_t *dump_level(struct dump *dump, const struct weft_cluster *cluster, const struct weft_hash_level *level)
{
	_cleanup_free_ uint32_t *counts = calloc(cluster->endpoint_count + 1, sizeof(*counts));
	const uint16_t *picks = level->size ? view_at(&dump->view, level->picks, level->size, sizeof(*picks)) : NULL;
	json_t *object = json_object(), *places = json_array();
	uint32_t i;

	if (!counts)
		dump_fail(dump, -ENOMEM);
	if ((level->size && !picks) || (level->hashes && !view_at(&dump->view, level->hashes, level->size, sizeof(uint64_t))))
		dump_fail(dump, -EINVAL);
	for (i = 0; counts && picks && i < level->size; i++)
		if (picks[i] < cluster->endpoint_count)
			counts[picks[i]]++;
	for (i = 0; counts && i < cluster->endpoint_count; i++)
		dump_append(dump, places, json_integer(counts[i]));
	dump_set(dump, object, "kind", json_string(level->hashes ? "ring" : "maglev"));
	dump_set(dump, object, "until", json_integer(level->until));
	dump_set(dump, object, "size", json_integer(level->size));
	dump_set(dump, object, "places", places);
	return object;
}

json_t *dump_hash_levels(struct dump *dump, const struct weft_cluster *cluster)
{
	const struct weft_hash_level *levels = view_at(&dump->view, cluster->hash_levels, cluster->hash_level_count, sizeof(*levels));
	json_t *array = json_array();
	uint32_t i;

	if (cluster->hash_level_count && !levels)
		dump_fail(dump, -EINVAL);
	for (i = 0; levels && i < cluster->hash_level_count; i++)
		dump_append(dump, array, dump_level(dump, cluster, &levels[i]));
	return array;
}
