/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/dns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/cleanup.h"
#include "base/log.h"

#define SETTLE_MS 10          /* answers that come together are one change */
#define REFRESH_MIN_MS 1000   /* Envoy: dns_refresh_rate is at least a millisecond, a TTL at least a second */
#define NAME_MAX_BYTES 255u

struct name {
	UT_hash_handle hh;         /* in the dns's names, by text */
	struct dns *dns;
	char *text;                /* as configured */
	struct event *timer;
	struct ask *ask;           /* the question that is open, or NULL */
	uint32_t *ip4_be;
	size_t count;
	uint32_t first_ip4_be;
	bool is_known;
	bool is_wanted;
	bool has_failed;           /* the last time; said once */
	int64_t refresh_ms;        /* of clusters that don't respect the TTL; 0: there is none such */
	int64_t fallback_ms;       /* of clusters that do, where there is no TTL */
};

/* evdns may answer after the name is forgotten. */
struct ask {
	struct ask *next;
	struct dns *dns;
	struct name *name;         /* NULL: nobody wants it any more */
};

struct dns {
	struct evdns_base *evdns;
	struct event_base *base;
	struct event *settle_event;
	struct name *names;
	struct ask *asks;
	void (*changed)(void *arg);
	void *arg;
};

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

static struct name *find_name(const struct dns *dns, const char *text)
{
	struct name *name;

	HASH_FIND_STR(dns->names, text, name);
	return name;
}

static void name_free(struct name *name)
{
	if (name->ask)
		name->ask->name = NULL;
	if (name->timer)
		event_free(name->timer);
	free(name->ip4_be);
	free(name->text);
	free(name);
}

static void on_due(evutil_socket_t fd, short what, void *arg);

static struct name *name_new(struct dns *dns, const char *text)
{
	struct name *name = calloc(1, sizeof(*name));

	if (!name)
		return NULL;
	name->dns = dns;
	name->text = strdup(text);
	name->timer = evtimer_new(dns->base, on_due, name);
	if (!name->text || !name->timer) {
		name_free(name);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, dns->names, name->text, strlen(name->text), name);
	return name;
}

static void schedule(struct name *name, int64_t in_ms)
{
	struct timeval in = { .tv_sec = (time_t)(in_ms / 1000), .tv_usec = (suseconds_t)(in_ms % 1000) * 1000 };

	evtimer_add(name->timer, &in);
}

/* `ttl_s` 0: there is none. */
static int64_t next_ms(const struct name *name, int ttl_s)
{
	int64_t respectful = ttl_s > 0 ? (int64_t)ttl_s * 1000 : name->fallback_ms;
	int64_t next;

	if (!name->fallback_ms)
		next = name->refresh_ms;
	else if (!name->refresh_ms)
		next = respectful;
	else
		next = respectful < name->refresh_ms ? respectful : name->refresh_ms;
	return next > REFRESH_MIN_MS ? next : REFRESH_MIN_MS;
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static int compare_addresses(const void *a, const void *b)
{
	uint32_t left = ntohl(*(const uint32_t *)a), right = ntohl(*(const uint32_t *)b);

	return left < right ? -1 : left > right;
}

/* False, and nothing is changed, when memory does not reach. */
static bool take_addresses(struct name *name, const uint32_t *addresses, size_t count)
{
	uint32_t first = count ? addresses[0] : name->first_ip4_be, *sorted = NULL;
	bool is_same;
	size_t i, kept = 0;

	if (count) {
		sorted = calloc(count, sizeof(*sorted));
		if (!sorted)
			return false;
		memcpy(sorted, addresses, count * sizeof(*sorted));
		qsort(sorted, count, sizeof(*sorted), compare_addresses);
		for (i = 0; i < count; i++)
			if (!kept || sorted[kept - 1] != sorted[i])
				sorted[kept++] = sorted[i];
	}
	is_same = name->is_known && name->first_ip4_be == first && name->count == kept &&
		  (!kept || !memcmp(name->ip4_be, sorted, kept * sizeof(*sorted)));
	free(name->ip4_be);
	name->ip4_be = sorted;
	name->count = kept;
	name->first_ip4_be = first;
	name->is_known = true;
	return !is_same;
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct dns *dns = arg;

	(void)fd;
	(void)what;
	dns->changed(dns->arg);
}

static void ask_end(struct ask *ask)
{
	struct ask **at;

	for (at = &ask->dns->asks; *at != ask; at = &(*at)->next)
		;
	*at = ask->next;
	if (ask->name)
		ask->name->ask = NULL;
	free(ask);
}

/* As Envoy sees it: that there is no such name, or no address of it, is an answer; everything else is none. */
static bool is_answer(int result)
{
	return result == DNS_ERR_NONE || result == DNS_ERR_NOTEXIST || result == DNS_ERR_NODATA;
}

static void answered(struct name *name, int result, const uint32_t *addresses, size_t count, int ttl_s)
{
	const struct timeval soon = { .tv_usec = SETTLE_MS * 1000 };

	if (!is_answer(result)) {
		if (!name->has_failed)
			log_warning("dns: %s: %s; %s", name->text, evdns_err_to_string(result),
				    name->is_known ? "its last answer stays" : "it has no address yet");
		name->has_failed = true;
		schedule(name, next_ms(name, 0));
		return;
	}
	if (name->has_failed)
		log_info("dns: %s is answered again", name->text);
	name->has_failed = false;
	if (take_addresses(name, addresses, count)) {
		log_debug("dns: %s has %zu addresses, for %d s", name->text, name->count, ttl_s);
		evtimer_add(name->dns->settle_event, &soon);
	}
	schedule(name, next_ms(name, count ? ttl_s : 0));
}

static void on_answer(int result, char type, int count, int ttl_s, void *addresses, void *arg)
{
	struct ask *ask = arg;
	struct name *name = ask->name;
	bool has_any = result == DNS_ERR_NONE && type == DNS_IPv4_A && count > 0;

	ask_end(ask);
	if (name)
		answered(name, result, has_any ? addresses : NULL, has_any ? (size_t)count : 0, ttl_s);
}

static void ask_for(struct name *name)
{
	struct dns *dns = name->dns;
	size_t len = strlen(name->text);
	bool is_whole = len && name->text[len - 1] == '.';
	char text[NAME_MAX_BYTES + 1];
	struct ask *ask;

	if (name->ask)
		return;
	ask = calloc(1, sizeof(*ask));
	if (!ask || len > NAME_MAX_BYTES) {
		free(ask);
		answered(name, ask ? DNS_ERR_FORMAT : DNS_ERR_UNKNOWN, NULL, 0, 0);
		return;
	}
	memcpy(text, name->text, len + 1);
	/* The root's dot means: do not search. evdns would ask for an empty label. */
	if (is_whole)
		text[len - 1] = 0;
	*ask = (struct ask){ .next = dns->asks, .dns = dns, .name = name };
	dns->asks = name->ask = ask;
	if (!evdns_base_resolve_ipv4(dns->evdns, text, is_whole ? DNS_QUERY_NO_SEARCH : 0, on_answer, ask)) {
		ask_end(ask);
		answered(name, DNS_ERR_FORMAT, NULL, 0, 0);
	}
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ask_for(arg);
}

/* ---- what is wanted -------------------------------------------------------------------------------------------------------------- */

static int64_t earlier(int64_t former, int64_t other)
{
	return former && former < other ? former : other;
}

static int want_cluster(struct dns *dns, const struct mesh_cluster *cluster)
{
	const struct mesh_load_assignment *assignment = cluster->load_assignment;
	size_t i, j;

	if ((cluster->kind != MESH_CLUSTER_STRICT_DNS && cluster->kind != MESH_CLUSTER_LOGICAL_DNS) || !assignment)
		return 0;
	for (i = 0; i < assignment->locality_count; i++) {
		for (j = 0; j < assignment->localities[i].endpoint_count; j++) {
			const struct mesh_address *address = &assignment->localities[i].endpoints[j].address;
			struct name *name;

			if (address->kind != MESH_ADDRESS_HOSTNAME)
				continue;
			name = find_name(dns, address->text);
			if (!name)
				name = name_new(dns, address->text);
			if (!name)
				return -ENOMEM;
			name->is_wanted = true;
			if (cluster->respects_dns_ttl)
				name->fallback_ms = earlier(name->fallback_ms, cluster->dns_refresh_ms);
			else
				name->refresh_ms = earlier(name->refresh_ms, cluster->dns_refresh_ms);
		}
	}
	return 0;
}

static void forget_unwanted(struct dns *dns)
{
	struct name *name, *next;

	HASH_ITER(hh, dns->names, name, next) {
		if (name->is_wanted)
			continue;
		HASH_DELETE(hh, dns->names, name);
		name_free(name);
	}
}

int dns_want(struct dns *dns, const struct mesh *const *meshes, size_t mesh_count)
{
	struct name *name;
	size_t i, j;
	int r = 0;

	for (name = dns->names; name; name = name->hh.next) {
		name->is_wanted = false;
		name->refresh_ms = name->fallback_ms = 0;
	}
	for (i = 0; i < mesh_count; i++)
		for (j = 0; !r && j < meshes[i]->cluster_count; j++)
			r = want_cluster(dns, meshes[i]->clusters[j]);
	if (!r)
		forget_unwanted(dns);
	for (name = dns->names; name; name = name->hh.next) {
		struct timeval now, due;
		int64_t left_ms, most_ms = next_ms(name, 0);

		if (name->ask)
			continue;
		if (!evtimer_pending(name->timer, &due)) {
			ask_for(name);
			continue;
		}
		/* Some cluster may have less patience than those before. */
		event_base_gettimeofday_cached(dns->base, &now);
		left_ms = (due.tv_sec - now.tv_sec) * 1000 + (due.tv_usec - now.tv_usec) / 1000;
		if (name->refresh_ms && left_ms > most_ms)
			schedule(name, most_ms);
	}
	return r;
}

bool dns_find(const struct dns *dns, const char *text, struct dns_answer *out)
{
	const struct name *name = find_name(dns, text);

	if (!name)
		return false;
	*out = (struct dns_answer){ name->ip4_be, name->count, name->first_ip4_be, name->is_known };
	return true;
}

void dns_count(const struct dns *dns, size_t *names, size_t *unknown)
{
	const struct name *name;

	*names = *unknown = 0;
	for (name = dns->names; name; name = name->hh.next) {
		++*names;
		*unknown += !name->is_known;
	}
}

/* ---- for a next process ---------------------------------------------------------------------------------------------------------- */

int dns_save(const struct dns *dns, struct strbuf *out)
{
	char text[INET_ADDRSTRLEN];
	const struct name *name;
	size_t i;

	for (name = dns->names; name; name = name->hh.next) {
		if (!name->is_known)
			continue;
		strbuf_printf(out, "%s %s", name->text, inet_ntop(AF_INET, &name->first_ip4_be, text, sizeof(text)));
		for (i = 0; i < name->count; i++)
			strbuf_printf(out, " %s", inet_ntop(AF_INET, &name->ip4_be[i], text, sizeof(text)));
		strbuf_append_text(out, "\n");
	}
	return strbuf_status(out);
}

static int restore_line(struct dns *dns, char *line)
{
	char *rest = line, *text = strsep(&rest, " "), *word = strsep(&rest, " ");
	_cleanup_free_ uint32_t *addresses = NULL;
	size_t count = 0, room = 0;
	uint32_t first;
	struct name *name;

	if (!*text || !word || inet_pton(AF_INET, word, &first) != 1)
		return 0;
	for (const char *at = rest; at && *at; at++)
		room += *at == ' ';
	addresses = calloc(room + 1, sizeof(*addresses));
	if (!addresses)
		return -ENOMEM;
	while ((word = strsep(&rest, " ")))
		if (count <= room && inet_pton(AF_INET, word, &addresses[count]) == 1)
			count++;
	name = find_name(dns, text) ? NULL : name_new(dns, text);
	if (!name)
		return find_name(dns, text) ? 0 : -ENOMEM;
	take_addresses(name, addresses, count);
	name->first_ip4_be = first;
	return 0;
}

int dns_restore(struct dns *dns, const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	char *rest = copy, *line;
	int r = copy ? 0 : -ENOMEM;

	while (!r && (line = strsep(&rest, "\n")))
		r = restore_line(dns, line);
	return r;
}

/* ---- beginning and end ----------------------------------------------------------------------------------------------------------- */

static void log_evdns(int is_warning, const char *text)
{
	(void)is_warning;
	log_debug("dns: %s", text);
}

int dns_new(struct dns **out, const struct dns_options *options)
{
	_cleanup_(dns_free) struct dns *dns = calloc(1, sizeof(*dns));
	int r;

	if (!dns)
		return -ENOMEM;
	dns->base = options->base;
	dns->changed = options->changed;
	dns->arg = options->arg;
	evdns_set_log_fn(log_evdns);
	dns->settle_event = evtimer_new(dns->base, on_settled, dns);
	dns->evdns = evdns_base_new(dns->base, 0);
	if (!dns->settle_event || !dns->evdns)
		return -ENOMEM;
	r = evdns_base_resolv_conf_parse(dns->evdns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE, options->resolv_conf);
	/* Not fatal: a node without names in its configuration needs no resolver. */
	if (r)
		log_warning("dns: %s can't be used (%s): 127.0.0.1 is asked", options->resolv_conf,
			    r == 1 ? "it can't be opened" : r == 6 ? "it has no nameserver" : "it can't be read");
	/* Questions in MiXeD case ward off forged answers, but some servers answer in lower case. */
	evdns_base_set_option(dns->evdns, "randomize-case:", "0");
	*out = TAKE_PTR(dns);
	return 0;
}

void dns_free(struct dns **pointer)
{
	struct dns *dns = *pointer;
	struct name *name, *next;

	if (!dns)
		return;
	if (dns->evdns)
		evdns_base_free(dns->evdns, 0);
	HASH_ITER(hh, dns->names, name, next) {
		HASH_DELETE(hh, dns->names, name);
		name_free(name);
	}
	while (dns->asks)
		ask_end(dns->asks);
	if (dns->settle_event)
		event_free(dns->settle_event);
	free(dns);
	*pointer = NULL;
}
