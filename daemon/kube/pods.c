/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/pods.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* a failed insertion leaves the table as it was, and says so by a NULL handle */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "weft/exceptions.h"

struct by_name {
	char *key;                 /* namespace/name */
	const struct pod *pod;
	UT_hash_handle hh;
};

struct ip_key {
	int family;
	uint8_t bytes[16];
};

struct by_ip {
	struct ip_key key;
	const struct pod *pod;
	UT_hash_handle hh;
};

struct pods {
	struct arena arena;
	struct pod **items;
	size_t count, capacity;
	struct by_name *names;
	struct by_ip *ips;
};

int pods_new(struct pods **out)
{
	struct pods *pods = calloc(1, sizeof(*pods));

	if (!pods)
		return -ENOMEM;
	*out = pods;
	return 0;
}

void pods_free(struct pods **pods)
{
	struct pods *p = *pods;

	if (!p)
		return;
	HASH_CLEAR(hh, p->names);
	HASH_CLEAR(hh, p->ips);
	free(p->items);
	arena_release(&p->arena);
	free(p);
	*pods = NULL;
}

/* Fills in `ip` from its text; the text becomes the canonical one. */
static int ip_parse(struct arena *arena, const char *text, struct pod_ip *ip)
{
	char canonical[INET6_ADDRSTRLEN];

	ip->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(ip->family, text, ip->bytes) != 1)
		return -EINVAL;
	inet_ntop(ip->family, ip->bytes, canonical, sizeof(canonical));
	ip->text = arena_text(arena, canonical);
	return ip->text ? 0 : -ENOMEM;
}

static struct ip_key key_of(int family, const void *bytes)
{
	struct ip_key key;

	memset(&key, 0, sizeof(key)); /* padding is hashed too */
	key.family = family;
	memcpy(key.bytes, bytes, family == AF_INET ? 4 : 16);
	return key;
}

static const struct pod *find_ip(const struct pods *pods, const struct ip_key *key)
{
	struct by_ip *entry;

	HASH_FIND(hh, pods->ips, key, sizeof(*key), entry);
	return entry ? entry->pod : NULL;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct pod_label *)a)->key, ((const struct pod_label *)b)->key);
}

static int copy_labels(struct arena *arena, const struct pod *from, struct pod *to)
{
	to->label_count = from->label_count;
	to->labels = from->label_count ? arena_new_array(arena, struct pod_label, from->label_count) : NULL;
	if (from->label_count && !to->labels)
		return -ENOMEM;
	for (size_t i = 0; i < from->label_count; i++) {
		to->labels[i].key = arena_text(arena, from->labels[i].key);
		to->labels[i].value = arena_text(arena, from->labels[i].value);
		if (!to->labels[i].key || !to->labels[i].value)
			return -ENOMEM;
	}
	if (to->label_count)
		qsort(to->labels, to->label_count, sizeof(*to->labels), by_key);
	return 0;
}

static int copy_ips(struct pods *pods, const struct pod *from, struct pod *to)
{
	to->ips = arena_new_array(&pods->arena, struct pod_ip, from->ip_count);
	if (!to->ips)
		return -ENOMEM;
	to->ip_count = from->ip_count;
	for (size_t i = 0; i < from->ip_count; i++) {
		struct ip_key key;
		int r = ip_parse(&pods->arena, from->ips[i].text, &to->ips[i]);

		if (r)
			return r;
		key = key_of(to->ips[i].family, to->ips[i].bytes);
		if (find_ip(pods, &key))
			return -EEXIST;
		for (size_t j = 0; j < i; j++)
			if (to->ips[j].family == to->ips[i].family && memcmp(to->ips[j].bytes, to->ips[i].bytes, 16) == 0)
				return -EEXIST;
	}
	return 0;
}

static int copy_texts(struct arena *arena, const struct pod *from, struct pod *to)
{
	to->name = arena_text(arena, from->name);
	to->namespace_name = arena_text(arena, from->namespace_name && *from->namespace_name ? from->namespace_name : "default");
	to->service_account = arena_text(arena, from->service_account && *from->service_account ? from->service_account : "default");
	to->network_namespace = arena_text(arena, from->network_namespace ? from->network_namespace : "");
	to->cgroup = arena_text(arena, from->cgroup ? from->cgroup : "");
	to->file = arena_text(arena, from->file ? from->file : "");
	to->netns_inode = from->netns_inode;
	to->line = from->line;
	to->column = from->column;
	return to->name && to->namespace_name && to->service_account && to->network_namespace && to->cgroup && to->file ? 0 : -ENOMEM;
}

static int copy_exceptions(struct arena *arena, const struct pod *from, struct pod *to)
{
	struct weft_exceptions *copy;

	if (!from->exceptions)
		return 0;
	copy = arena_new(arena, struct weft_exceptions);
	if (!copy)
		return -ENOMEM;
	*copy = *from->exceptions;
	to->exceptions = copy;
	return 0;
}

static int items_reserve(struct pods *pods)
{
	size_t capacity = pods->capacity ? pods->capacity * 2 : 16;
	struct pod **items;

	if (pods->count < pods->capacity)
		return 0;
	items = reallocarray(pods->items, capacity, sizeof(*items));
	if (!items)
		return -ENOMEM;
	pods->items = items;
	pods->capacity = capacity;
	return 0;
}

static int index_name(struct pods *pods, const struct pod *pod)
{
	struct by_name *entry = arena_new(&pods->arena, struct by_name), *found;

	if (!entry)
		return -ENOMEM;
	entry->pod = pod;
	entry->key = arena_printf(&pods->arena, "%s/%s", pod->namespace_name, pod->name);
	if (!entry->key)
		return -ENOMEM;
	HASH_FIND_STR(pods->names, entry->key, found);
	if (found)
		return -EEXIST;
	HASH_ADD_KEYPTR(hh, pods->names, entry->key, strlen(entry->key), entry);
	return entry->hh.tbl ? 0 : -ENOMEM;
}

int pods_add(struct pods *pods, const struct pod *pod)
{
	struct pod *copy = arena_new(&pods->arena, struct pod);
	int r;

	if (!copy)
		return -ENOMEM;
	if (!pod->ip_count || !pod->name || !*pod->name)
		return -EINVAL;
	r = copy_texts(&pods->arena, pod, copy);
	if (!r)
		r = copy_labels(&pods->arena, pod, copy);
	if (!r)
		r = copy_ips(pods, pod, copy);
	if (!r)
		r = copy_exceptions(&pods->arena, pod, copy);
	if (!r)
		r = items_reserve(pods);
	if (!r)
		r = index_name(pods, copy);
	if (r)
		return r;
	pods->items[pods->count++] = copy;
	for (size_t i = 0; i < copy->ip_count; i++) {
		struct by_ip *entry = arena_new(&pods->arena, struct by_ip);

		if (!entry)
			return -ENOMEM;
		entry->key = key_of(copy->ips[i].family, copy->ips[i].bytes);
		entry->pod = copy;
		HASH_ADD(hh, pods->ips, key, sizeof(entry->key), entry);
		if (!entry->hh.tbl)
			return -ENOMEM;
	}
	return 0;
}

size_t pods_count(const struct pods *pods)
{
	return pods->count;
}

const struct pod *pods_at(const struct pods *pods, size_t index)
{
	return index < pods->count ? pods->items[index] : NULL;
}

const struct pod *pods_find(const struct pods *pods, const char *namespace_name, const char *name)
{
	const struct pod *found = NULL;

	for (size_t i = 0; i < pods->count; i++) {
		const struct pod *pod = pods->items[i];

		if (strcmp(pod->name, name) != 0 || (namespace_name && strcmp(pod->namespace_name, namespace_name) != 0))
			continue;
		if (found)
			return NULL;
		found = pod;
	}
	return found;
}

const struct pod *pods_find_ip(const struct pods *pods, int family, const void *bytes)
{
	struct ip_key key = key_of(family, bytes);

	return find_ip(pods, &key);
}

const char *pod_label(const struct pod *pod, const char *key)
{
	for (size_t i = 0; i < pod->label_count; i++)
		if (strcmp(pod->labels[i].key, key) == 0)
			return pod->labels[i].value;
	return NULL;
}
