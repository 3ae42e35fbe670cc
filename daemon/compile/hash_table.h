/* SPDX-License-Identifier: Apache-2.0 */
/* Rings and Maglev tables of hashing clusters: the same places for the same endpoints as Envoy gives them. */
#ifndef WEFT_COMPILE_HASH_TABLE_H
#define WEFT_COMPILE_HASH_TABLE_H

#include "compile/balance.h"
#include "compile/builder.h"
#include "compile/cluster.h"

/* All that a priority's table may choose of: `shares` has room for assignment->endpoint_count entries; each address once, by priority. The
 * weights say nothing. Returns how many there are; -ENOMEM. */
int hash_table_endpoints(const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
			 bool (*is_usable)(const struct mesh_endpoint *endpoint), struct share *shares, size_t *count, bool *is_panic);

/* Writes struct weft_hash_level for every priority that gets requests: picks are indexes into `shares`. Refuses the cluster, with the reason, where the
 * tables would be larger than weft holds (`hash_bytes` is what tables of the image take so far). -ENOMEM; builder errors. */
int hash_table_compile(struct builder *builder, const struct mesh_cluster *cluster, const struct mesh_load_assignment *assignment,
		       const struct share *shares, size_t count, size_t *hash_bytes, weft_ref cluster_ref, struct judgement *judgement);

#endif
