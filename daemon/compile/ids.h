/* SPDX-License-Identifier: Apache-2.0 */
/* Claims on stable ids: what one image holds. See compile.h for what ids are. */
#ifndef WEFT_COMPILE_IDS_H
#define WEFT_COMPILE_IDS_H

#include "compile/compile.h"

/* Begins a generation: the claim collects the ids that a new image names. */
int ids_claim_new(struct ids *ids, struct ids_claim **out);

/* The ids begin to rest if no other claim has them. Accepts a pointer to NULL. */
void ids_claim_release(struct ids_claim **claim);

/* The id of a cluster name or endpoint address, given now if it has none, and held by the claim. -ENOSPC when all ids are held or resting;
 * -ENOMEM. */
int ids_cluster(struct ids_claim *claim, const char *name, uint32_t *id);
int ids_endpoint(struct ids_claim *claim, const struct weft_address *address, uint16_t port_be, uint32_t *id);

/* Of ids that another claim holds: the same for this one. -ENOMEM. */
int ids_hold_endpoints(struct ids_claim *claim, const struct weft_endpoint *endpoints, uint32_t count);

#endif
