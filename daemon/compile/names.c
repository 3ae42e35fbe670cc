/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "compile/report.h"

#define NAMES_SHOWN 3u

struct resolution {
	const struct dns *dns;
	enum mesh_cluster_kind kind;
	struct arena *arena;
	struct strbuf *reason;
	size_t missing;
};

static size_t addresses_of(struct resolution *x, const struct mesh_endpoint *endpoint, struct dns_answer *answer)
{
	*answer = (struct dns_answer){ 0 };
	if (endpoint->address.kind != MESH_ADDRESS_HOSTNAME)
		return 1;
	if (x->dns)
		(void)dns_find(x->dns, endpoint->address.text, answer);
	/* Envoy: a logical host stays where it was when an answer is empty. */
	if (x->kind == MESH_CLUSTER_LOGICAL_DNS)
		return answer->first_ip4_be ? 1 : 0;
	return answer->count;
}

static void remark_missing(struct resolution *x, const struct mesh_endpoint *endpoint, const struct dns_answer *answer)
{
	if (x->missing++ < NAMES_SHOWN)
		reason_add(x->reason, "%s has no IPv4 address%s", endpoint->address.text, answer->is_known ? "" : " yet");
}

/* The endpoint at an address of its name; as in Envoy, its name is its host name unless it has another. */
static int place(struct resolution *x, const struct mesh_endpoint *source, uint32_t ip4_be, struct mesh_endpoint *out)
{
	char text[INET_ADDRSTRLEN];

	*out = *source;
	out->address.kind = MESH_ADDRESS_IP;
	out->address.family = AF_INET;
	memset(out->address.ip, 0, sizeof(out->address.ip));
	memcpy(out->address.ip, &ip4_be, sizeof(ip4_be));
	out->address.text = arena_text(x->arena, inet_ntop(AF_INET, &ip4_be, text, sizeof(text)));
	if (!*source->hostname)
		out->hostname = source->address.text;
	return out->address.text ? 0 : -ENOMEM;
}

static int resolve_locality(struct resolution *x, struct mesh_locality *locality)
{
	const struct mesh_endpoint *sources = locality->endpoints;
	size_t i, j, count, total = 0, source_count = locality->endpoint_count;
	struct dns_answer answer;
	int r;

	for (i = 0; i < source_count; i++)
		total += addresses_of(x, &sources[i], &answer);
	locality->endpoints = arena_new_array(x->arena, struct mesh_endpoint, total);
	if (!locality->endpoints)
		return -ENOMEM;
	locality->endpoint_count = 0;
	for (i = 0; i < source_count; i++) {
		count = addresses_of(x, &sources[i], &answer);
		if (!count)
			remark_missing(x, &sources[i], &answer);
		for (j = 0; j < count; j++) {
			struct mesh_endpoint *out = &locality->endpoints[locality->endpoint_count++];

			*out = sources[i];
			if (sources[i].address.kind != MESH_ADDRESS_HOSTNAME)
				continue;
			r = place(x, &sources[i], x->kind == MESH_CLUSTER_LOGICAL_DNS ? answer.first_ip4_be : answer.ip4_be[j], out);
			if (r)
				return r;
		}
	}
	/* Envoy: the one host of such a cluster has no other to be behind. */
	if (x->kind == MESH_CLUSTER_LOGICAL_DNS)
		locality->priority = 0;
	return 0;
}

int names_resolve(const struct dns *dns, enum mesh_cluster_kind kind, const struct mesh_load_assignment *assignment, struct arena *arena,
		  const struct mesh_load_assignment **out, struct strbuf *reason)
{
	struct resolution x = { dns, kind, arena, reason, 0 };
	struct mesh_load_assignment *resolved = arena_copy(arena, assignment, sizeof(*assignment));
	size_t i;
	int r;

	if (!resolved)
		return -ENOMEM;
	resolved->localities = arena_copy(arena, assignment->localities, assignment->locality_count * sizeof(*assignment->localities));
	if (!resolved->localities)
		return -ENOMEM;
	resolved->endpoint_count = 0;
	for (i = 0; i < resolved->locality_count; i++) {
		r = resolve_locality(&x, &resolved->localities[i]);
		if (r)
			return r;
		resolved->endpoint_count += resolved->localities[i].endpoint_count;
	}
	if (x.missing > NAMES_SHOWN)
		reason_add(reason, "and %zu more have none", x.missing - NAMES_SHOWN);
	*out = resolved;
	return 0;
}
