// SPDX-License-Identifier: Apache-2.0
/* torture-client: options, processes, the watchdog and the summary. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUESTS_MAX = LEDGER_REQUESTS - 1024 };

struct options {
	unsigned int seconds, connections, processes;
	const char *ledger;
	bool is_stall, is_show;
	struct stall_options stall;
};

static void usage(void)
{
	fprintf(stderr,
		"usage: torture-client --ledger FILE --target HOST,/PREFIX,SERVER[+SERVER...],ADDRESS:PORT [--target ...] [options]\n"
		"  --seed N            which schedule (1)\n"
		"  --time S            seconds (30)\n"
		"  --connections N     at once (48)\n"
		"  --processes N       the connections are spread over (2)\n"
		"  --batches N         of each connection, then stop\n"
		"  --direct            no proxy between: stricter\n"
		"  --only A,B --no A,B classes of behaviour, below\n"
		"  --replay CONN:BATCH every connection does this batch of the schedule again and again\n"
		"  --show CONN:BATCH   print that batch and exit\n"
		"  --crashes           what is tested is killed now and then: only wrong bytes, repetitions and standstill count\n"
		"  --reconnect         a new connection for each batch\n"
		"  --forgive-eagain    only count blocking reads that return EAGAIN at once on connections whose connect() did not block: nobody sees in time\n"
		"                      that these sleep in their reads, and a sockmap's reader does so when it is woken for nothing\n"
		"  --stall S           measure for so many seconds what connections pin whose reader has stopped [--connections N of them]\n"
		"  --kinds A,B         ... of these: length, endless, uploads, messages, messages-up\n"
		"  --limit DOWN,UP     ... and that no download and no upload pins more bytes than these\n"
		"classes:\n");
	for (unsigned int i = 0; i < FEATURE_COUNT; i++)
		fprintf(stderr, "  %-12s %s\n", feature_name(i), feature_text(i));
}

static bool parse_target(const char *text, struct target *target)
{
	char where[80];

	return sscanf(text, "%63[^,],%63[^,],%127[^,],%79s", target->host, target->prefix, target->names, where) == 4 && place_parse(where, &target->place);
}

static bool parse_options(int argc, char **argv, struct client *client, struct options *options)
{
	static const struct option known[] = {
		{"ledger", required_argument, NULL, 'g'}, {"target", required_argument, NULL, 't'},      {"seed", required_argument, NULL, 's'},
		{"time", required_argument, NULL, 'T'},   {"connections", required_argument, NULL, 'c'}, {"processes", required_argument, NULL, 'p'},
		{"batches", required_argument, NULL, 'b'}, {"direct", no_argument, NULL, 'd'},           {"only", required_argument, NULL, 'o'},
		{"no", required_argument, NULL, 'n'},     {"replay", required_argument, NULL, 'r'},      {"stall", required_argument, NULL, 'S'},
		{"limit", required_argument, NULL, 'l'},  {"show", required_argument, NULL, 'w'},         {"crashes", no_argument, NULL, 'C'},
		{"forgive-eagain", no_argument, NULL, 'e'}, {"reconnect", no_argument, NULL, 'R'},       {"kinds", required_argument, NULL, 'k'},
		{},
	};
	unsigned long long conn, batch;
	uint32_t bits;
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (c) {
		case 'g': options->ledger = optarg; break;
		case 't':
			if (client->target_count == TARGETS_MAX || !parse_target(optarg, &client->targets[client->target_count++]))
				return false;
			break;
		case 's': client->schedule.seed = strtoull(optarg, NULL, 0); break;
		case 'T': options->seconds = (unsigned int)atoi(optarg); break;
		case 'c': options->stall.connections = options->connections = (unsigned int)atoi(optarg); break;
		case 'p': options->processes = (unsigned int)atoi(optarg); break;
		case 'b': client->max_batches = strtoull(optarg, NULL, 0); break;
		case 'd': client->is_direct = true; break;
		case 'o':
		case 'n':
			if (!features_parse(optarg, &bits)) {
				fprintf(stderr, "torture-client: unknown class in '%s'\n", optarg);
				return false;
			}
			client->schedule.features = c == 'o' ? bits : client->schedule.features & ~bits;
			break;
		case 'w':
		case 'r':
			options->is_show = c == 'w';
			if (sscanf(optarg, "%llu:%llu", &conn, &batch) != 2)
				return false;
			client->is_replay = true;
			client->replay_conn = conn;
			client->replay_batch = batch;
			break;
		case 'R': client->reconnects = true; break;
		case 'e': client->forgives_eagain = true; break;
		case 'C': client->has_crashes = true; break;
		case 'S':
			options->is_stall = true;
			options->stall.seconds = (unsigned int)atoi(optarg);
			break;
		case 'k':
			if (!stall_kinds_parse(optarg, &options->stall.kinds))
				return false;
			break;
		case 'l':
			if (sscanf(optarg, "%llu,%llu", &conn, &batch) != 2)
				return false;
			options->stall.download_limit_bytes = conn;
			options->stall.upload_limit_bytes = batch;
			break;
		default: return false;
		}
	}
	client->schedule.target_count = client->target_count;
	client->schedule.is_direct = client->is_direct;
	return (options->ledger || options->is_show) && client->target_count && options->connections && options->connections < LEDGER_CONNECTIONS && options->processes;
}

/* Says everything that is known of a connection that does not move, and breaks it. Under c->lock. */
static void break_stuck(struct connection *c)
{
	struct pollfd pfd = {.fd = c->io.fd, .events = POLLIN | POLLOUT | POLLRDHUP};
	const char *reading = atomic_load(&c->beat.reading), *writing = atomic_load(&c->beat.writing);
	unsigned int idx = atomic_load(&c->reading_idx);
	int waiting = -1, unsent = -1;

	ioctl(c->io.fd, FIONREAD, &waiting);
	ioctl(c->io.fd, TIOCOUTQ, &unsent);
	poll(&pfd, 1, 0);
	atomic_store(&c->client->ledger->stuck_at_ms, now_ms());
	report(c, idx < c->batch.count ? idx : 0, &c->client->stats->stuck, "STUCK",
	       "no progress for %u ms beyond scheduled pauses: writing %s (%llu accepted), reading %s; in all %llu in, %llu out; FIONREAD %d, "
	       "unsent %d, poll says%s%s%s%s, %u answers begun",
	       STUCK_MS, writing ? writing : "nothing", (unsigned long long)atomic_load(&c->sending.written), reading ? reading : "nothing",
	       (unsigned long long)atomic_load(&c->beat.bytes_in), (unsigned long long)atomic_load(&c->beat.bytes_out), waiting, unsent,
	       pfd.revents & POLLIN ? " IN" : "", pfd.revents & POLLOUT ? " OUT" : "", pfd.revents & POLLRDHUP ? " RDHUP" : "",
	       pfd.revents & (POLLERR | POLLHUP) ? " ERR/HUP" : "", c->begun);
	atomic_store(&c->is_stuck, true);
	atomic_store(&c->io.given_up, true);
	shutdown(c->io.fd, SHUT_RDWR);
}

struct watched {
	struct connection *connections;
	unsigned int count;
	_Atomic bool is_done;
};

static void *watch_thread(void *arg)
{
	struct watched *watched = arg;

	while (!atomic_load(&watched->is_done)) {
		sleep_ms(500);
		for (unsigned int i = 0; i < watched->count; i++) {
			struct connection *c = &watched->connections[i];

			uint64_t moved = atomic_load(&c->client->ledger->moved[c->conn]);

			pthread_mutex_lock(&c->lock);
			if (moved != c->server_moved)
				atomic_store(&c->beat.at_ms, now_ms());
			c->server_moved = moved;
			if (atomic_load(&c->is_busy) && c->is_open && !atomic_load(&c->is_stuck) &&
			    now_ms() > atomic_load(&c->beat.at_ms) + atomic_load(&c->allowed_ms) + STUCK_MS)
				break_stuck(c);
			pthread_mutex_unlock(&c->lock);
		}
	}
	return NULL;
}

static int init_connection(struct connection *c, struct client *client, uint64_t conn)
{
	c->client = client;
	c->conn = conn;
	c->next_req = 1;
	c->rng.state = bytes_key(client->schedule.seed, conn, 0, BYTES_SCHEDULE);
	c->io.fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	for (unsigned int i = 0; i < BATCH_MAX; i++) {
		c->heads[i] = malloc(CLIENT_HEAD_BYTES);
		if (!c->heads[i])
			return -ENOMEM;
	}
	return reader_init(&c->reader);
}

/* One process: connections first .. first+count-1. */
static int run_process(struct client *client, uint64_t first, unsigned int count)
{
	struct watched watched = {.connections = calloc(count, sizeof(struct connection)), .count = count};
	pthread_t *threads = calloc(2 * count, sizeof(*threads));
	pthread_attr_t attr;
	pthread_t watch;

	if (!watched.connections || !threads)
		return 1;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	for (unsigned int i = 0; i < count; i++) {
		if (init_connection(&watched.connections[i], client, first + i))
			return 1;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (pthread_create(&threads[2 * i], &attr, connection_thread, &watched.connections[i]) ||
		    pthread_create(&threads[2 * i + 1], &attr, reader_thread, &watched.connections[i]))
			return 1;
	}
	if (pthread_create(&watch, NULL, watch_thread, &watched))
		return 1;
	for (unsigned int i = 0; i < 2 * count; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&watched.is_done, true);
	pthread_join(watch, NULL);
	for (unsigned int i = 0; i < count; i++) {
		atomic_fetch_add(&client->stats->allowed[ALLOW_eagain], atomic_load(&watched.connections[i].beat.forgiven));
		atomic_fetch_add(&client->stats->bytes_in, atomic_load(&watched.connections[i].beat.bytes_in));
		atomic_fetch_add(&client->stats->bytes_out, atomic_load(&watched.connections[i].beat.bytes_out));
	}
	return 0;
}

static uint64_t servers_findings(const struct ledger *ledger)
{
	return atomic_load(&ledger->wrong) + atomic_load(&ledger->lost) + atomic_load(&ledger->duplicate) + atomic_load(&ledger->error) + atomic_load(&ledger->stuck);
}

static int summary(const struct client *client, uint64_t seconds)
{
	const struct stats *stats = client->stats;
	const struct ledger *ledger = client->ledger;
	uint64_t wrong = atomic_load(&stats->wrong) + atomic_load(&ledger->wrong) + atomic_load(&ledger->duplicate);
	uint64_t lost = atomic_load(&stats->lost) + atomic_load(&ledger->lost);
	uint64_t error = atomic_load(&stats->error) + atomic_load(&ledger->error);
	uint64_t stuck = atomic_load(&stats->stuck) + atomic_load(&ledger->stuck);

	printf("torture: moved %llu MB in, %llu MB out; allowed:", (unsigned long long)(atomic_load(&stats->bytes_in) >> 20),
	       (unsigned long long)(atomic_load(&stats->bytes_out) >> 20));
#define ALLOWANCE(name, text) printf(" %s %llu", #name, (unsigned long long)atomic_load(&stats->allowed[ALLOW_##name]));
	ALLOWANCES(ALLOWANCE)
#undef ALLOWANCE
	printf("; closed unasked %llu; executed twice %llu\n", (unsigned long long)atomic_load(&stats->unasked_close),
	       (unsigned long long)atomic_load(&ledger->duplicate));
	printf("torture: seed %llu, %llu s, %llu connections, %llu requests, %llu wrong, %llu lost, %llu stuck, %llu errors\n",
	       (unsigned long long)client->schedule.seed, (unsigned long long)seconds, (unsigned long long)atomic_load(&stats->connections),
	       (unsigned long long)atomic_load(&stats->requests), (unsigned long long)wrong, (unsigned long long)lost, (unsigned long long)stuck,
	       (unsigned long long)error);
	return wrong || lost || stuck || error || !atomic_load(&stats->requests) ? 1 : 0;
}

static void progress(const struct client *client, uint64_t seconds)
{
	const struct stats *stats = client->stats;

	printf("torture: %llu s: %llu connections, %llu requests, %llu wrong, %llu lost, %llu stuck, %llu errors, %llu found by servers\n",
	       (unsigned long long)seconds, (unsigned long long)atomic_load(&stats->connections), (unsigned long long)atomic_load(&stats->requests),
	       (unsigned long long)atomic_load(&stats->wrong), (unsigned long long)atomic_load(&stats->lost),
	       (unsigned long long)atomic_load(&stats->stuck), (unsigned long long)atomic_load(&stats->error),
	       (unsigned long long)servers_findings(client->ledger));
	fflush(stdout);
}

static int run_torture(struct client *client, const struct options *options)
{
	uint64_t start = now_ms(), stop = start + options->seconds * 1000ULL, next = start + 10000, first = 0;
	unsigned int running = 0;

	fflush(stdout);
	for (unsigned int i = 0; i < options->processes; i++) {
		unsigned int count = options->connections / options->processes + (i < options->connections % options->processes);
		pid_t pid;

		if (!count)
			continue;
		pid = fork();
		if (pid < 0) {
			perror("torture-client: fork");
			return 1;
		}
		if (!pid)
			exit(run_process(client, first, count));
		running++;
		first += count;
	}
	while (running) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0) {
			running--;
			if (!WIFEXITED(status) || WEXITSTATUS(status)) {
				atomic_fetch_add(&client->stats->error, 1);
				printf("torture: ERROR a client process ended by %s %d\n", WIFSIGNALED(status) ? "signal" : "status",
				       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
			}
			continue;
		}
		if (now_ms() >= stop)
			atomic_store(&client->stats->is_stopping, true);
		if (now_ms() >= next) {
			progress(client, (now_ms() - start) / 1000);
			next += 10000;
		}
		sleep_ms(50);
	}
	return summary(client, (now_ms() - start) / 1000);
}

static int show(const struct client *client)
{
	struct batch batch;
	char fields[600];

	schedule_batch(&client->schedule, client->replay_conn, client->replay_batch, 1, &batch);
	for (unsigned int i = 0; i < batch.count; i++) {
		spec_print(&batch.specs[i], fields, sizeof(fields));
		printf("%s %s%s %s\n", method_name(batch.specs[i].method), client->targets[batch.specs[i].target].host,
		       client->targets[batch.specs[i].target].prefix, fields);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct client client = {.schedule = {.seed = 1, .features = (1u << FEATURE_COUNT) - 1}};
	struct options options = {.seconds = 30, .connections = 48, .processes = 2, .stall = {.connections = 150}};
	int r;

	if (!parse_options(argc, argv, &client, &options)) {
		usage();
		return 2;
	}
	if (options.is_show)
		return show(&client);
	signal(SIGPIPE, SIG_IGN); /* EPIPE says the same, and is counted */
	r = ledger_open(options.ledger, &client.ledger);
	if (r) {
		fprintf(stderr, "torture-client: cannot open ledger %s: %s\n", options.ledger, strerror(-r));
		return 1;
	}
	atomic_store(&client.ledger->shuns_fionread, !(client.schedule.features >> FEATURE_fionread & 1));
	client.stats = mmap(NULL, sizeof(*client.stats), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (client.stats == MAP_FAILED) {
		perror("torture-client: mmap");
		return 1;
	}
	return options.is_stall ? stall_run(&client, &options.stall) : run_torture(&client, &options);
}
