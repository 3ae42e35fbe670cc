// SPDX-License-Identifier: Apache-2.0
#include "schedule.h"

#include <string.h>

#include "io.h"

enum {
	REDIRECT_LIMIT = 2 << 20,
	EPOCH = 64, /* batches; calm epochs end no connection, so that it carries many exchanges; one in three pipelines */
};

static const struct {
	const char *name, *text;
} features[FEATURE_COUNT] = {
#define FEATURE(name, text) {#name, text},
	FEATURES(FEATURE)
#undef FEATURE
};

const char *feature_name(unsigned int feature)
{
	return features[feature].name;
}

const char *feature_text(unsigned int feature)
{
	return features[feature].text;
}

bool features_parse(const char *names, uint32_t *out)
{
	*out = 0;
	while (*names) {
		size_t len = strcspn(names, ",");
		unsigned int i;

		for (i = 0; i < FEATURE_COUNT; i++) {
			if (strlen(features[i].name) == len && !memcmp(features[i].name, names, len))
				break;
		}
		if (i == FEATURE_COUNT)
			return false;
		*out |= 1u << i;
		names += len + (names[len] == ',');
	}
	return true;
}

struct maker {
	const struct schedule *schedule;
	struct rng rng;
	bool is_wild;	    /* this epoch may end connections */
	bool is_pipelining; /* this epoch may send requests before the answer to the last one */
};

static bool has(const struct maker *maker, enum feature feature)
{
	return maker->schedule->features & 1u << feature;
}

/* Whether a feature is taken, with this probability; the draw is made in any case, so that leaving a feature out changes as
 * little as possible of the rest of the schedule. */
static bool draw(struct maker *maker, enum feature feature, unsigned int permille)
{
	return rng_permille(&maker->rng, permille) && has(maker, feature);
}

static uint64_t pick(struct maker *maker, uint64_t limit)
{
	return rng_below(&maker->rng, limit);
}

static uint64_t pick_size(struct maker *maker, bool may_be_large)
{
	static const uint64_t limits[] = {0,    1,    2,     100,   1000,  1447,  1448,  1449,  4095,  4096,  4097,  8191,  8192,  8193,
					  16383, 16384, 16385, 32767, 32768, 32769, 65535, 65536, 65537, 131071, 131072, 131073};
	uint64_t kind = pick(maker, 1000), any = rng_next(&maker->rng), near = REDIRECT_LIMIT - 1 + any % 3;

	if (kind >= 985 && may_be_large && has(maker, FEATURE_large))
		return kind < 990 ? near : kind < 995 ? near - any % 6000 : REDIRECT_LIMIT / 2 + any % (2 * REDIRECT_LIMIT);
	if (kind == 984 && any % 3 == 0 && may_be_large && has(maker, FEATURE_huge))
		return (8 << 20) + any % (56 << 20);
	if (kind < 450)
		return any % 2000;
	if (kind < 800)
		return limits[any % (sizeof(limits) / sizeof(limits[0]))];
	if (kind < 960 || !may_be_large)
		return any % 100000;
	return any % 800000;
}

static uint64_t pick_piece(struct maker *maker, uint64_t size)
{
	static const uint64_t pieces[] = {50, 700, 1448, 4096, 16384, 65536};
	uint64_t piece = pieces[pick(maker, 6)];

	/* A large message in tiny pieces would only take long. */
	return piece < size / 300 ? size / 300 + 1 : piece;
}

static void make_request(struct maker *maker, struct spec *spec, bool may_be_large)
{
	static const enum method bodies[] = {METHOD_POST, METHOD_PUT, METHOD_POST, METHOD_DELETE};

	if (pick(maker, 100) < 50) {
		spec->method = pick(maker, 20) ? METHOD_GET : METHOD_OPTIONS;
		spec->request_framing = FRAMING_NONE;
	} else {
		spec->method = bodies[pick(maker, 4)];
		spec->request_framing = FRAMING_LENGTH;
		spec->request_body = pick_size(maker, may_be_large);
		if (draw(maker, FEATURE_chunked, 180))
			spec->request_framing = pick(maker, 5) ? FRAMING_CHUNKED : FRAMING_TRAILERS;
	}
	if (pick(maker, 3) == 0)
		spec->request_pad = pick(maker, 1200);
	if (pick(maker, 6) == 0)
		spec->query_pad = 1 + pick(maker, 500);
	if (draw(maker, FEATURE_bighead, 60)) {
		/* round the 4096 bytes that the kernel reads, and now and then far beyond */
		spec->request_pad = pick(maker, 8) ? 3200 + pick(maker, 1800) : 5000 + pick(maker, 43000);
		if (pick(maker, 4) == 0)
			spec->query_pad = 1 + pick(maker, 3000);
	}
	spec->keep_alive = pick(maker, 10) == 0;
}

static void make_reply(struct maker *maker, struct spec *spec, bool may_be_large)
{
	static const uint64_t statuses[] = {200, 200, 200, 201, 202, 400, 404, 410, 418, 500, 502, 503, 504};

	spec->status = pick(maker, 100) < 70 ? 200 : statuses[pick(maker, sizeof(statuses) / sizeof(statuses[0]))];
	spec->reply_framing = FRAMING_LENGTH;
	spec->reply_body = pick_size(maker, may_be_large);
	if (draw(maker, FEATURE_chunked, 180))
		spec->reply_framing = pick(maker, 5) ? FRAMING_CHUNKED : FRAMING_TRAILERS;
	if (draw(maker, FEATURE_nobody, 60)) {
		uint64_t kind = pick(maker, 3);

		if (kind == 0 && spec->request_framing == FRAMING_NONE)
			spec->method = METHOD_HEAD;
		else
			spec->status = kind == 1 ? 204 : 304;
		if (spec->status == 204)
			spec->reply_framing = FRAMING_NONE;
		else if (spec->status == 304)
			spec->reply_framing = pick(maker, 2) ? FRAMING_LENGTH : FRAMING_NONE;
	}
	if (pick(maker, 4) == 0)
		spec->reply_pad = pick(maker, 1500);
	if (draw(maker, FEATURE_bighead, 40))
		spec->reply_pad = pick(maker, 8) ? 3000 + pick(maker, 2500) : 5000 + pick(maker, 40000);
}

/* How both sides read and write. */
static void make_style(struct maker *maker, struct spec *spec)
{
	static const enum write_mode plain_writes[] = {WRITE_BLOCK, WRITE_POLL};
	static const enum read_mode plain_reads[] = {READ_BLOCK, READ_POLL};

	spec->request_write = plain_writes[pick(maker, 2)];
	spec->reply_write = plain_writes[pick(maker, 2)];
	spec->read = plain_reads[pick(maker, 2)];
	spec->server_read = plain_reads[pick(maker, 2)];
	if (draw(maker, FEATURE_writers, 500))
		spec->request_write = pick(maker, WRITE_MODES);
	if (draw(maker, FEATURE_writers, 500))
		spec->reply_write = pick(maker, WRITE_MODES);
	if (draw(maker, FEATURE_readers, 500))
		spec->read = pick(maker, READ_MODES);
	if (draw(maker, FEATURE_readers, 400))
		spec->server_read = pick(maker, READ_MODES);
	if (spec->read == READ_FIONREAD && !has(maker, FEATURE_fionread))
		spec->read = READ_POLL;
	if (spec->server_read == READ_FIONREAD && !has(maker, FEATURE_fionread))
		spec->server_read = READ_POLL;
	if (draw(maker, FEATURE_readers, 300))
		spec->read_piece = pick_piece(maker, spec->reply_body);
	if (draw(maker, FEATURE_readers, 200))
		spec->server_piece = pick_piece(maker, spec->request_body);
	spec->read_exact = pick(maker, 2);
	spec->request_split = SPLIT_EACH;
	if (draw(maker, FEATURE_split, 250)) {
		spec->request_split = pick(maker, SPLITS);
		spec->request_piece = pick_piece(maker, spec->request_body);
		if (pick(maker, 3) == 0)
			spec->request_gap_ms = 1 + pick(maker, 12);
	}
	spec->reply_split = SPLIT_EACH;
	if (draw(maker, FEATURE_resplit, 250)) {
		spec->reply_split = pick(maker, SPLITS);
		spec->reply_piece = pick_piece(maker, spec->reply_body);
		if (pick(maker, 3) == 0)
			spec->reply_gap_ms = 1 + pick(maker, 12);
	}
}

static void make_pauses(struct maker *maker, struct spec *spec)
{
	if (draw(maker, FEATURE_delay, 60))
		spec->delay_ms = 1 + pick(maker, pick(maker, 8) ? 20 : 400);
	if (draw(maker, FEATURE_delay, 25)) {
		spec->reply_stall_at = 1 + pick(maker, spec->reply_body + 300);
		spec->reply_stall_ms = 1 + pick(maker, pick(maker, 4) ? 30 : 500);
	}
	if (draw(maker, FEATURE_delay, 25)) {
		spec->request_stall_at = 1 + pick(maker, spec->request_body + 300);
		spec->request_stall_ms = 1 + pick(maker, pick(maker, 4) ? 30 : 500);
	}
	if (draw(maker, FEATURE_delay, 25)) {
		spec->server_stall_at = pick(maker, spec->request_body + 1);
		spec->server_stall_ms = 1 + pick(maker, pick(maker, 4) ? 50 : 1500);
	}
	if (draw(maker, FEATURE_stall, 60))
		spec->read_delay_ms = 1 + pick(maker, pick(maker, 4) ? 30 : 400);
	if (draw(maker, FEATURE_stall, 50)) {
		spec->stall_at = pick(maker, spec->reply_body + 1);
		spec->stall_ms = 1 + pick(maker, pick(maker, 4) ? 50 : 1500);
	}
}

/* Things that HTTP has beside a request and an answer. */
static void make_extras(struct maker *maker, struct spec *spec, bool is_last)
{
	static const uint64_t interims[] = {100, 103, 102, 103};
	bool has_body = spec->request_framing != FRAMING_NONE;

	if (draw(maker, FEATURE_interim, 30))
		spec->interim = interims[pick(maker, 4)];
	if (draw(maker, FEATURE_expect, 40) && has_body && is_last)
		spec->expect = 1;
	if (draw(maker, FEATURE_upgrade, 10))
		spec->upgrade = 1;
	if (draw(maker, FEATURE_early, 60) && has_body && is_last && spec->request_body) {
		spec->early = 1 + (pick(maker, 2) ? 0 : pick(maker, spec->request_body));
		/* A proxy may cut the rest of the body off once the answer is complete. */
		spec->may_be_cut = 1;
	}
}

static void make_fault(struct maker *maker, struct spec *spec)
{
	bool has_reply_body = spec_reply_has_body(spec) && spec->reply_body > 0;

	spec->fault = 1 + pick(maker, FAULTS - 1);
	if (!has_reply_body && spec->fault >= FAULT_CLOSE_BODY)
		spec->fault = FAULT_CLOSE_HEAD;
	spec->fault_at = spec->fault >= FAULT_CLOSE_BODY ? pick(maker, spec->reply_body) : pick(maker, 100000);
	spec->may_be_cut = 1;
}

static void make_client_fault(struct maker *maker, struct spec *spec)
{
	spec->client_fault = 1 + pick(maker, CLIENT_HALF_SENT - 1);
	if (spec->client_fault == CLIENT_HALF_SENDING && !has(maker, FEATURE_halfclose))
		spec->client_fault = CLIENT_RESET_SENDING;
	if (spec->client_fault == CLIENT_CLOSE_REPLY || spec->client_fault == CLIENT_RESET_REPLY) {
		/* While it sends, nobody would read: an early answer could block both sides for ever. */
		spec->early = 0;
		spec->client_fault_at = pick(maker, 3) ? pick(maker, spec->reply_body + 200) : 0;
	} else {
		spec->client_fault_at = 1 + pick(maker, spec->request_body + 60);
	}
	spec->may_be_cut = 1;
}

/* Whether the exchange, as scheduled, may end its connection. */
static bool may_end(const struct spec *spec)
{
	return spec->after != AFTER_KEEP || spec->fault || spec->client_fault || spec->close || spec->reply_framing == FRAMING_EOF || spec->early;
}

static void make_end(struct maker *maker, struct spec *spec, bool is_last)
{
	bool is_inside = draw(maker, FEATURE_endinside, 250);
	bool may = maker->is_wild && (is_last || is_inside);
	uint64_t kind = pick(maker, 1000);

	if (draw(maker, FEATURE_idleclose, 20) && (is_last || is_inside)) {
		spec->after = AFTER_IDLE;
		spec->after_ms = pick(maker, 3) ? pick(maker, 6) : pick(maker, 300);
	}
	if (!may)
		return;
	if (kind < 40 && has(maker, FEATURE_serverclose))
		spec->after = AFTER_CLOSE;
	else if (kind < 70 && has(maker, FEATURE_idleclose))
		spec->after = AFTER_SILENT;
	else if (kind < 85 && has(maker, FEATURE_idlereset)) {
		spec->after = AFTER_IDLE_RESET; /* which destroys an answer that was not read yet */
		spec->after_ms = pick(maker, 50);
		spec->may_be_cut = 1;
	} else if (kind < 125 && has(maker, FEATURE_serverfault)) {
		make_fault(maker, spec);
	} else if (kind < 165 && has(maker, FEATURE_clientfault) && is_last) {
		make_client_fault(maker, spec);
	} else if (kind < 185 && has(maker, FEATURE_clientclose) && is_last) {
		spec->close = 1;
	} else if (kind < 205 && has(maker, FEATURE_halfclose) && is_last) {
		spec->client_fault = CLIENT_HALF_SENT;
		spec->may_be_cut = 1;
	} else if (kind < 245 && has(maker, FEATURE_eof) && spec_reply_has_body(spec)) {
		spec->reply_framing = FRAMING_EOF;
	}
	if (spec->fault || spec->client_fault)
		spec->expect = 0;
}

static bool is_blocking(uint64_t read)
{
	return read == READ_BLOCK || read == READ_PEEK || read == READ_BYTE;
}

/* One thread that writes, then reads; or two at once. Where only two can do without a deadlock, and a read that blocks while another
 * thread writes is not wanted, reading is by poll. */
static void make_threads(struct maker *maker, struct spec *spec, bool is_alone)
{
	bool can_be_serial = is_alone && !spec->early && !spec->expect;
	bool is_duplex = draw(maker, FEATURE_duplex, 400);

	spec->serial = can_be_serial && !is_duplex;
	if (!spec->serial && !is_duplex && is_blocking(spec->read))
		spec->read = READ_POLL;
}

static void make_bare(struct maker *maker, struct spec *spec)
{
	struct spec bare = {
		.run = spec->run, .conn = spec->conn, .req = spec->req, .target = spec->target, .bare = 1, .method = pick(maker, 3) ? METHOD_GET : METHOD_POST,
		.request_split = spec->request_split, .request_write = spec->request_write, .read = spec->read, .read_piece = spec->read_piece,
		.read_exact = spec->read_exact, .staggered = spec->staggered, .serial = spec->serial,
	};

	spec_derive_bare(&bare);
	*spec = bare;
}

static void make_spec(struct maker *maker, struct spec *spec, bool is_last, bool is_alone)
{
	make_request(maker, spec, is_alone);
	make_reply(maker, spec, is_alone);
	make_style(maker, spec);
	make_pauses(maker, spec);
	make_extras(maker, spec, is_last);
	make_end(maker, spec, is_last);
	make_threads(maker, spec, is_alone);
	if (draw(maker, FEATURE_bare, 80))
		make_bare(maker, spec);
}

static void make_connection(struct maker *maker, uint64_t batch_no, struct batch *batch)
{
	static const uint64_t buffers[] = {8192, 12000, 16384, 65536};

	batch->no_delay = pick(maker, 4) != 0;
	batch->connect_nonblocking = pick(maker, 2);
	batch->sleeps = pick(maker, 4) == 0;
	if (draw(maker, FEATURE_smallbuf, 150))
		batch->receive_buffer = buffers[pick(maker, 4)];
	if (draw(maker, FEATURE_smallbuf, 100))
		batch->send_buffer = buffers[pick(maker, 4)];
	/* A mesh that hands a connection to a proxy for good when it pipelines is to be tried on connections that never did. */
	if (batch_no % EPOCH == 0 && !maker->is_pipelining && has(maker, FEATURE_clientclose))
		batch->starts_anew = true;
	if (maker->is_wild && draw(maker, FEATURE_clientclose, 30)) {
		batch->starts_anew = true;
		batch->starts_by_reset = has(maker, FEATURE_clientfault) && pick(maker, 3) == 0;
	}
}

void schedule_batch(const struct schedule *schedule, uint64_t conn, uint64_t batch_no, uint64_t first_req, struct batch *batch)
{
	struct maker maker = {
		.schedule = schedule,
		.rng.state = mix64(bytes_key(schedule->seed, conn, batch_no, BYTES_SCHEDULE)),
		.is_wild = mix64(bytes_key(schedule->seed, conn, batch_no / EPOCH, BYTES_QUERY)) % 100 < 45,
		.is_pipelining = mix64(bytes_key(schedule->seed, conn, batch_no / EPOCH, BYTES_SCHEDULE)) % 100 < 35,
	};
	bool is_staggered, is_ended = false;
	uint64_t split;

	memset(batch, 0, sizeof(*batch));
	make_connection(&maker, batch_no, batch);
	batch->think_ms = pick(&maker, 10) < 5 ? 0 : pick(&maker, 10) ? pick(&maker, 12) : pick(&maker, 250);
	batch->count = draw(&maker, FEATURE_pipeline, 200) && maker.is_pipelining ? 2 + (unsigned int)pick(&maker, BATCH_MAX - 1) : 1;
	is_staggered = pick(&maker, 3) == 0;
	split = pick(&maker, 2) ? SPLIT_ONE : pick(&maker, SPLITS);
	for (unsigned int i = 0; i < batch->count; i++) {
		struct spec *spec = &batch->specs[i];

		spec->run = schedule->seed;
		spec->conn = conn;
		spec->req = first_req + i;
		spec->target = pick(&maker, schedule->target_count);
		spec->staggered = i > 0 && is_staggered;
		make_spec(&maker, spec, i + 1 == batch->count, batch->count == 1);
		/* What follows an end of the connection may be cut off, or never be looked at. */
		spec->after_end = is_ended;
		if (is_ended)
			spec->may_be_cut = 1;
		is_ended = is_ended || may_end(spec);
		if (batch->count > 1 && !spec->staggered)
			spec->request_split = split;
	}
	/* A client that breaks off or half-closes while it sends the last one may have answers to those before it outstanding. */
	for (unsigned int i = 0; i < batch->count && batch->specs[batch->count - 1].client_fault; i++)
		batch->specs[i].may_be_cut = 1;
	/* A bare request has no way to tell its server so. */
	for (unsigned int i = 0; i < batch->count; i++)
		batch->specs[i].bare = batch->specs[i].bare && !batch->specs[i].may_be_cut;
}
