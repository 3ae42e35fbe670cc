/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/priorities.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "compile/cluster.h"
#include "compile/report.h"
#include "compile/share_index.h"

struct search {
	const struct mesh *mesh;
	const struct mesh_cluster *cluster;
	const struct mesh_load_assignment *assignment;
	bool (*is_usable)(const struct mesh_endpoint *endpoint);
	struct share *shares;
	size_t count, limit;
	struct share_index known;
	uint32_t group;
	struct strbuf *reason;
	bool has_failed;      /* `reason` says why */
};

void priorities_release(struct priorities *priorities)
{
	size_t i;

	for (i = 0; i < priorities->count; i++)
		free(priorities->items[i].turns);
	free(priorities->items);
	*priorities = (struct priorities){ 0 };
}

static bool can_reach(struct search *search, const struct mesh_endpoint *endpoint)
{
	enum reach reach = cluster_reach(search->cluster, endpoint);

	if (reach == REACH_PLAIN || (reach == REACH_MTLS_CAPABLE && !search->mesh->requires_mtls))
		return true;
	reason_add(search->reason, "retries keep to the priorities that get requests now: endpoint %s is not reached without TLS", endpoint->address.text);
	search->has_failed = true;
	return false;
}

/* Its index among the shares, where it is added if need be. False: another endpoint has its address, or it can't be used at all. */
static bool place_of(struct search *search, const struct share *share, uint32_t group, uint16_t *out)
{
	uint32_t *slot = share_index_slot(&search->known, search->shares, &share->endpoint->address);

	if (*slot) {
		*out = (uint16_t)(*slot - 1);
		return search->shares[*out].endpoint == share->endpoint;
	}
	if (!can_reach(search, share->endpoint))
		return false;
	if (search->count == search->limit) {
		reason_add(search->reason, "retries keep to the priorities that get requests now: there are more than %zu endpoints", search->limit);
		search->has_failed = true;
		return false;
	}
	search->shares[search->count] = *share;
	search->shares[search->count].group = group;
	*out = (uint16_t)search->count++;
	*slot = (uint32_t)search->count;
	return true;
}

/* The turns of one source. None: nothing of it can be used. */
static int find_turns(struct search *search, const struct balance_level *level, struct priority_turns *out)
{
	_cleanup_free_ struct share *own = calloc(search->assignment->endpoint_count + 1, sizeof(*own));
	_cleanup_free_ uint16_t *places = calloc(search->assignment->endpoint_count + 1, sizeof(*places));
	size_t i, count, kept = 0;
	int r;

	if (!own || !places)
		return -ENOMEM;
	count = balance_source(search->cluster, search->assignment, level, out->is_degraded, search->is_usable, &search->group, own);
	for (i = 0; i < count && !search->has_failed; i++)
		if (place_of(search, &own[i], own[i].group, &places[kept]))
			own[kept++] = own[i];
	if (!kept || search->has_failed)
		return 0;
	r = balance_schedule(own, kept, &out->turns, &out->turn_count);
	for (i = 0; !r && i < out->turn_count; i++)
		out->turns[i] = places[out->turns[i]];
	return r;
}

static bool has_several(const struct balance_level *levels, size_t count)
{
	size_t i, filled = 0;

	for (i = 0; i < count; i++)
		filled += levels[i].total > 0;
	return filled > 1;
}

static int find_all(struct search *search, const struct balance_level *levels, size_t count, bool is_degraded, struct priorities *out)
{
	size_t i;

	for (i = 0; i < count && !search->has_failed; i++) {
		struct priority_turns *item = &out->items[out->count];
		uint32_t percent = is_degraded ? levels[i].degraded_percent : levels[i].healthy_percent;
		int r;

		if (!percent)
			continue;
		if (levels[i].priority >= WEFT_PRIORITIES_MAX) {
			reason_add(search->reason, "retries keep to the priorities that get requests now: priority %u is more than %u", levels[i].priority,
				   WEFT_PRIORITIES_MAX - 1);
			search->has_failed = true;
			return 0;
		}
		*item = (struct priority_turns){ .priority = levels[i].priority, .percent = percent, .is_degraded = is_degraded };
		r = find_turns(search, &levels[i], item);
		if (r)
			return r;
		out->count += item->turn_count > 0;
	}
	return 0;
}

static int find_levels(struct search *search, const struct balance_level *levels, size_t count, struct priorities *out)
{
	int r;

	out->items = calloc(2 * count, sizeof(*out->items));
	if (!out->items)
		return -ENOMEM;
	r = find_all(search, levels, count, false, out);
	if (!r)
		r = find_all(search, levels, count, true, out);
	if (!r && search->has_failed)
		priorities_release(out);
	return r;
}

int priorities_find(const struct mesh *mesh, const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		    bool (*is_usable)(const struct mesh_endpoint *endpoint), size_t limit, struct share *shares, size_t *count, struct priorities *out,
		    struct strbuf *reason)
{
	struct search search = { .mesh = mesh, .cluster = cluster, .assignment = assignment, .is_usable = is_usable, .shares = shares, .count = *count,
				 .limit = limit, .group = *count ? shares[*count - 1].group + 1 : 0, .reason = reason };
	_cleanup_free_ struct balance_level *levels = NULL;
	size_t i, level_count;
	int r;

	r = balance_levels(cluster, assignment, &levels, &level_count);
	if (r || !has_several(levels, level_count))
		return r;
	r = share_index_init(&search.known, assignment->endpoint_count);
	for (i = 0; !r && i < *count; i++)
		*share_index_slot(&search.known, shares, &shares[i].endpoint->address) = (uint32_t)i + 1;
	if (!r)
		r = find_levels(&search, levels, level_count, out);
	share_index_release(&search.known);
	if (!r && !search.has_failed)
		*count = search.count;
	return r;
}

int priorities_write(struct builder *builder, const struct priorities *priorities, weft_ref cluster)
{
	struct weft_cluster *out = builder_at(builder, cluster);
	struct weft_priority *written;
	size_t i;

	if (!priorities->count)
		return 0;
	out->priorities = builder_alloc(builder, priorities->count * sizeof(*written));
	if (!out->priorities)
		return builder_status(builder);
	out->priority_count = (uint32_t)priorities->count;
	written = builder_at(builder, out->priorities);
	for (i = 0; i < priorities->count; i++) {
		const struct priority_turns *item = &priorities->items[i];

		written[i] = (struct weft_priority){ .priority = item->priority, .percent = item->percent, .is_degraded = item->is_degraded,
						     .schedule_len = (uint32_t)item->turn_count };
		written[i].schedule = builder_share(builder, item->turns, item->turn_count * sizeof(*item->turns));
	}
	return builder_status(builder);
}
