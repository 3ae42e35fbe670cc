/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/balance.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* ---- health ---------------------------------------------------------------------------------------------------------------------- */

enum balance_state balance_state(const struct mesh_endpoint *endpoint)
{
	switch (endpoint->health) {
	case MESH_HEALTH_UNKNOWN:
	case MESH_HEALTH_HEALTHY: return BALANCE_HEALTHY;
	case MESH_HEALTH_DEGRADED: return BALANCE_DEGRADED;
	case MESH_HEALTH_UNHEALTHY:
	case MESH_HEALTH_DRAINING:
	case MESH_HEALTH_TIMEOUT: break;
	}
	return BALANCE_OUT;
}

static int compare_levels(const void *a, const void *b)
{
	const struct balance_level *left = a, *right = b;

	return left->priority < right->priority ? -1 : left->priority > right->priority;
}

static size_t collect_levels(const struct mesh_load_assignment *assignment, struct balance_level *levels)
{
	size_t i, j, k, count = 0;

	for (i = 0; i < assignment->locality_count; i++) {
		const struct mesh_locality *locality = &assignment->localities[i];

		for (k = 0; k < count && levels[k].priority != locality->priority; k++)
			;
		if (k == count)
			levels[count++] = (struct balance_level){ .priority = locality->priority };
		for (j = 0; j < locality->endpoint_count; j++) {
			enum balance_state state = balance_state(&locality->endpoints[j]);

			levels[k].total++;
			levels[k].healthy += state == BALANCE_HEALTHY;
			levels[k].degraded += state == BALANCE_DEGRADED;
		}
	}
	qsort(levels, count, sizeof(*levels), compare_levels);
	return count;
}

static uint32_t available(uint64_t part, uint64_t total, uint32_t overprovisioning_percent)
{
	uint64_t percent = total ? part * overprovisioning_percent / total : 0;

	return (uint32_t)WEFT_MIN(percent, 100u);
}

/* Gives `load` percent out, from the first priority on. Returns what is left. */
static uint32_t distribute(struct balance_level *levels, size_t count, bool degraded, uint32_t load, uint32_t total)
{
	size_t i;

	for (i = 0; i < count; i++) {
		uint32_t part = (degraded ? levels[i].degraded_percent : levels[i].healthy_percent) * 100 / total;

		part = WEFT_MIN(part, load);
		*(degraded ? &levels[i].degraded_load : &levels[i].healthy_load) = part;
		load -= part;
	}
	return load;
}

static void spread_panic(struct balance_level *levels, size_t count)
{
	uint64_t total = 0, left = 100;
	size_t i, first = count;

	for (i = 0; i < count; i++)
		total += levels[i].total;
	if (!total)
		return;
	for (i = 0; i < count; i++) {
		uint32_t part = (uint32_t)(levels[i].total * 100 / total);

		levels[i].healthy_load = part;
		levels[i].degraded_load = 0;
		left -= part;
		if (levels[i].total && first == count)
			first = i;
	}
	levels[first].healthy_load += (uint32_t)left;
}

static void compute_loads(struct balance_level *levels, size_t count, uint32_t overprovisioning_percent, uint32_t panic_percent)
{
	uint32_t total = 0, left;
	bool all_panic = count > 0;
	size_t i;

	for (i = 0; i < count; i++) {
		levels[i].healthy_percent = available(levels[i].healthy, levels[i].total, overprovisioning_percent);
		levels[i].degraded_percent = available(levels[i].degraded, levels[i].total, overprovisioning_percent);
		total = WEFT_MIN(100u, total + levels[i].healthy_percent + levels[i].degraded_percent);
	}
	if (total) {
		left = distribute(levels, count, false, 100, total);
		left = distribute(levels, count, true, left, total);
		/* Rounding errors belong to the first that is available. */
		for (i = 0; left && i < count; i++)
			if (levels[i].healthy_percent) {
				levels[i].healthy_load += left;
				left = 0;
			}
		for (i = 0; left && i < count; i++)
			if (levels[i].degraded_percent) {
				levels[i].degraded_load += left;
				left = 0;
			}
	}
	/* A priority with too few healthy endpoints sends to all of its endpoints rather than overload those few. */
	for (i = 0; i < count; i++) {
		uint64_t good = (levels[i].healthy + levels[i].degraded) * 100;

		levels[i].is_panic = total < 100 && (levels[i].total ? good < levels[i].total * panic_percent : panic_percent > 0);
		all_panic = all_panic && levels[i].is_panic;
	}
	if (all_panic)
		spread_panic(levels, count);
}

/* ---- localities ------------------------------------------------------------------------------------------------------------------ */

struct pick {
	uint32_t priority;
	enum balance_state state;     /* which of the endpoints; with `all` any */
	bool all;
	double load;
};

static bool picks(const struct pick *pick, const struct mesh_endpoint *endpoint)
{
	return pick->all || balance_state(endpoint) == pick->state;
}

/* Envoy: LocalityWrr::effectiveLocalityWeight: a locality's weight fades with its healthy part, overprovisioned. */
static double locality_weight(const struct mesh_load_assignment *assignment, const struct mesh_locality *locality, const struct pick *pick)
{
	size_t j, eligible = 0;
	double part;

	for (j = 0; j < locality->endpoint_count; j++)
		eligible += picks(pick, &locality->endpoints[j]);
	if (!eligible || !locality->weight)
		return 0;
	part = (double)eligible / (double)locality->endpoint_count * assignment->overprovisioning_percent / 100;
	return locality->weight * (part < 1 ? part : 1);
}

/* Envoy's RandomLoadBalancer looks at no endpoint's weight. */
static double endpoint_weight(const struct mesh_cluster *cluster, const struct mesh_endpoint *endpoint)
{
	return cluster->lb_policy == MESH_LB_RANDOM ? 1 : endpoint->weight;
}

/* Envoy compares endpoints within one source: a priority's healthy ones, its degraded ones, all of them in a panic; or those of one locality
 * where localities have weights, which a panic does not look at. */
static size_t add_shares(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment, const struct pick *pick,
			 bool (*is_usable)(const struct mesh_endpoint *), uint32_t *group, struct share *shares)
{
	double total = 0, localities_total = 0;
	size_t i, j, count = 0;

	if (cluster->weighs_localities && !pick->all)
		for (i = 0; i < assignment->locality_count; i++)
			if (assignment->localities[i].priority == pick->priority)
				localities_total += locality_weight(assignment, &assignment->localities[i], pick);

	for (i = 0; i < assignment->locality_count; i++) {
		const struct mesh_locality *locality = &assignment->localities[i];
		double sum = 0, factor = 1;

		if (locality->priority != pick->priority)
			continue;
		for (j = 0; j < locality->endpoint_count; j++)
			if (picks(pick, &locality->endpoints[j]))
				sum += endpoint_weight(cluster, &locality->endpoints[j]);
		/* Without any weight Envoy chooses over all localities alike. */
		if (localities_total > 0 && sum > 0) {
			factor = locality_weight(assignment, locality, pick) / localities_total / sum;
			++*group;
		}
		for (j = 0; j < locality->endpoint_count; j++) {
			const struct mesh_endpoint *endpoint = &locality->endpoints[j];

			if (!picks(pick, endpoint) || !is_usable(endpoint) || factor <= 0)
				continue;
			shares[count] = (struct share){
				.endpoint = endpoint, .weight = endpoint_weight(cluster, endpoint) * factor, .group = *group,
			};
			total += shares[count++].weight;
		}
	}
	for (i = 0; i < count; i++)
		shares[i].weight = shares[i].weight / total * pick->load;
	++*group;
	return count;
}

size_t balance_source(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment, const struct balance_level *level,
		      bool is_degraded, bool (*is_usable)(const struct mesh_endpoint *), uint32_t *group, struct share *shares)
{
	const struct pick pick = {
		.priority = level->priority, .state = is_degraded ? BALANCE_DEGRADED : BALANCE_HEALTHY, .all = level->is_panic, .load = 100,
	};
	size_t i, count = add_shares(cluster, assignment, &pick, is_usable, group, shares);

	for (i = 0; i < count && !cluster->weighs_localities; i++)
		shares[i].weight = endpoint_weight(cluster, shares[i].endpoint);
	return count;
}

int balance_levels(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment, struct balance_level **levels, size_t *count)
{
	*levels = calloc(assignment->locality_count + 1, sizeof(**levels));
	if (!*levels)
		return -ENOMEM;
	*count = collect_levels(assignment, *levels);
	compute_loads(*levels, *count, assignment->overprovisioning_percent, cluster->healthy_panic_percent);
	return 0;
}

int balance_shares(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		   bool (*is_usable)(const struct mesh_endpoint *endpoint), struct share *shares, size_t *share_count, bool *is_panic)
{
	_cleanup_free_ struct balance_level *levels = NULL;
	size_t i, level_count, count = 0, sources = 0;
	bool has_panic = false;
	uint32_t group = 0;
	int r;

	r = balance_levels(cluster, assignment, &levels, &level_count);
	if (r)
		return r;
	for (i = 0; i < level_count; i++) {
		const struct balance_level *level = &levels[i];
		struct pick picks[] = {
			{ .priority = level->priority, .state = BALANCE_HEALTHY, .load = level->healthy ? level->healthy_load : 0 },
			{ .priority = level->priority, .state = BALANCE_DEGRADED, .load = level->degraded ? level->degraded_load : 0 },
		};
		size_t k;

		if (level->is_panic) {
			picks[0].all = true;
			picks[0].load = level->healthy_load + level->degraded_load;
			picks[1].load = 0;
			has_panic = has_panic || picks[0].load > 0;
		}
		for (k = 0; k < WEFT_ARRAY_SIZE(picks); k++) {
			if (picks[k].load <= 0)
				continue;
			count += add_shares(cluster, assignment, &picks[k], is_usable, &group, shares + count);
			sources++;
		}
	}
	/* One source without localities: the configured weights, exactly. */
	if (sources == 1 && !cluster->weighs_localities)
		for (i = 0; i < count; i++)
			shares[i].weight = endpoint_weight(cluster, shares[i].endpoint);
	*share_count = count;
	*is_panic = has_panic;
	return 0;
}

/* ---- turns ----------------------------------------------------------------------------------------------------------------------- */

struct turn {
	double deadline;
	uint32_t index;
};

static int compare_turns(const void *a, const void *b)
{
	const struct turn *left = a, *right = b;

	if (left->deadline != right->deadline)
		return left->deadline < right->deadline ? -1 : 1;
	return left->index < right->index ? -1 : left->index > right->index;
}

/* The fewest turns, if few enough, in which every share is whole. */
static bool whole_turns(const struct share *shares, size_t count, double total, uint32_t *turns)
{
	uint32_t all;
	size_t i;

	for (all = (uint32_t)count; all <= WEFT_SCHEDULE_MAX; all++) {
		for (i = 0; i < count; i++) {
			double exact = shares[i].weight / total * all;

			turns[i] = (uint32_t)(exact + 0.5);
			if (!turns[i] || exact - turns[i] > 1e-6 || turns[i] - exact > 1e-6)
				break;
		}
		if (i == count)
			return true;
	}
	return false;
}

/* WEFT_SCHEDULE_MAX turns by largest remainder; one at least for each. */
static int apportioned_turns(const struct share *shares, size_t count, double total, uint32_t *turns)
{
	_cleanup_free_ struct turn *remainders = calloc(count, sizeof(*remainders));
	uint32_t left = WEFT_SCHEDULE_MAX;
	size_t i;

	if (!remainders)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		double exact = shares[i].weight / total * WEFT_SCHEDULE_MAX;

		turns[i] = exact < 1 ? 1 : (uint32_t)exact;
		remainders[i] = (struct turn){ .deadline = -(exact - turns[i]), .index = (uint32_t)i };
		left -= WEFT_MIN(left, turns[i]);
	}
	qsort(remainders, count, sizeof(*remainders), compare_turns);
	for (i = 0; left && i < count; i++, left--)
		turns[remainders[i].index]++;
	return 0;
}

bool balance_is_even(const struct share *shares, size_t count)
{
	size_t i;

	for (i = 1; i < count; i++)
		if (shares[i].weight > shares[0].weight * (1 + 1e-9) || shares[i].weight < shares[0].weight * (1 - 1e-9))
			return false;
	return true;
}

int balance_schedule(const struct share *shares, size_t count, uint16_t **turns, size_t *turn_count)
{
	_cleanup_free_ uint32_t *per_share = calloc(count + 1, sizeof(*per_share));
	_cleanup_free_ struct turn *all = NULL;
	_cleanup_free_ uint16_t *out = NULL;
	size_t i, total = 0;
	double weight = 0;
	uint32_t k;

	if (!per_share)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		weight += shares[i].weight;
	if (balance_is_even(shares, count)) {
		for (i = 0; i < count; i++)
			per_share[i] = 1;
	} else if (!whole_turns(shares, count, weight, per_share)) {
		int r = apportioned_turns(shares, count, weight, per_share);

		if (r)
			return r;
	}
	for (i = 0; i < count; i++)
		total += per_share[i];

	all = calloc(total + 1, sizeof(*all));
	out = calloc(total + 1, sizeof(*out));
	if (!all || !out)
		return -ENOMEM;
	for (total = 0, i = 0; i < count; i++)
		for (k = 0; k < per_share[i]; k++)
			all[total++] = (struct turn){ .deadline = (k + 1) / (double)per_share[i], .index = (uint32_t)i };
	qsort(all, total, sizeof(*all), compare_turns);
	for (i = 0; i < total; i++)
		out[i] = (uint16_t)all[i].index;
	*turns = TAKE_PTR(out);
	*turn_count = total;
	return 0;
}
