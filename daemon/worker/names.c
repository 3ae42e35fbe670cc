/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "dns/dns.h"
#include "keeper/options.h"
#include "worker/internal.h"

static void keep(struct worker *worker)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	int r = dns_save(worker->dns, &text);

	if (!r)
		r = memory_keep(worker->table, MEMORY_NAMES, strbuf_text(&text), text.size, &worker->names_entry);
	if (r)
		log_warn(r, "keeping what DNS answered for a next worker: after a crash it has to ask first");
}

static void on_changed(void *arg)
{
	struct worker *worker = arg;

	keep(worker);
	publish_names(worker);
}

int names_start(struct worker *worker)
{
	const struct dns_options options = {
		.base = worker->base,
		.resolv_conf = worker->config->options->resolv_conf,
		.changed = on_changed,
		.arg = worker,
	};
	_cleanup_(strbuf_release) struct strbuf former = STRBUF_INIT;
	int r;

	r = dns_new(&worker->dns, &options);
	if (r)
		return r;
	if (memory_find(worker->table, MEMORY_NAMES, &former, &worker->names_entry))
		return 0;
	return dns_restore(worker->dns, strbuf_text(&former));
}

void names_want(struct worker *worker)
{
	const struct mesh *meshes[WEFT_SCOPES_MAX];
	const struct serving *serving = NULL;
	size_t count = 0;
	int r;

	while ((serving = scopes_next(worker, serving)))
		if (serving->mesh)
			meshes[count++] = serving->mesh;
	r = dns_want(worker->dns, meshes, count);

	if (r)
		log_err(r, "asking for the names of endpoints: some of them have no address");
}

void names_stop(struct worker *worker)
{
	dns_free(&worker->dns);
}
