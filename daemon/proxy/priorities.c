/* SPDX-License-Identifier: Apache-2.0 */
/* Tries that leave the priorities of a cluster which were tried (Envoy: PreviousPrioritiesRetryPriority, LoadBalancerBase::choosePriority). */
#include "proxy/policies.h"

static u32 after(const struct exchange *exchange)
{
	return exchange->policies && exchange->policies->retry ? exchange->policies->retry->priorities_after : 0;
}

static const struct weft_priority *priorities_of(const struct weft_image_handle *image, const struct weft_cluster *cluster)
{
	return cluster->priority_count ? weft_at(image, cluster->priorities) : NULL;
}

static u32 available(const struct weft_priority *priorities, u32 count, u64 left)
{
	u32 total = 0;

	for (u32 i = 0; i < count; i++)
		total += left >> priorities[i].priority & 1 ? 0 : priorities[i].percent;
	return WEFT_MIN(total, 100u);
}

/* What is left over by rounding goes to the first ones again. */
static const struct weft_priority *choose(const struct weft_priority *priorities, u32 count, u64 left, u32 total, u32 random)
{
	u32 load[2 * WEFT_PRIORITIES_MAX] = {0}, unspent = 100, chosen = random % 100 + 1, sum = 0;

	while (unspent)
		for (u32 i = 0; i < count; i++) {
			u32 percent = left >> priorities[i].priority & 1 ? 0 : priorities[i].percent;
			u32 part = WEFT_MIN(percent * 100 / total, unspent);

			load[i] += part;
			unspent -= part;
		}
	for (u32 i = 0; i < count; i++) {
		sum += load[i];
		if (chosen <= sum)
			return &priorities[i];
	}
	return NULL;
}

/* One of the endpoints of a priority, as the cluster balances. */
static bool pick(const struct weft_balance_query *query, const struct weft_cluster *cluster, const struct weft_priority *priority, struct weft_endpoint *endpoint)
{
	struct weft_cluster alone = *cluster;
	struct weft_cluster_state *state = weft_balance_cluster(query);
	const struct weft_endpoint *found;
	struct weft_cursor cursor = {0};
	u32 turn = (u32)((u64)query->random * priority->schedule_len >> 32);

	alone.schedule = priority->schedule;
	alone.schedule_len = priority->schedule_len;
	if (cluster->policy == WEFT_LB_ROUND_ROBIN && state)
		turn = __sync_fetch_and_add(&state->position, 1) % priority->schedule_len;
	found = weft_scheduled(&query->image, &cursor, &alone, turn);
	if (!found)
		return false;
	*endpoint = *found;
	return cluster->policy != WEFT_LB_LEAST_REQUEST || cluster->choices == 1 || !weft_least_request(query, &alone, endpoint);
}

bool priorities_pick(struct exchange *exchange, const struct weft_balance_query *query, const struct weft_cluster *cluster, struct weft_endpoint *endpoint)
{
	const struct weft_priority *priorities = priorities_of(&query->image, cluster), *chosen;
	struct policies *policies = exchange->policies;
	u32 every = after(exchange), total;

	if (!every || !priorities || policies->attempts < every)
		return false;
	if (policies->attempts % every == 0)
		policies->left_priorities |= policies->attempted_priorities;
	total = available(priorities, cluster->priority_count, policies->left_priorities);
	if (!total) {
		/* All were tried: from the beginning. */
		policies->left_priorities = policies->attempted_priorities = 0;
		policies->attempts = 0;
		total = available(priorities, cluster->priority_count, 0);
	}
	chosen = total ? choose(priorities, cluster->priority_count, policies->left_priorities, total, thread_random(exchange->connection->thread)) : NULL;
	return chosen && pick(query, cluster, chosen, endpoint);
}

/* Its priorities: an endpoint belongs to one, or one and its degraded part in a panic. */
static u64 priorities_with(const struct weft_image_handle *image, const struct weft_cluster *cluster, u32 endpoint_id)
{
	const struct weft_priority *priorities = priorities_of(image, cluster);
	struct weft_cursor cursor = {0};
	u64 found = 0;

	for (u32 i = 0; priorities && i < cluster->priority_count; i++) {
		const u16 *turns = weft_at(image, priorities[i].schedule);

		for (u32 k = 0; turns && k < priorities[i].schedule_len; k++) {
			const struct weft_endpoint *member = turns[k] < cluster->endpoint_count ? weft_member(image, &cursor, cluster, turns[k]) : NULL;

			if (member && member->id == endpoint_id)
				found |= 1ull << priorities[i].priority;
		}
	}
	return found;
}

void priorities_remember(struct exchange *exchange, const struct weft_endpoint *endpoint)
{
	struct weft_image_handle image = thread_endpoints(exchange->connection->thread, exchange->connection->pod->is.scope);
	const struct weft_cluster *cluster;

	if (!after(exchange) || !image.base)
		return;
	cluster = weft_at(&image, weft_find_cluster(&image, exchange->cluster_id));
	if (!cluster || cluster->kind != WEFT_CLUSTER_ENDPOINTS)
		return;
	exchange->policies->attempts++;
	exchange->policies->attempted_priorities |= priorities_with(&image, cluster, endpoint->id);
}
