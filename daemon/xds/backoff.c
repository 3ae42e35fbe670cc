/* SPDX-License-Identifier: Apache-2.0 */
#include "xds/backoff.h"

/* splitmix64: any state will do, 0 too */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint32_t xds_backoff_next(struct xds_backoff *backoff)
{
	uint32_t step = backoff->step_ms ? backoff->step_ms : backoff->min_ms;
	uint32_t half = step - step / 2, pause_ms = half + (uint32_t)(next_random(&backoff->random) % (step / 2 + 1));

	backoff->step_ms = step > backoff->max_ms / 2 ? backoff->max_ms : step * 2;
	return pause_ms < backoff->min_ms ? backoff->min_ms : pause_ms;
}

void xds_backoff_reset(struct xds_backoff *backoff)
{
	backoff->step_ms = 0;
}
