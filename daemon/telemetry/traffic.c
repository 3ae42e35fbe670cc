/* SPDX-License-Identifier: Apache-2.0 */
#include "telemetry/traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/cleanup.h"
#include "telemetry/traffic_internal.h"

/* Looks after which a kind that is not met any more is forgotten. */
#define LOOKS_MAX 60u

/* What ids were called when their counts came last. */
struct names {
	uint32_t ids[3];         /* pod, endpoint, cluster */
	uint32_t epoch;
	char *labels;
	UT_hash_handle hh;
};

/* One record of the programs' table, as it was seen last. */
struct seen {
	struct weft_traffic_key key;
	struct weft_traffic record;
	uint32_t looks;          /* since it grew */
	UT_hash_handle hh;
};

/* Of a slot: its record, and the state that it was in. */
struct seen_slot {
	struct weft_traffic *record; /* NULL: all is 0 */
	uint64_t word;
};

struct traffic {
	struct traffic_options options;
	struct names *names;
	size_t name_count;
	struct series *series;
	struct series others[2]; /* what has no room, and its connections */
	size_t series_count;
	struct seen *kinds;
	struct seen_slot *slots;
	uint32_t slot_count;
	uint32_t epoch;
};

static const char unknown[] =
	"source_workload=\"unknown\",source_workload_namespace=\"unknown\",destination_workload=\"unknown\",destination_service=\"unknown\"";

int traffic_new(struct traffic **out, const struct traffic_options *options)
{
	struct traffic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->options = *options;
	t->epoch = 1;
	for (size_t i = 0; i < ARRAY_SIZE(t->others); i++)
		t->others[i].labels = unknown;
	t->others[1].flag = WEFT_FLAG_TCP;
	*out = t;
	return 0;
}

static void names_free(struct traffic *t, struct names *names)
{
	HASH_DEL(t->names, names);
	t->name_count--;
	free(names->labels);
	free(names);
}

void traffic_free(struct traffic **traffic)
{
	struct traffic *t = *traffic;
	struct names *names, *next_names;
	struct series *series, *next_series;
	struct seen *seen, *next_seen;

	if (!t)
		return;
	HASH_ITER(hh, t->names, names, next_names)
		names_free(t, names);
	HASH_ITER(hh, t->series, series, next_series) {
		HASH_DEL(t->series, series);
		free(series->name);
		free(series);
	}
	HASH_ITER(hh, t->kinds, seen, next_seen) {
		HASH_DEL(t->kinds, seen);
		free(seen);
	}
	for (uint32_t i = 0; i < t->slot_count; i++)
		free(t->slots[i].record);
	free(t->slots);
	free(t);
	*traffic = NULL;
}

void traffic_names_changed(struct traffic *t)
{
	t->epoch++;
}

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

/* Those that nobody asked for since names changed last: ids are used again, and there is no end to them. */
static void names_sweep(struct traffic *t)
{
	struct names *names, *next;

	HASH_ITER(hh, t->names, names, next) {
		if (names->epoch != t->epoch)
			names_free(t, names);
	}
}

static struct names *names_add(struct traffic *t, const uint32_t ids[3])
{
	struct names *names;

	if (t->name_count >= 4u * t->options.series_max)
		names_sweep(t);
	names = t->name_count < 4u * t->options.series_max ? calloc(1, sizeof(*names)) : NULL;
	if (!names)
		return NULL;
	memcpy(names->ids, ids, sizeof(names->ids));
	HASH_ADD(hh, t->names, ids, sizeof(names->ids), names);
	if (!names->hh.tbl) {
		free(names);
		return NULL;
	}
	t->name_count++;
	return names;
}

/* The labels of both ends; those that they had when nobody knows them any more. NULL: unknown. */
static const char *labels_of(struct traffic *t, const struct weft_traffic_key *key)
{
	const uint32_t ids[3] = { key->pod_id, key->endpoint_id, key->cluster_id };
	_cleanup_(strbuf_release) struct strbuf labels = STRBUF_INIT;
	struct names *names;

	if (!key->pod_id)
		return NULL;
	HASH_FIND(hh, t->names, ids, sizeof(ids), names);
	if (names && names->epoch == t->epoch)
		return names->labels;
	if (!names)
		names = names_add(t, ids);
	if (!names)
		return NULL;
	names->epoch = t->epoch;
	if (t->options.describe(t->options.arg, key, &labels) || strbuf_status(&labels))
		return names->labels;
	free(names->labels);
	names->labels = strdup(strbuf_text(&labels));
	return names->labels;
}

/* ---- series ---------------------------------------------------------------------------------------------------------------------- */

static struct series *series_of(struct traffic *t, const struct weft_traffic_key *key)
{
	const char *labels = labels_of(t, key);
	_cleanup_(strbuf_release) struct strbuf name = STRBUF_INIT;
	struct series *others = &t->others[key->flag == WEFT_FLAG_TCP], *series;

	if (!labels)
		return others;
	strbuf_printf(&name, "%u %u ", key->status, key->flag);
	strbuf_append_text(&name, labels);
	if (strbuf_status(&name))
		return others;
	HASH_FIND(hh, t->series, name.data, name.size, series);
	if (series)
		return series;
	series = t->series_count < t->options.series_max ? calloc(1, sizeof(*series)) : NULL;
	if (!series)
		return others;
	series->name = strdup(strbuf_text(&name));
	if (series->name)
		HASH_ADD_KEYPTR(hh, t->series, series->name, name.size, series);
	if (!series->hh.tbl) {
		free(series->name);
		free(series);
		return others;
	}
	series->labels = series->name + name.size - strlen(labels);
	series->status = key->status;
	series->flag = key->flag;
	t->series_count++;
	return series;
}

void traffic_add(struct traffic *t, const struct weft_traffic_key *key, const struct weft_traffic_sums *sums)
{
	struct weft_traffic_sums *into = &series_of(t, key)->sums;
	const uint64_t *from = (const uint64_t *)sums;
	uint64_t *to = (uint64_t *)into;

	_Static_assert(sizeof(*sums) % sizeof(uint64_t) == 0, "nothing but u64 in it");
	for (size_t i = 0; i < sizeof(*sums) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

size_t traffic_series(const struct traffic *t)
{
	return t->series_count;
}

size_t traffic_kinds(const struct traffic *t)
{
	return HASH_COUNT(t->kinds);
}

int traffic_write(const struct traffic *t, bool is_openmetrics, struct strbuf *out)
{
	return series_write(t->series, t->others, ARRAY_SIZE(t->others), is_openmetrics, out);
}

/* ---- the programs' records -------------------------------------------------------------------------------------------------------- */

static uint64_t load(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static uint32_t grown(const uint32_t *now, uint32_t *before)
{
	uint32_t value = __atomic_load_n(now, __ATOMIC_RELAXED), by = value - *before;

	*before = value;
	return by;
}

/* What `now` has more than `before`, which then is as `now`. Programs may be adding: each number is right, and what one exchange adds may come in two
 * looks. True: something. */
static bool take_growth(const struct weft_traffic *now, struct weft_traffic *before, struct weft_traffic_sums *sums)
{
	uint64_t any = 0;

	memset(sums, 0, sizeof(*sums));
	for (uint32_t i = 0; i < WEFT_DURATION_BUCKETS; i++)
		any |= sums->durations[i] = grown(&now->durations[i], &before->durations[i]);
	for (uint32_t i = 0; i < WEFT_SIZE_BUCKETS; i++) {
		any |= sums->requests[WEFT_SIZE_FIRST + i] = grown(&now->requests[i], &before->requests[i]);
		any |= sums->responses[WEFT_SIZE_FIRST + i] = grown(&now->responses[i], &before->responses[i]);
	}
	any |= sums->opened = grown(&now->opened, &before->opened);
	any |= sums->closed = grown(&now->closed, &before->closed);
	sums->duration_ns = load(&now->duration_ns) - before->duration_ns;
	sums->request_bytes = load(&now->request_bytes) - before->request_bytes;
	sums->response_bytes = load(&now->response_bytes) - before->response_bytes;
	before->duration_ns += sums->duration_ns;
	before->request_bytes += sums->request_bytes;
	before->response_bytes += sums->response_bytes;
	return any || sums->duration_ns || sums->request_bytes || sums->response_bytes;
}

static bool is_less(const uint32_t *now, uint32_t before)
{
	return (int32_t)(__atomic_load_n(now, __ATOMIC_RELAXED) - before) < 0;
}

/* Another weftd deleted the record, and a program added it again: numbers turn over, but never by half their range between two looks. */
static bool began_anew(const struct weft_traffic *now, const struct weft_traffic *before)
{
	bool is_any_less = is_less(&now->opened, before->opened) || is_less(&now->closed, before->closed);

	for (uint32_t i = 0; i < WEFT_DURATION_BUCKETS && !is_any_less; i++)
		is_any_less = is_less(&now->durations[i], before->durations[i]);
	return is_any_less;
}

/* The kind of the exchange that `word` tells of, if all of it can be read: between LENT and the first byte of the answer a program is writing it, and the
 * next exchange may begin meanwhile. */
static bool read_kind(const struct weft_upstream *upstream, uint64_t word, struct weft_traffic_key *out)
{
	if (WEFT_STATE(word) != WEFT_UPSTREAM_IDLE && WEFT_STATE(word) != WEFT_UPSTREAM_REPLYING)
		return false;
	*out = (struct weft_traffic_key){
		.pod_id = __atomic_load_n(&upstream->pod_id, __ATOMIC_RELAXED),
		.endpoint_id = __atomic_load_n(&upstream->endpoint_id, __ATOMIC_RELAXED),
		.cluster_id = __atomic_load_n(&upstream->cluster_id, __ATOMIC_RELAXED),
		.status = __atomic_load_n(&upstream->status, __ATOMIC_RELAXED),
	};
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return out->status && __atomic_load_n(&upstream->state, __ATOMIC_RELAXED) == word;
}

/* What is usual on this slot, when its record is somebody else's: nobody adds to it then, since whose slot it is stands in both. Whose it is now is
 * written last. */
static void adopt_kind(const struct weft_upstream *upstream, uint64_t word, struct weft_traffic *record)
{
	struct weft_traffic_key *key = &record->key, kind;

	if ((key->pod_id == upstream->pod_id && key->endpoint_id == upstream->endpoint_id) || !read_kind(upstream, word, &kind))
		return;
	__atomic_store_n(&key->pod_id, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&key->endpoint_id, kind.endpoint_id, __ATOMIC_RELAXED);
	__atomic_store_n(&key->cluster_id, kind.cluster_id, __ATOMIC_RELAXED);
	__atomic_store_n(&key->status, kind.status, __ATOMIC_RELAXED);
	__atomic_store_n(&key->pod_id, kind.pod_id, __ATOMIC_RELEASE);
}

static int make_room(struct traffic *t, uint32_t count)
{
	if (t->slots)
		return 0;
	t->slots = calloc(count, sizeof(*t->slots));
	if (!t->slots)
		return -ENOMEM;
	t->slot_count = count;
	return 0;
}

static void look_at_slot(struct traffic *t, const struct weft_upstream *upstream, struct weft_traffic *record, struct seen_slot *seen, bool is_first)
{
	uint64_t word = __atomic_load_n(&upstream->state, __ATOMIC_ACQUIRE);
	uint32_t state = WEFT_STATE(word);
	struct weft_traffic_sums sums;

	/* Between two exchanges, and none since. */
	if (word == seen->word && state != WEFT_UPSTREAM_LENT && state != WEFT_UPSTREAM_REPLYING)
		return;
	if (!seen->record)
		seen->record = calloc(1, sizeof(*seen->record));
	if (!seen->record)
		return; /* next time */
	seen->word = word;
	if (take_growth(record, seen->record, &sums) && !is_first)
		traffic_add(t, &record->key, &sums);
	adopt_kind(upstream, word, record);
}

void traffic_look_at_slots(struct traffic *t, const struct weft_upstream *upstreams, struct weft_traffic *slots, uint32_t count, bool is_first)
{
	if (make_room(t, count))
		return;
	for (uint32_t i = 0; i < t->slot_count; i++)
		look_at_slot(t, &upstreams[i], &slots[i], &t->slots[i], is_first);
}

bool traffic_look(struct traffic *t, const struct weft_traffic_key *key, const struct weft_traffic *record, bool is_first)
{
	struct weft_traffic_sums sums;
	struct seen *seen;

	HASH_FIND(hh, t->kinds, key, sizeof(*key), seen);
	if (!seen) {
		seen = calloc(1, sizeof(*seen));
		if (!seen)
			return false;
		seen->key = *key;
		HASH_ADD(hh, t->kinds, key, sizeof(seen->key), seen);
		if (!seen->hh.tbl) {
			free(seen);
			return false;
		}
	}
	if (began_anew(record, &seen->record))
		memset(&seen->record, 0, sizeof(seen->record));
	if (!take_growth(record, &seen->record, &sums))
		return ++seen->looks >= LOOKS_MAX && key->pod_id; /* that of all others stays */
	seen->looks = 0;
	if (!is_first)
		traffic_add(t, key, &sums);
	return false;
}

void traffic_forget(struct traffic *t, const struct weft_traffic_key *key, const struct weft_traffic *last)
{
	struct weft_traffic_sums sums;
	struct seen *seen;

	HASH_FIND(hh, t->kinds, key, sizeof(*key), seen);
	if (!seen)
		return;
	if (last && take_growth(last, &seen->record, &sums))
		traffic_add(t, key, &sums);
	HASH_DEL(t->kinds, seen);
	free(seen);
}
