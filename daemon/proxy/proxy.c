/* SPDX-License-Identifier: Apache-2.0 */
/* The proxy as the rest of the worker sees it: threads, pods, images; calls become messages to the threads. */
#include "proxy/internal.h"

#include <fcntl.h>
#include <sched.h>

struct pod *pod_get(struct pod *pod)
{
	__atomic_fetch_add(&pod->references, 1, __ATOMIC_RELAXED);
	return pod;
}

void pod_put(struct pod *pod)
{
	if (!pod || __atomic_sub_fetch(&pod->references, 1, __ATOMIC_ACQ_REL))
		return;
	if (pod->is.netns_fd >= 0)
		close(pod->is.netns_fd);
	free(pod);
}

void published_put(struct published *published)
{
	if (!published || __atomic_sub_fetch(&published->references, 1, __ATOMIC_ACQ_REL))
		return;
	if (published->release)
		published->release(published->arg);
	free(published);
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------------- */

static u32 default_threads(void)
{
	cpu_set_t set;
	u32 cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? (u32)CPU_COUNT(&set) : 1;

	return cores / 4 ? cores / 4 : 1;
}

static void set_limit(u32 *limit, u32 value)
{
	if (!*limit)
		*limit = value;
}

int proxy_new_with_backend(struct proxy **out, const struct proxy_backend *backend, const struct proxy_options *options)
{
	u32 threads = options->threads ? options->threads : default_threads();
	struct proxy *proxy;
	int r;

	weft_assert(backend->connection_find && backend->clusters && backend->endpoints);
	weft_assert(backend->connection_command || !options->is_fast_path_on);
	proxy = calloc(1, sizeof(*proxy) + threads * sizeof(proxy->threads[0]));
	if (!proxy)
		return -ENOMEM;
	proxy->backend = *backend;
	proxy->decorates = options->decorates;
	proxy->table = options->table;
	proxy->limits = options->limits;
	proxy->load = options->load;
	proxy->is_fast_path_on = options->is_fast_path_on;
	proxy->client_gone = options->client_gone;
	proxy->client_gone_arg = options->client_gone_arg;
	proxy->endpoint_keeps = options->endpoint_keeps;
	proxy->endpoint_keeps_arg = options->endpoint_keeps_arg;
	proxy->thread_count = threads;
	set_limit(&proxy->limits.connections, 65536);
	set_limit(&proxy->limits.connections_each, proxy->limits.connections / 4 ? proxy->limits.connections / 4 : 1);
	set_limit(&proxy->limits.buffer_bytes, 512u << 20);
	set_limit(&proxy->limits.buffer_bytes_each, proxy->limits.buffer_bytes / 4);
	set_limit(&proxy->limits.idle_upstreams, 1024);
	set_limit(&proxy->limits.idle_upstreams_each, 64);
	set_limit(&proxy->limits.idle_upstream_ms, 60000);
	set_limit(&proxy->limits.silence_ms, 200);
	set_limit(&proxy->limits.splice_pipes, 256);
	set_limit(&proxy->limits.splice_pipes_each, proxy->limits.splice_pipes / 4 ? proxy->limits.splice_pipes / 4 : 1);
	pthread_mutex_init(&proxy->lock, NULL);
	for (u32 i = 0; i < threads; i++) {
		r = thread_start(&proxy->threads[i], proxy, i);
		if (r) {
			proxy_free(&proxy);
			return log_err(r, "starting proxy thread %u", i);
		}
	}
	*out = proxy;
	return 0;
}

void proxy_free(struct proxy **out)
{
	struct proxy *proxy = *out;

	if (!proxy)
		return;
	for (u32 i = 0; i < proxy->thread_count; i++)
		thread_stop(&proxy->threads[i]);
	weft_assert(!proxy->registry);
	registry_expire(proxy, &proxy->threads[0], UINT64_MAX);
	while (proxy->pods) {
		struct pod *pod = proxy->pods;

		proxy->pods = pod->next;
		pod_put(pod);
	}
	pthread_mutex_destroy(&proxy->lock);
	free(proxy);
	*out = NULL;
}

void proxy_set_fast_path(struct proxy *proxy, bool is_on)
{
	weft_assert(proxy->backend.connection_command || !is_on);
	__atomic_store_n(&proxy->is_fast_path_on, is_on, __ATOMIC_RELAXED);
}

u32 proxy_thread_count(const struct proxy *proxy)
{
	return proxy->thread_count;
}

/* ---- pods ------------------------------------------------------------------------------------------------------------------------ */

static struct pod **pod_find(struct proxy *proxy, u32 pod_id)
{
	struct pod **at = &proxy->pods;

	while (*at && (*at)->is.pod_id != pod_id)
		at = &(*at)->next;
	return at;
}

struct pod_message {
	struct message message;
	struct pod *pod;
	u32 pod_id;
	struct table_entry *entry;
	int r;
};

static void run_pod_add(struct thread *thread, struct message *message)
{
	struct pod_message *own = (struct pod_message *)message;

	own->r = listener_add(thread, own->pod);
}

static void run_pod_remove(struct thread *thread, struct message *message)
{
	struct pod_message *own = (struct pod_message *)message;

	listener_remove(thread, own->pod_id);
}

static void remove_listeners(struct proxy *proxy, u32 pod_id)
{
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct pod_message remove = {.message.run = run_pod_remove, .pod_id = pod_id};

		thread_call(&proxy->threads[i], &remove.message);
	}
}

int proxy_pod_add(struct proxy *proxy, const struct proxy_pod *is)
{
	struct pod *pod;

	weft_assert(is->pod_id && is->scope < WEFT_SCOPES_MAX);
	if (*pod_find(proxy, is->pod_id))
		return -EEXIST;
	pod = calloc(1, sizeof(*pod));
	if (!pod)
		return -ENOMEM;
	pod->is = *is;
	pod->references = 1;
	if (is->netns_fd >= 0) {
		pod->is.netns_fd = fcntl(is->netns_fd, F_DUPFD_CLOEXEC, 3);
		if (pod->is.netns_fd < 0) {
			int r = -errno;

			free(pod);
			return r;
		}
	}
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct pod_message add = {.message.run = run_pod_add, .pod = pod};

		thread_call(&proxy->threads[i], &add.message);
		if (add.r) {
			remove_listeners(proxy, is->pod_id);
			pod_put(pod);
			return add.r;
		}
	}
	pod->next = proxy->pods;
	proxy->pods = pod;
	return 0;
}

int proxy_pod_remove(struct proxy *proxy, uint32_t pod_id)
{
	struct pod **at = pod_find(proxy, pod_id), *pod = *at;

	if (!pod)
		return -ENOENT;
	__atomic_store_n(&pod->is_removed, true, __ATOMIC_RELAXED);
	remove_listeners(proxy, pod_id);
	*at = pod->next;
	pod_put(pod);
	return 0;
}

uint32_t proxy_pod_connections(struct proxy *proxy, uint32_t pod_id)
{
	const struct pod *pod = *pod_find(proxy, pod_id);

	return pod ? __atomic_load_n(&pod->connection_count, __ATOMIC_RELAXED) : 0;
}

static void run_adopt(struct thread *thread, struct message *message)
{
	struct pod_message *own = (struct pod_message *)message;

	anchor_adopt(thread, own->pod, own->entry);
	pod_put(own->pod);
	free(own);
}

int proxy_adopt_anchor(struct proxy *proxy, struct table_entry *entry)
{
	struct pod *pod = *pod_find(proxy, entry->pod_id);
	struct pod_message *message;

	if (!pod)
		return -ENOENT;
	message = calloc(1, sizeof(*message));
	if (!message)
		return -ENOMEM;
	message->message.run = run_adopt;
	message->pod = pod_get(pod);
	message->entry = entry;
	thread_post(&proxy->threads[proxy->next_thread++ % proxy->thread_count], &message->message);
	return 0;
}

/* ---- images ------------------------------------------------------------------------------------------------------------------------ */

struct publish_message {
	struct message message;
	struct published *published;
	u32 scope;
	enum weft_image_kind kind;
};

static void run_publish(struct thread *thread, struct message *message)
{
	struct publish_message *own = (struct publish_message *)message;
	struct published **at = own->kind == WEFT_IMAGE_ROUTES ? &thread->scopes[own->scope].routes : &thread->scopes[own->scope].endpoints;

	published_put(*at);
	*at = own->published;
	free(own);
}

int proxy_publish(struct proxy *proxy, uint32_t scope, enum weft_image_kind kind, const void *base, uint32_t size_bytes,
		  void (*release)(void *arg), void *arg)
{
	struct message *messages = NULL;
	struct published *published;

	weft_assert(scope < WEFT_SCOPES_MAX);
	published = calloc(1, sizeof(*published));
	if (!published)
		return -ENOMEM;
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct publish_message *message = calloc(1, sizeof(*message));

		if (!message) {
			while (messages) {
				struct message *next = messages->next;

				free(messages);
				messages = next;
			}
			free(published);
			return -ENOMEM;
		}
		message->message.run = run_publish;
		message->published = published;
		message->scope = scope;
		message->kind = kind;
		message->message.next = messages;
		messages = &message->message;
	}
	published->handle = (struct weft_image_handle){base, size_bytes};
	published->references = proxy->thread_count;
	published->release = release;
	published->arg = arg;
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct message *next = messages->next;

		thread_post(&proxy->threads[i], messages);
		messages = next;
	}
	return 0;
}

/* ---- draining ------------------------------------------------------------------------------------------------------------------------ */

static void run_drain(struct thread *thread, struct message *message)
{
	struct connection *next;

	thread->is_draining = true;
	listener_remove(thread, 0);
	for (struct connection *connection = thread->connections; connection; connection = next) {
		next = connection->next;
		if (connection->state == CONNECTION_HEAD && !connection->relay && !buffer_len(&connection->in))
			connection_finish(connection);
	}
}

void proxy_drain(struct proxy *proxy)
{
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct message drain = {.run = run_drain};

		thread_call(&proxy->threads[i], &drain);
	}
}

/* ---- replacement ------------------------------------------------------------------------------------------------------------------- */

static void run_leave(struct thread *thread, struct message *message)
{
	struct connection *next;

	thread->is_leaving = true;
	for (struct connection *connection = thread->connections; connection; connection = next) {
		next = connection->next;
		connection_drive(connection);
	}
}

void proxy_leave(struct proxy *proxy, void (*let_go)(void *arg, struct table_entry *entry), void *arg)
{
	proxy->let_go = let_go;
	proxy->let_go_arg = arg;
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct message leave = {.run = run_leave};

		thread_call(&proxy->threads[i], &leave);
	}
}

struct awaited {
	struct message message;
	u64 *exchanges;
	size_t count, room;
	int r;
};

static void awaited_add(struct awaited *awaited, u64 exchange)
{
	u64 *grown;

	if (awaited->count == awaited->room) {
		grown = reallocarray(awaited->exchanges, awaited->room * 2 + 16, sizeof(*grown));
		if (!grown) {
			awaited->r = -ENOMEM;
			return;
		}
		awaited->exchanges = grown;
		awaited->room = awaited->room * 2 + 16;
	}
	awaited->exchanges[awaited->count++] = exchange;
}

static void run_awaited(struct thread *thread, struct message *message)
{
	struct awaited *awaited = (struct awaited *)message;

	for (struct connection *connection = thread->connections; connection; connection = connection->next) {
		struct weft_connection_command question = {0};

		if (!connection->is_ordered || connection->relay || order_ask(connection, &question))
			continue;
		if (question.answer & WEFT_ANSWER_EXCHANGE_OPEN)
			awaited_add(awaited, question.open_exchange);
	}
}

int proxy_awaited_exchanges(struct proxy *proxy, void (*fn)(void *arg, uint64_t exchange), void *arg)
{
	struct awaited awaited = {.message = {.run = run_awaited}};

	for (u32 i = 0; i < proxy->thread_count; i++)
		thread_call(&proxy->threads[i], &awaited.message);
	for (size_t i = 0; i < awaited.count; i++)
		fn(arg, awaited.exchanges[i]);
	free(awaited.exchanges);
	return awaited.r;
}

static void run_keep(struct thread *thread, struct message *message)
{
	listener_remove(thread, 0);
	for (struct connection *connection = thread->connections; connection; connection = connection->next)
		if (connection->entry)
			table_keep(connection->entry);
}

u32 proxy_keep(struct proxy *proxy)
{
	for (u32 i = 0; i < proxy->thread_count; i++) {
		struct message keep = {.run = run_keep};

		thread_call(&proxy->threads[i], &keep);
	}
	return __atomic_load_n(&proxy->connection_count, __ATOMIC_RELAXED);
}
