/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints of a cluster get traffic, and how much of it each: health, priorities, localities and weights become one weight an endpoint,
 * and weights become an order of turns. */
#ifndef WEFT_COMPILE_BALANCE_H
#define WEFT_COMPILE_BALANCE_H

#include "compile/compile.h"

enum balance_state { BALANCE_HEALTHY, BALANCE_DEGRADED, BALANCE_OUT };
enum balance_state balance_state(const struct mesh_endpoint *endpoint);

/* One priority: what is there, and what part of the requests its healthy and its degraded endpoints get (percent). In a panic all of its
 * endpoints get both. */
struct balance_level {
	uint32_t priority;
	uint64_t total, healthy, degraded;
	uint32_t healthy_percent, degraded_percent; /* availability, overprovisioned */
	uint32_t healthy_load, degraded_load;
	bool is_panic;
};

/* Ordered by priority; to be freed. -ENOMEM. Envoy: LoadBalancerBase::recalculatePerPriorityState and recalculatePerPriorityPanic. */
int balance_levels(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment, struct balance_level **levels, size_t *count);

struct share {
	const struct mesh_endpoint *endpoint;
	double weight;        /* above 0; only ratios count */
	uint32_t group;       /* as struct weft_endpoint has them: groups follow each other */
};

/* What Envoy's load balancer would choose from. `shares` has room for assignment->endpoint_count entries; `is_usable` says of an endpoint whether weft
 * can reach it at all. No shares: none is healthy (503). Deterministic. -ENOMEM.
 * Envoy: ZoneAwareLoadBalancerBase::hostSourceToUse, LocalityWrr. */
int balance_shares(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		   bool (*is_usable)(const struct mesh_endpoint *endpoint), struct share *shares, size_t *share_count, bool *is_panic);

/* What it would choose from where it has chosen the healthy or the degraded endpoints of one level. `group` counts on. */
size_t balance_source(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment, const struct balance_level *level,
		      bool is_degraded, bool (*is_usable)(const struct mesh_endpoint *), uint32_t *group, struct share *shares);

/* All of the same weight. */
bool balance_is_even(const struct share *shares, size_t count);

/* The order of turns: indexes into `shares`, spread as evenly as their weights allow (earliest deadline first, as Envoy's scheduler). Equal weights
 * give 0, 1, 2 ...; unequal ones at most WEFT_SCHEDULE_MAX turns, at least one each. -ENOMEM. To be freed. */
int balance_schedule(const struct share *shares, size_t count, uint16_t **turns, size_t *turn_count);

#endif
