/* SPDX-License-Identifier: Apache-2.0 */
/* Endpoints that are names, as the addresses that DNS has for them. */
#ifndef WEFT_COMPILE_NAMES_H
#define WEFT_COMPILE_NAMES_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "dns/dns.h"
#include "mesh/mesh.h"

/* `out`, in the arena, is the assignment with every name of it replaced: by all of its addresses (STRICT_DNS), or by the one that came first
 * (LOGICAL_DNS). A name without an address is left out, and the reason says so. -ENOMEM. */
int names_resolve(const struct dns *dns, enum mesh_cluster_kind kind, const struct mesh_load_assignment *assignment, struct arena *arena,
		  const struct mesh_load_assignment **out, struct strbuf *reason);

#endif
