/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/pace.h"

uint32_t xds_pace_wait(const struct xds_pace *pace, uint64_t now_ms)
{
	uint64_t ahead_ms = pace->next_ms > now_ms ? pace->next_ms - now_ms : 0, allowed_ms = (uint64_t)(pace->burst - 1) * pace->every_ms;

	return ahead_ms > allowed_ms ? (uint32_t)(ahead_ms - allowed_ms) : 0;
}

void xds_pace_done(struct xds_pace *pace, uint64_t now_ms)
{
	pace->next_ms = (pace->next_ms > now_ms ? pace->next_ms : now_ms) + pace->every_ms;
}
