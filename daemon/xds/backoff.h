/* SPDX-License-Identifier: Apache-2.0 */
/* How long to wait before the next try: twice as long each time, up to a limit, and never the same for all who wait. */
#ifndef WEFT_XDS_BACKOFF_H
#define WEFT_XDS_BACKOFF_H

#include <stdint.h>

struct xds_backoff {
	uint32_t min_ms, max_ms;
	uint32_t step_ms;  /* of the next pause; 0: min_ms */
	uint64_t random;   /* state of the generator; any number */
};

/* From half of the step to all of it, never below `min_ms`; then the step doubles. */
uint32_t xds_backoff_next(struct xds_backoff *backoff);
/* After a success: the next pause is a short one. */
void xds_backoff_reset(struct xds_backoff *backoff);

#endif
