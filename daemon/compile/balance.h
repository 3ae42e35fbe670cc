/* SPDX-License-Identifier: Apache-2.0 */
/* Which endpoints of a cluster get traffic, and how much of it each: health, priorities, localities and weights become one weight an endpoint,
 * and weights become an order of turns. */
#ifndef WEFT_COMPILE_BALANCE_H
#define WEFT_COMPILE_BALANCE_H

#include "compile/compile.h"

struct share {
	const struct mesh_endpoint *endpoint;
	double weight;        /* above 0; only ratios count */
};

/* What Envoy's load balancer would choose from. `shares` has room for assignment->endpoint_count entries; `is_usable` says of an endpoint whether weft
 * can reach it at all. Returns how many shares there are; 0: none is healthy (503). Deterministic.
 * Envoy: LoadBalancerBase::recalculatePerPriorityState (priorities, degraded, panic), EdfLoadBalancerBase (localities). */
size_t balance_shares(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		      bool (*is_usable)(const struct mesh_endpoint *endpoint), struct share *shares, bool *is_panic);

/* The order of turns: indexes into `shares`, spread as evenly as their weights allow (earliest deadline first, as Envoy's scheduler). Equal weights
 * give 0, 1, 2 ...; unequal ones at most WEFT_SCHEDULE_MAX turns, at least one each. -ENOMEM. To be freed. */
int balance_schedule(const struct share *shares, size_t count, uint16_t **turns, size_t *turn_count);

#endif
