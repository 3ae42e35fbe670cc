/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/hash_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "weft/xxhash.h"
#include "weft/address_host.h"

#define HASH_BYTES_MAX (32u << 20) /* of all tables of an image */
#define KEY_MAX 320                /* an address, or a name of DNS, and a number */

/* ---- what there is to choose of -------------------------------------------------------------------------------------------------- */

static bool is_member(const struct balance_level *level, const struct mesh_endpoint *endpoint)
{
	return level->is_panic || balance_state(endpoint) == BALANCE_HEALTHY;
}

int hash_table_endpoints(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
			 bool (*is_usable)(const struct mesh_endpoint *endpoint), struct share *shares, size_t *share_count, bool *is_panic)
{
	_cleanup_free_ struct balance_level *levels = NULL;
	size_t i, j, k, level_count, count = 0;
	int r;

	*is_panic = false;
	r = balance_levels(cluster, assignment, &levels, &level_count);
	if (r)
		return r;
	for (k = 0; k < level_count; k++) {
		if (!levels[k].healthy_load && !levels[k].degraded_load)
			continue;
		*is_panic = *is_panic || levels[k].is_panic;
		for (i = 0; i < assignment->locality_count; i++) {
			const struct mesh_locality *locality = &assignment->localities[i];

			if (locality->priority != levels[k].priority)
				continue;
			for (j = 0; j < locality->endpoint_count; j++)
				if (is_member(&levels[k], &locality->endpoints[j]) && is_usable(&locality->endpoints[j]))
					shares[count++] = (struct share){
						.endpoint = &locality->endpoints[j], .weight = 1, .group = (uint32_t)k,
					};
		}
	}
	*share_count = count;
	return 0;
}

/* ---- weights --------------------------------------------------------------------------------------------------------------------- */

/* An endpoint of one priority, with the part of it that is its own. All parts make 1, but for what localities without endpoints lose. */
struct member {
	const struct mesh_endpoint *endpoint;
	uint16_t index;
	double weight;
	/* Maglev */
	char key[KEY_MAX];
	uint64_t place, skip;
	double target;
};

struct members {
	struct member *items;
	size_t count;
	double min, max;
};

/* Envoy: normalizeHostWeights. */
static void add_members(struct members *members, const struct share *shares, size_t count, const struct mesh_locality *locality, double part)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < count; i++)
		if (!locality || (shares[i].endpoint >= locality->endpoints && shares[i].endpoint < locality->endpoints + locality->endpoint_count))
			sum += shares[i].endpoint->weight;
	for (i = 0; i < count; i++) {
		struct member *member = &members->items[members->count];

		if (locality && (shares[i].endpoint < locality->endpoints || shares[i].endpoint >= locality->endpoints + locality->endpoint_count))
			continue;
		*member = (struct member){ .endpoint = shares[i].endpoint, .index = (uint16_t)i };
		member->weight = member->endpoint->weight * part / (double)sum;
		members->min = members->count ? WEFT_MIN(members->min, member->weight) : member->weight;
		members->max = members->count ? WEFT_MAX(members->max, member->weight) : member->weight;
		members->count++;
	}
}

static int compare_localities(const void *a, const void *b)
{
	const struct mesh_locality *left = *(const struct mesh_locality *const *)a, *right = *(const struct mesh_locality *const *)b;
	int order = strcmp(left->region, right->region);

	if (!order)
		order = strcmp(left->zone, right->zone);
	return order ? order : strcmp(left->sub_zone, right->sub_zone);
}

/* Envoy: normalizeLocalityWeights: by name, the weights as they are configured, whatever the health. */
static int add_localities(struct members *members, const struct mesh_load_assignment *assignment, uint32_t priority, const struct share *shares,
			  size_t count)
{
	_cleanup_free_ const struct mesh_locality **sorted = calloc(assignment->locality_count + 1, sizeof(*sorted));
	size_t i, sorted_count = 0;
	uint64_t sum = 0;

	if (!sorted)
		return -ENOMEM;
	for (i = 0; i < assignment->locality_count; i++) {
		if (assignment->localities[i].priority != priority)
			continue;
		sorted[sorted_count++] = &assignment->localities[i];
		sum += assignment->localities[i].weight;
	}
	qsort(sorted, sorted_count, sizeof(*sorted), compare_localities);
	for (i = 0; i < sorted_count; i++)
		if (sorted[i]->weight)
			add_members(members, shares, count, sorted[i], (double)sorted[i]->weight / (double)sum);
	return 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */

static void set_key(const struct mesh_cluster *cluster, struct member *member)
{
	const struct mesh_endpoint *endpoint = member->endpoint;
	const struct weft_address address = weft_address_from(endpoint->address.family, endpoint->address.ip);

	if (*endpoint->hash_key)
		snprintf(member->key, sizeof(member->key), "%s", endpoint->hash_key);
	else if (cluster->hashes_hostname)
		snprintf(member->key, sizeof(member->key), "%s", endpoint->hostname);
	else
		snprintf(member->key, sizeof(member->key), "%s", weft_host_text(&address, htons(endpoint->address.port)).text);
}

static uint64_t xxhash(const char *key, size_t len, uint64_t seed)
{
	return weft_xxhash64((const struct weft_head_bytes *)key, 0, (uint32_t)len, seed);
}

/* MurmurHash64A (Austin Appleby) with the seed of GNU's std::hash, as Envoy's MURMUR_HASH_2. */
static uint64_t murmur_mix(uint64_t value)
{
	return value ^ value >> 47;
}

static uint64_t murmur(const char *key, size_t len)
{
	const uint64_t multiplier = 0xc6a4a7935bd1e995ull;
	uint64_t h = 0xc70f6907ull ^ len * multiplier;

	for (; len >= 8; key += 8, len -= 8)
		h = (h ^ murmur_mix(weft_load8(key) * multiplier) * multiplier) * multiplier;
	if (len) {
		uint64_t rest = 0;

		memcpy(&rest, key, len);
		h = (h ^ rest) * multiplier;
	}
	return murmur_mix(murmur_mix(h) * multiplier);
}

/* ---- ring ------------------------------------------------------------------------------------------------------------------------ */

struct place {
	uint64_t hash;
	uint16_t pick;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *left = a, *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return left->pick - right->pick;
}

static double ring_scale(const struct mesh_cluster *cluster, const struct members *members)
{
	double scale = ceil(members->min * (double)cluster->ring_min_size) / members->min;

	return WEFT_MIN(scale, (double)cluster->ring_max_size);
}

/* Envoy: RingHashLoadBalancer::Ring. `room` places were made ready; returns how many are taken. */
static size_t ring_fill(const struct mesh_cluster *cluster, struct members *members, double scale, struct place *places, size_t room)
{
	double have = 0, want = 0;
	size_t i, count = 0;

	for (i = 0; i < members->count; i++) {
		struct member *member = &members->items[i];
		size_t key_len = strlen(member->key), n;

		want += scale * member->weight;
		for (n = 0; have < want && count < room; n++, have++) {
			char key[KEY_MAX + 32];
			size_t len = (size_t)snprintf(key, sizeof(key), "%s_%zu", member->key, n);

			weft_assert(len > key_len);
			places[count].hash = cluster->hashes_by_murmur ? murmur(key, len) : xxhash(key, len, 0);
			places[count++].pick = member->index;
		}
	}
	qsort(places, count, sizeof(*places), compare_places);
	return count;
}

static int ring_write(struct builder *builder, const struct mesh_cluster *cluster, struct members *members, struct weft_hash_level *level)
{
	double scale = ring_scale(cluster, members);
	size_t i, count, room = (size_t)ceil(scale) + members->count; /* rounding */
	_cleanup_free_ struct place *places = calloc(room, sizeof(*places));
	uint64_t *hashes;
	uint16_t *picks;

	if (!places)
		return -ENOMEM;
	count = ring_fill(cluster, members, scale, places, room);
	level->hashes = builder_table(builder, count, sizeof(*hashes));
	level->picks = builder_table(builder, count, sizeof(*picks));
	if (!level->hashes || !level->picks)
		return builder_status(builder);
	hashes = builder_at(builder, level->hashes);
	picks = builder_at(builder, level->picks);
	for (i = 0; i < count; i++) {
		hashes[i] = places[i].hash;
		picks[i] = places[i].pick;
	}
	level->size = (uint32_t)count;
	return 0;
}

/* ---- Maglev ---------------------------------------------------------------------------------------------------------------------- */

static int compare_members(const void *a, const void *b)
{
	const struct member *left = a, *right = b;
	int order = strcmp(left->key, right->key);

	return order ? order : left->index - right->index;
}

/* Envoy: MaglevTable. Every endpoint takes the next free place of its own permutation in turn, one of less weight in fewer rounds. */
static int maglev_write(struct builder *builder, const struct mesh_cluster *cluster, struct members *members, struct weft_hash_level *level)
{
	const uint64_t size = cluster->maglev_table_size;
	_cleanup_free_ bool *is_taken = calloc(size, sizeof(*is_taken));
	uint16_t *picks;
	uint64_t taken = 0;
	uint32_t round;
	size_t i;

	level->picks = builder_table(builder, size, sizeof(*picks));
	if (!is_taken || !level->picks)
		return is_taken ? builder_status(builder) : -ENOMEM;
	picks = builder_at(builder, level->picks);
	qsort(members->items, members->count, sizeof(*members->items), compare_members);
	for (i = 0; i < members->count; i++) {
		struct member *member = &members->items[i];
		size_t len = strlen(member->key);

		member->place = xxhash(member->key, len, 0) % size;
		member->skip = size > 1 ? xxhash(member->key, len, 1) % (size - 1) + 1 : 1;
	}
	for (round = 1; taken < size; round++) {
		for (i = 0; i < members->count && taken < size; i++) {
			struct member *member = &members->items[i];

			if (round * member->weight < member->target)
				continue;
			member->target += members->max;
			while (is_taken[member->place])
				member->place = (member->place + member->skip) % size;
			is_taken[member->place] = true;
			picks[member->place] = member->index;
			member->place = (member->place + member->skip) % size;
			taken++;
		}
	}
	level->size = (uint32_t)size;
	return 0;
}

/* ---- one cluster ----------------------------------------------------------------------------------------------------------------- */

/* False: refused, the tables would be too large. */
static bool fits(const struct mesh_cluster *cluster, const struct members *members, size_t *hash_bytes, struct judgement *judgement)
{
	bool is_ring = cluster->lb_policy == MESH_LB_RING_HASH;
	double size = is_ring ? ceil(ring_scale(cluster, members)) : (double)cluster->maglev_table_size;
	size_t bytes;

	if (size > WEFT_RING_MAX) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "%s of %.0f places is more than %u", is_ring ? "a hash ring" : "a Maglev table", size, WEFT_RING_MAX);
		return false;
	}
	bytes = (size_t)size * (is_ring ? sizeof(uint64_t) + sizeof(uint16_t) : sizeof(uint16_t));
	if (*hash_bytes + bytes > HASH_BYTES_MAX) {
		cluster_refuse(judgement, WEFT_CLUSTER_REFUSED);
		reason_add(&judgement->reason, "the tables of all hashing clusters take more than %u MiB", HASH_BYTES_MAX >> 20);
		return false;
	}
	*hash_bytes += bytes;
	return true;
}

struct hash_compile {
	struct builder *builder;
	const struct mesh_cluster *cluster;
	const struct mesh_load_assignment *assignment;
	const struct share *shares;
	size_t count;
	size_t *hash_bytes;
	struct judgement *judgement;
};

/* The table of one priority: size 0 when no endpoint is in it. */
static int compile_level(const struct hash_compile *c, uint32_t number, uint32_t priority, struct weft_hash_level *level)
{
	_cleanup_free_ struct member *items = calloc(c->count + 1, sizeof(*items));
	struct members members = { .items = items };
	size_t i, first = 0, end;
	int r = 0;

	if (!items)
		return -ENOMEM;
	while (first < c->count && c->shares[first].group != number)
		first++;
	for (end = first; end < c->count && c->shares[end].group == number; end++)
		;
	if (c->cluster->weighs_localities)
		r = add_localities(&members, c->assignment, priority, c->shares + first, end - first);
	else
		add_members(&members, c->shares + first, end - first, NULL, 1);
	if (r || !members.count || !fits(c->cluster, &members, c->hash_bytes, c->judgement))
		return r;
	for (i = 0; i < members.count; i++) {
		members.items[i].index = (uint16_t)(members.items[i].index + first);
		set_key(c->cluster, &members.items[i]);
	}
	return c->cluster->lb_policy == MESH_LB_MAGLEV ? maglev_write(c->builder, c->cluster, &members, level) :
							 ring_write(c->builder, c->cluster, &members, level);
}

/* Healthy loads first, then what is left for degraded endpoints: they are not in the tables, but their part is drawn all the same (Envoy). */
static size_t lay_out(const struct balance_level *loads, size_t count, const struct weft_hash_level *tables, struct weft_hash_level *levels)
{
	uint32_t until = 0;
	size_t i, k, used = 0;

	for (k = 0; k < 2; k++) {
		for (i = 0; i < count; i++) {
			uint32_t load = k ? loads[i].degraded_load : loads[i].healthy_load;

			if (!load)
				continue;
			until += load;
			levels[used] = tables[i];
			levels[used++].until = until;
		}
	}
	return used;
}

int hash_table_compile(struct builder *builder, const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		       const struct share *shares, size_t count, size_t *hash_bytes, weft_ref cluster_ref, struct judgement *judgement)
{
	const struct hash_compile c = { builder, cluster, assignment, shares, count, hash_bytes, judgement };
	_cleanup_free_ struct weft_hash_level *tables = NULL, *levels = NULL;
	_cleanup_free_ struct balance_level *loads = NULL;
	size_t i, load_count, level_count;
	struct weft_cluster *out;
	int r;

	r = balance_levels(cluster, assignment, &loads, &load_count);
	if (r)
		return r;
	tables = calloc(load_count + 1, sizeof(*tables));
	levels = calloc(load_count * 2 + 1, sizeof(*levels));
	if (!tables || !levels)
		return -ENOMEM;
	for (i = 0; i < load_count; i++) {
		if (!loads[i].healthy_load && !loads[i].degraded_load)
			continue;
		r = compile_level(&c, (uint32_t)i, loads[i].priority, &tables[i]);
		if (r || judgement->verdict == WEFT_VERDICT_REFUSED)
			return r;
	}
	level_count = lay_out(loads, load_count, tables, levels);
	out = builder_at(builder, cluster_ref);
	out->hash_levels = builder_alloc(builder, WEFT_MAX(level_count, (size_t)1) * sizeof(*levels));
	out->hash_level_count = (uint32_t)level_count;
	if (!out->hash_levels)
		return builder_status(builder);
	memcpy(builder_at(builder, out->hash_levels), levels, level_count * sizeof(*levels));
	return 0;
}
