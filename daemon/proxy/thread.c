/* SPDX-License-Identifier: Apache-2.0 */
/* A worker thread: its event loop, its inbox, its clock, and the network namespace it is in. */
#include "proxy/policies.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#define TICK_MS 500

u64 now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * 1000 + (u64)now.tv_nsec / 1000000;
}

/* xorshift64*: for balancing, not for secrets. */
u32 thread_random(struct thread *thread)
{
	u64 x = thread->random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	thread->random_state = x;
	return (u32)((x * 0x2545f4914f6cdd1dull) >> 32);
}

const char *thread_date(struct thread *thread, u32 *len)
{
	time_t now = time(NULL);
	struct tm parts;

	if ((u64)now != thread->date_second) {
		gmtime_r(&now, &parts);
		thread->date_len = (u32)strftime(thread->date, sizeof(thread->date), "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
		thread->date_second = (u64)now;
	}
	*len = thread->date_len;
	return thread->date;
}

struct weft_image_handle thread_routes(const struct thread *thread, u32 scope)
{
	const struct published *published = scope < WEFT_SCOPES_MAX ? thread->scopes[scope].routes : NULL;

	return published ? published->handle : (struct weft_image_handle){0};
}

struct weft_image_handle thread_endpoints(const struct thread *thread, u32 scope)
{
	const struct published *published = scope < WEFT_SCOPES_MAX ? thread->scopes[scope].endpoints : NULL;

	return published ? published->handle : (struct weft_image_handle){0};
}

/* ---- network namespaces --------------------------------------------------------------------------------------------------- */

/* A thread stays where its last socket was made: only sockets care, and the next one is often for the same pod. */
int thread_socket(struct thread *thread, const struct pod *pod, int family)
{
	int fd;

	if (pod->is.netns_fd >= 0 && thread->netns_cookie != pod->is.netns_cookie) {
		if (setns(pod->is.netns_fd, CLONE_NEWNET) < 0)
			return -errno;
		thread->netns_cookie = pod->is.netns_cookie;
	}
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fd = -errno;
	if (__atomic_load_n(&pod->is_removed, __ATOMIC_RELAXED))
		thread_go_home(thread);
	return fd;
}

/* A pod's network namespace must not live on because a thread rests in it. */
void thread_go_home(struct thread *thread)
{
	if (!thread->netns_cookie)
		return;
	if (setns(thread->home_netns_fd, CLONE_NEWNET) < 0)
		log_err(-errno, "returning to the daemon's network namespace; the next socket tries again");
	thread->netns_cookie = 0;
}

/* ---- inbox -------------------------------------------------------------------------------------------------------------------- */

void thread_post(struct thread *thread, struct message *message)
{
	bool is_first;
	u64 one = 1;

	message->next = NULL;
	pthread_mutex_lock(&thread->lock);
	is_first = thread->inbox == NULL;
	*thread->inbox_tail = message;
	thread->inbox_tail = &message->next;
	pthread_mutex_unlock(&thread->lock);
	if (is_first && write(thread->wake_fd, &one, sizeof(one)) < 0)
		log_err(-errno, "waking a proxy thread");
}

void thread_call(struct thread *thread, struct message *message)
{
	message->is_synchronous = true;
	message->is_done = false;
	thread_post(thread, message);
	pthread_mutex_lock(&thread->lock);
	while (!message->is_done)
		pthread_cond_wait(&thread->answered, &thread->lock);
	pthread_mutex_unlock(&thread->lock);
}

static void run_inbox(struct thread *thread)
{
	struct message *message;

	pthread_mutex_lock(&thread->lock);
	message = TAKE_PTR(thread->inbox);
	thread->inbox_tail = &thread->inbox;
	pthread_mutex_unlock(&thread->lock);
	while (message) {
		struct message *next = message->next;
		bool is_synchronous = message->is_synchronous;

		connections_bury(thread);
		message->run(thread, message);
		if (is_synchronous) {
			pthread_mutex_lock(&thread->lock);
			message->is_done = true;
			pthread_cond_broadcast(&thread->answered);
			pthread_mutex_unlock(&thread->lock);
		}
		message = next;
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	u64 count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_err(-errno, "reading a proxy thread's wake-up");
	run_inbox(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct thread *thread = arg;
	u64 now = now_ms();

	connections_bury(thread);
	upstreams_expire(thread, now);
	registry_expire(thread->proxy, thread, now);
}

/* Connections that had more to do than their turn allows. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct thread *thread = arg;
	struct connection *last = NULL;

	connections_bury(thread);
	if (thread->ready_first)
		last = (struct connection *)((char *)thread->ready_tail - offsetof(struct connection, next_ready));
	while (thread->ready_first) {
		struct connection *connection = thread->ready_first;
		bool is_last = connection == last;

		thread->ready_first = connection->next_ready;
		if (!thread->ready_first)
			thread->ready_tail = &thread->ready_first;
		connection->is_ready = false;
		connection_drive(connection);
		if (is_last)
			break;
	}
}

/* ---- start and stop ------------------------------------------------------------------------------------------------------------- */

static void run_stop(struct thread *thread, struct message *message)
{
	thread->is_stopping = true;
	event_base_loopbreak(thread->base);
}

static void *thread_main(void *arg)
{
	struct thread *thread = arg;
	char name[16];

	snprintf(name, sizeof(name), "proxy/%u", thread->index);
	(void)pthread_setname_np(pthread_self(), name);
	while (!thread->is_stopping)
		event_base_dispatch(thread->base);
	while (thread->connections)
		connection_close(thread->connections);
	shadows_free(thread);
	upstreams_free(thread);
	listener_remove(thread, 0);
	connections_bury(thread);
	return NULL;
}

static void free_config(struct event_config **config)
{
	if (*config)
		event_config_free(*config);
}

static int thread_prepare(struct thread *thread)
{
	static const struct timeval tick = {.tv_usec = TICK_MS * 1000};
	_cleanup_(free_config) struct event_config *config = event_config_new();

	if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK))
		return -ENOMEM;
	thread->base = event_base_new_with_config(config);
	thread->scratch = calloc(1, SCRATCH_BYTES);
	thread->request_lines = calloc(1, sizeof(*thread->request_lines));
	thread->response_lines = calloc(1, sizeof(*thread->response_lines));
	thread->target = calloc(1, TARGET_BYTES);
	if (!thread->base || !thread->scratch || !thread->target || !thread->request_lines || !thread->response_lines)
		return -ENOMEM;
	thread->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (thread->wake_fd < 0)
		return -errno;
	thread->home_netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (thread->home_netns_fd < 0)
		return -errno;
	event_assign(&thread->wake, thread->base, thread->wake_fd, EV_READ | EV_PERSIST, on_wake, thread);
	event_assign(&thread->tick, thread->base, -1, EV_PERSIST, on_tick, thread);
	event_assign(&thread->ready, thread->base, -1, EV_PERSIST, on_ready, thread);
	if (event_add(&thread->wake, NULL) || event_add(&thread->tick, &tick))
		return -ENOMEM;
	return 0;
}

int thread_start(struct thread *thread, struct proxy *proxy, u32 index)
{
	sigset_t all, before;
	int r;

	thread->proxy = proxy;
	thread->index = index;
	thread->wake_fd = thread->home_netns_fd = -1;
	thread->inbox_tail = &thread->inbox;
	thread->ready_tail = &thread->ready_first;
	pthread_mutex_init(&thread->lock, NULL);
	pthread_mutex_init(&thread->traffic_lock, NULL);
	pthread_cond_init(&thread->answered, NULL);
	if (getrandom(&thread->random_state, sizeof(thread->random_state), 0) != sizeof(thread->random_state))
		thread->random_state = now_ms();
	thread->random_state |= 1;
	r = thread_prepare(thread);
	if (r)
		return r;
	/* Signals are the control thread's; SIGPIPE of a splice stays pending, unseen. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread->handle, NULL, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r)
		return -r;
	thread->is_started = true;
	return 0;
}

static void free_lists(struct thread *thread)
{
	while (thread->free_connections) {
		struct connection *connection = thread->free_connections;

		thread->free_connections = connection->next_dead;
		free(connection);
	}
	while (thread->free_upstreams) {
		struct upstream *upstream = thread->free_upstreams;

		thread->free_upstreams = upstream->next_dead;
		free(upstream);
	}
	while (thread->free_relays) {
		struct relay *relay = thread->free_relays;

		thread->free_relays = relay->next;
		free(relay);
	}
}

void thread_stop(struct thread *thread)
{
	struct message stop = {.run = run_stop};

	if (!thread->proxy)
		return;
	if (thread->is_started) {
		thread_post(thread, &stop);
		pthread_join(thread->handle, NULL);
		/* What was posted since: everything it names is gone, so it ends as if nobody were there. */
		run_inbox(thread);
		connections_bury(thread);
	}
	buffers_free(thread);
	free_lists(thread);
	for (u32 i = 0; i < WEFT_SCOPES_MAX; i++) {
		published_put(thread->scopes[i].routes);
		published_put(thread->scopes[i].endpoints);
	}
	if (thread->base) {
		if (thread->wake_fd >= 0 && thread->is_started) {
			event_del(&thread->wake);
			event_del(&thread->tick);
		}
		event_base_free(thread->base);
	}
	if (thread->wake_fd >= 0)
		close(thread->wake_fd);
	if (thread->home_netns_fd >= 0)
		close(thread->home_netns_fd);
	free(thread->scratch);
	free(thread->request_lines);
	free(thread->response_lines);
	patterns_free(thread);
	account_release(thread);
	free(thread->target);
	pthread_mutex_destroy(&thread->lock);
	pthread_mutex_destroy(&thread->traffic_lock);
	pthread_cond_destroy(&thread->answered);
}
