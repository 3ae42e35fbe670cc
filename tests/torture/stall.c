// SPDX-License-Identifier: Apache-2.0
/* --stall: how much does each connection pin whose reader has stopped, and are others slowed by it? Some connections ask for 256 MB with
 * a Content-Length, some for an endless chunked answer, some for many answers of the size that a mesh may still take for small, one behind
 * the other, and stop reading early; some upload 256 MB, or many such messages, to servers that stop reading. Meanwhile probes make small
 * requests, before and during. Some readers go on in the end, and every byte is right. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum {
	BODY_BYTES = 256 << 20,
	READ_BYTES = 64 << 10,   /* what is read before the stop */
	RESUME_BYTES = 32 << 20, /* what some read after it, every byte checked */
	RESUMING = 4,            /* of each kind */
	MESSAGES = 8,
	MESSAGE_BYTES = 2000000,
	PROBES = 8,
	PROBE_SAMPLES = 20000,
	PROBE_PAUSE_MS = 2,
	RESUME_SECONDS = 20,     /* at most */
	DIRECT_CONNECTION = 300, /* a run over plain TCP and one through a mesh may share their servers, and the ledger with them */
	FILL_SECONDS = 2,
	RETRY_MS = 100,
};

enum kind { KIND_LENGTH, KIND_ENDLESS, KIND_UPLOAD, KIND_MESSAGES, KIND_MESSAGES_UP, KINDS };

static const struct {
	const char *word, *name;
	bool is_upload;
	unsigned int messages;
	uint64_t request_body, reply_body;
	enum framing reply_framing;
} kinds[KINDS] = {
	[KIND_LENGTH] = {"length", "256 MB with Content-Length", false, 1, 0, BODY_BYTES, FRAMING_LENGTH},
	[KIND_ENDLESS] = {"endless", "endless chunked", false, 1, 0, 1ULL << 40, FRAMING_CHUNKED},
	[KIND_UPLOAD] = {"uploads", "256 MB uploads", true, 1, BODY_BYTES, 10, FRAMING_LENGTH},
	[KIND_MESSAGES] = {"messages", "answers of 2 MB", false, MESSAGES, 0, MESSAGE_BYTES, FRAMING_LENGTH},
	[KIND_MESSAGES_UP] = {"messages-up", "uploads of 2 MB", true, MESSAGES, MESSAGE_BYTES, 10, FRAMING_LENGTH},
};

bool stall_kinds_parse(const char *words, uint32_t *out)
{
	*out = 0;
	while (*words) {
		size_t len = strcspn(words, ",");
		unsigned int kind;

		for (kind = 0; kind < KINDS; kind++) {
			if (strlen(kinds[kind].word) == len && !memcmp(kinds[kind].word, words, len))
				break;
		}
		if (kind == KINDS)
			return false;
		*out |= 1u << kind;
		words += len + (words[len] == ',');
	}
	return *out;
}

/* The kinds that are wanted, by turns; how many those are. */
static unsigned int wanted_kinds(const struct stall_options *options, enum kind wanted[KINDS])
{
	unsigned int count = 0;

	for (unsigned int kind = 0; kind < KINDS; kind++) {
		if (!options->kinds || options->kinds & 1u << kind)
			wanted[count++] = (enum kind)kind;
	}
	return count;
}

enum phase { PHASE_BASELINE, PHASE_STALL, PHASE_RESUME, PHASE_END };

struct stage {
	struct client *client;
	_Atomic int phase;
	unsigned int server_stall_ms;
};

struct stalled {
	struct stage *stage;
	enum kind kind;
	uint64_t conn;
	bool resumes;
	pthread_t thread;
	_Atomic uint64_t moved; /* read by a download, accepted from an upload */
	_Atomic bool is_over;
	char error[400];
};

struct probe {
	struct stage *stage;
	uint64_t conn;
	pthread_t thread;
	unsigned int count[2];
	uint32_t samples_us[2][PROBE_SAMPLES];
	char error[200];
};

struct request {
	struct spec spec;
	struct wire wire;
	char head[1024];
};

/* Probes ask the first server, streams the others: a pooled connection that has carried probes lets its server hold more, and of plain TCP
 * each stream has a new one. */
static unsigned int pick_target(const struct client *client, uint64_t number, bool is_probe)
{
	unsigned int picked[TARGETS_MAX], count = 0;

	for (unsigned int i = 0; i < client->target_count; i++) {
		bool is_first = !strcmp(client->targets[i].names, client->targets[0].names);

		if (is_first == is_probe && !strchr(client->targets[i].names, '+'))
			picked[count++] = i;
	}
	return count ? picked[number % count] : 0;
}

static void plan(const struct stalled *stalled, struct request *request, unsigned int number)
{
	const struct client *client = stalled->stage->client;
	bool is_upload = kinds[stalled->kind].is_upload;
	struct spec *spec = &request->spec;

	*spec = (struct spec){
		.run = client->schedule.seed,
		.conn = stalled->conn,
		.req = number + 1,
		.status = 200,
		.method = is_upload ? METHOD_POST : METHOD_GET,
		.request_framing = is_upload ? FRAMING_LENGTH : FRAMING_NONE,
		.request_body = kinds[stalled->kind].request_body,
		.reply_framing = kinds[stalled->kind].reply_framing,
		.reply_body = kinds[stalled->kind].reply_body,
		.target = pick_target(client, stalled->conn, false),
		.may_be_cut = 1,
	};
	if (is_upload && number == 0) {
		spec->server_stall_at = READ_BYTES;
		spec->server_stall_ms = stalled->stage->server_stall_ms;
	}
	wire_begin(&request->wire, request->head, write_request_head(client, spec, request->head, sizeof(request->head)),
		   (enum framing)spec->request_framing, bytes_key(spec->run, spec->conn, spec->req, BYTES_REQUEST_BODY), spec->request_body, 0);
}

static void wait_phase(const struct stage *stage, enum phase phase)
{
	while (atomic_load(&stage->phase) < (int)phase)
		sleep_ms(20);
}

/* One answer: its first bytes, and behind the stop the rest of it, or as much as is wanted. False: there is nothing more to be had. */
static bool take_answer(struct stalled *stalled, struct reader *reader, const struct spec *spec)
{
	struct body body = {.is_checked = true, .key = bytes_key(spec->run, spec->conn, spec->req, BYTES_REPLY_BODY), .expected = spec->reply_body};
	struct head head;
	struct text value;
	int r = reader_head(reader, &head);

	if (r || !text_is(head.first[1], "200") || !head_field(&head, "x-r", 0, &value)) {
		snprintf(stalled->error, sizeof(stalled->error), "request %llu: no answer: %s %.*s", (unsigned long long)spec->req, strerror(-r), r ? 0 : 20,
			 r ? "" : head.first[0].at);
		return false;
	}
	body.framing = head_field(&head, "content-length", 0, &value) ? FRAMING_LENGTH : FRAMING_CHUNKED;
	body.length = spec->reply_body;
	body.stop_at = spec->req == 1 ? READ_BYTES : UINT64_MAX;
	r = reader_body(reader, &body);
	if (r == 1) {
		atomic_store(&stalled->moved, body.got);
		wait_phase(stalled->stage, PHASE_RESUME);
		if (!stalled->resumes)
			return false;
		body.stop_at = body.got + RESUME_BYTES;
		r = reader_body(reader, &body);
	}
	if (r < 0)
		snprintf(stalled->error, sizeof(stalled->error), "request %llu, after %llu bytes: %s", (unsigned long long)spec->req,
			 (unsigned long long)body.got, body.error[0] ? body.error : strerror(-r));
	return r == 0;
}

static void upload(struct stalled *stalled, int fd, struct request *requests)
{
	struct stage *stage = stalled->stage;
	uint64_t end = UINT64_MAX;
	size_t len = 0, done = 0;
	unsigned int number = 0;
	char *piece = malloc(65536);

	while (piece && atomic_load(&stalled->moved) < end) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};
		ssize_t n;

		if (atomic_load(&stage->phase) >= PHASE_RESUME && end == UINT64_MAX)
			end = stalled->resumes ? atomic_load(&stalled->moved) + RESUME_BYTES : 0;
		if (done == len) {
			while (number < kinds[stalled->kind].messages && !(len = wire_next(&requests[number].wire, piece, 65536, false)))
				number++;
			done = 0;
			if (!len)
				break;
		}
		if (poll(&pfd, 1, RETRY_MS) <= 0)
			continue;
		n = send(fd, piece + done, len - done, MSG_DONTWAIT);
		if (n > 0) {
			done += (size_t)n;
			atomic_fetch_add(&stalled->moved, (uint64_t)n);
		} else if (errno != EAGAIN) {
			snprintf(stalled->error, sizeof(stalled->error), "after %llu bytes: %s", (unsigned long long)atomic_load(&stalled->moved), strerror(errno));
			break;
		}
	}
	free(piece);
}

/* All requests first, then the answers. */
static void download(struct stalled *stalled, struct io *io, struct reader *reader, struct request *requests)
{
	_Atomic uint64_t written = 0;

	for (unsigned int i = 0; i < kinds[stalled->kind].messages; i++) {
		int r = io_write(io, requests[i].head, requests[i].wire.head_len, WRITE_BLOCK, false, &written);

		if (r) {
			snprintf(stalled->error, sizeof(stalled->error), "writing request %u: %s", i + 1, strerror(-r));
			return;
		}
	}
	for (unsigned int i = 0; i < kinds[stalled->kind].messages; i++) {
		if (!take_answer(stalled, reader, &requests[i].spec))
			return;
	}
}

static void *stalled_thread(void *arg)
{
	struct stalled *stalled = arg;
	struct request *requests = calloc(MESSAGES, sizeof(*requests));
	struct batch tuning = {.no_delay = true};
	struct reader reader = {};
	struct beat beat = {};
	struct io io = {};
	int fd = -ENOMEM;

	for (unsigned int i = 0; requests && i < kinds[stalled->kind].messages; i++)
		plan(stalled, &requests[i], i);
	if (requests)
		fd = connect_to(&stalled->stage->client->targets[requests->spec.target].place, &tuning);
	if (fd < 0 || reader_init(&reader)) {
		snprintf(stalled->error, sizeof(stalled->error), "connecting: %s", strerror(-fd));
		free(requests);
		return NULL;
	}
	io_open(&io, fd, &beat, false);
	reader_reset(&reader, &io);
	reader_style(&reader, READ_BLOCK, 16384, false);
	if (kinds[stalled->kind].is_upload)
		upload(stalled, fd, requests);
	else
		download(stalled, &io, &reader, requests);
	atomic_store(&stalled->is_over, true);
	wait_phase(stalled->stage, PHASE_END);
	io_close(&io, false);
	reader_free(&reader);
	free(requests);
	return NULL;
}

/* One small exchange; 0 or -errno. */
static int probe_once(struct probe *probe, struct io *io, struct reader *reader, uint64_t req)
{
	struct client *client = probe->stage->client;
	struct spec spec = {.run = client->schedule.seed, .conn = probe->conn, .req = req, .target = pick_target(client, client->is_direct ? probe->conn : req, true), .bare = 1};
	struct body body = {.is_checked = true, .framing = FRAMING_LENGTH, .stop_at = UINT64_MAX};
	_Atomic uint64_t written = 0;
	struct head head;
	struct text value;
	char text[512];
	size_t len;
	int r;

	spec_derive_bare(&spec);
	len = write_request_head(client, &spec, text, sizeof(text));
	r = io_write(io, text, len, WRITE_BLOCK, false, &written);
	if (!r)
		r = reader_head(reader, &head);
	if (r)
		return r;
	if (!text_is(head.first[1], "200") || !head_field(&head, "content-length", 0, &value) || !text_number(value, &body.length))
		return -EBADMSG;
	body.key = bytes_key(spec.run, spec.conn, spec.req, BYTES_REPLY_BODY);
	body.expected = spec.reply_body;
	return reader_body(reader, &body);
}

static void *probe_thread(void *arg)
{
	struct probe *probe = arg;
	struct stage *stage = probe->stage;
	struct batch tuning = {.no_delay = true};
	struct reader reader = {};
	struct beat beat = {};
	struct io io = {};
	int fd = connect_to(&stage->client->targets[pick_target(stage->client, probe->conn, true)].place, &tuning);

	if (fd < 0 || reader_init(&reader)) {
		snprintf(probe->error, sizeof(probe->error), "connecting: %s", strerror(-fd));
		return NULL;
	}
	io_open(&io, fd, &beat, false);
	reader_reset(&reader, &io);
	reader_style(&reader, READ_BLOCK, 0, false);
	for (uint64_t req = 1; atomic_load(&stage->phase) < PHASE_RESUME; req++) {
		int phase = atomic_load(&stage->phase);
		uint64_t start = now_us();
		int r = probe_once(probe, &io, &reader, req);

		if (r) {
			snprintf(probe->error, sizeof(probe->error), "request %llu: %s", (unsigned long long)req, strerror(-r));
			break;
		}
		if (phase < 2 && probe->count[phase] < PROBE_SAMPLES)
			probe->samples_us[phase][probe->count[phase]++] = (uint32_t)(now_us() - start);
		sleep_ms(PROBE_PAUSE_MS);
	}
	io_close(&io, false);
	reader_free(&reader);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

struct latency {
	unsigned int count;
	uint32_t p50, p99;
};

static struct latency latency_of(const struct probe *probes, int phase)
{
	uint32_t *all = malloc(PROBES * PROBE_SAMPLES * sizeof(*all));
	struct latency latency = {};

	if (!all)
		return latency;
	for (unsigned int i = 0; i < PROBES; i++) {
		memcpy(all + latency.count, probes[i].samples_us[phase], probes[i].count[phase] * sizeof(*all));
		latency.count += probes[i].count[phase];
	}
	qsort(all, latency.count, sizeof(*all), compare);
	if (latency.count) {
		latency.p50 = all[latency.count / 2];
		latency.p99 = all[(uint64_t)latency.count * 99 / 100];
	}
	free(all);
	return latency;
}

static uint64_t memory_available(void)
{
	unsigned long long kb = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kb << 10;
}

/* Bytes that a sender got rid of and its reader has not read. */
static uint64_t pinned_by(const struct stalled *stalled)
{
	struct ledger *ledger = stalled->stage->client->ledger;
	uint64_t moved = atomic_load(&stalled->moved), sent = 0, begun = 0;

	if (kinds[stalled->kind].is_upload)
		return moved > READ_BYTES ? moved - READ_BYTES : 0;
	for (unsigned int i = 0; i < kinds[stalled->kind].messages; i++) {
		uint8_t entry = atomic_load(ledger_entry(ledger, stalled->conn, i + 1));

		begun += !!(entry & LEDGER_COUNT);
		sent += entry & LEDGER_DONE ? kinds[stalled->kind].reply_body : 0;
	}
	/* What the ledger says last of a finished answer stays until the next one begins. */
	if (begun * kinds[stalled->kind].reply_body > sent)
		sent += atomic_load(&ledger->written[stalled->conn]);
	return sent > moved ? sent - moved : 0;
}

static bool report_pinned(const struct stalled *all, const struct stall_options *options)
{
	enum kind wanted[KINDS];
	unsigned int count = options->connections, wanted_count = wanted_kinds(options, wanted);
	bool is_right = true;

	for (unsigned int w = 0; w < wanted_count; w++) {
		enum kind kind = wanted[w];
		uint64_t most = 0, sum = 0, limit = kinds[kind].is_upload ? options->upload_limit_bytes : options->download_limit_bytes;
		unsigned int n = 0;

		/* Behind the message that a mesh has taken for small, the next one is a stream. */
		if (limit && kinds[kind].messages > 1)
			limit += MESSAGE_BYTES;
		for (unsigned int i = 0; i < count; i++) {
			uint64_t pinned;

			if (all[i].kind != kind)
				continue;
			pinned = pinned_by(&all[i]);
			most = pinned > most ? pinned : most;
			sum += pinned;
			n++;
		}
		printf("stall: %-27s %3u connections: pinned %6.2f MB on average, %6.2f MB at most", kinds[kind].name, n,
		       n ? (double)sum / n / 1048576 : 0, (double)most / 1048576);
		if (limit)
			printf(" (limit %.2f MB: %s)", (double)limit / 1048576, most <= limit ? "kept" : "EXCEEDED");
		printf("\n");
		printf("stall-pinned %s %llu\n", kinds[kind].is_upload ? "upload" : "download", (unsigned long long)most);
		is_right = is_right && (!limit || most <= limit);
	}
	return is_right;
}

static bool report_latency(const struct probe *probes)
{
	struct latency before = latency_of(probes, PHASE_BASELINE), during = latency_of(probes, PHASE_STALL);
	/* Twice is more than noise on a shared machine makes of a median; a p99 needs more room. */
	bool is_right = during.count && during.p50 <= 2 * before.p50 && during.p99 <= 4 * before.p99 + 10000;

	printf("stall: %u small requests before: p50 %u us, p99 %u us; %u during: p50 %u us, p99 %u us: %s\n", before.count, before.p50, before.p99,
	       during.count, during.p50, during.p99, is_right ? "not slowed" : "SLOWED");
	return is_right;
}

/* Those that resume read on, as far as they go. */
static void wait_resumed(const struct stalled *all, unsigned int count)
{
	uint64_t end_ms = now_ms() + RESUME_SECONDS * 1000;

	for (unsigned int i = 0; i < count; i++) {
		while (all[i].resumes && !atomic_load(&all[i].is_over) && now_ms() < end_ms)
			sleep_ms(20);
	}
}

int stall_run(struct client *client, const struct stall_options *options)
{
	/* Servers stop well beyond the time at which it is measured, and begin again within that of those who resume. */
	struct stage stage = {.client = client, .server_stall_ms = (options->seconds + FILL_SECONDS + 2) * 1000};
	struct stalled *all = calloc(options->connections, sizeof(*all));
	struct probe *probes = calloc(PROBES, sizeof(*probes));
	uint64_t before, during;
	enum kind wanted[KINDS];
	unsigned int failures = 0, first = client->is_direct ? DIRECT_CONNECTION : 1, wanted_count = wanted_kinds(options, wanted);
	bool is_right;

	if (!all || !probes)
		return 1;
	for (unsigned int i = 0; i < PROBES; i++) {
		probes[i] = (struct probe){.stage = &stage, .conn = first + options->connections + i};
		if (pthread_create(&probes[i].thread, NULL, probe_thread, &probes[i]))
			return 1;
	}
	sleep_ms(options->seconds * 1000ULL);
	before = memory_available();
	for (unsigned int i = 0; i < options->connections; i++) {
		all[i] = (struct stalled){.stage = &stage, .kind = wanted[i % wanted_count], .conn = first + i, .resumes = i / wanted_count < RESUMING};
		if (pthread_create(&all[i].thread, NULL, stalled_thread, &all[i]))
			return 1;
	}
	sleep_ms(FILL_SECONDS * 1000); /* filling the buffers is work for everybody; being stalled should be none */
	atomic_store(&stage.phase, PHASE_STALL);
	sleep_ms(options->seconds * 1000ULL);
	during = memory_available();
	is_right = report_pinned(all, options);
	printf("stall: the machine has %.0f MB less to give (%.2f MB each)\n", ((double)before - (double)during) / 1048576,
	       ((double)before - (double)during) / 1048576 / options->connections);
	atomic_store(&stage.phase, PHASE_RESUME);
	for (unsigned int i = 0; i < PROBES; i++)
		pthread_join(probes[i].thread, NULL);
	is_right = report_latency(probes) && is_right;
	wait_resumed(all, options->connections);
	atomic_store(&stage.phase, PHASE_END);
	for (unsigned int i = 0; i < options->connections; i++) {
		pthread_join(all[i].thread, NULL);
		if (all[i].error[0]) {
			failures++;
			printf("stall: ERROR conn=%llu %s: %s\n", (unsigned long long)all[i].conn, kinds[all[i].kind].name, all[i].error);
		}
	}
	for (unsigned int i = 0; i < PROBES; i++) {
		if (probes[i].error[0]) {
			failures++;
			printf("stall: ERROR probe: %s\n", probes[i].error);
		}
	}
	free(all);
	free(probes);
	printf("torture: stall: %u connections, %s, %u errors\n", options->connections, is_right ? "all within limits" : "limits EXCEEDED", failures);
	return is_right && !failures ? 0 : 1;
}
