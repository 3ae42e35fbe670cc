/* SPDX-License-Identifier: Apache-2.0 */
/* How often something may be done that costs others time: at once as long as it is rare, and in a steady rate when it is asked for without end. */
#ifndef WEFT_XDS_PACE_H
#define WEFT_XDS_PACE_H

#include <stdint.h>

struct xds_pace {
	uint32_t every_ms; /* the steady rate */
	uint32_t burst;    /* so many at once, after a time of rest */
	uint64_t next_ms;  /* when it would be done next at the steady rate */
};

/* Milliseconds until it may be done; 0: now. */
uint32_t xds_pace_wait(const struct xds_pace *pace, uint64_t now_ms);
/* It is done now. */
void xds_pace_done(struct xds_pace *pace, uint64_t now_ms);

#endif
