// SPDX-License-Identifier: Apache-2.0
/* Whether what happened is what the schedule allows. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

enum {
	REPORTS_MAX = 60,
	RACE_WAIT_MS = 3000, /* a server notes a race when it reads the request, which may be after its sender heard of it */
};

static const char *const outcome_names[] = {
	[OUTCOME_NONE] = "no answer", [OUTCOME_COMPLETE] = "complete", [OUTCOME_LOCAL] = "an answer that no server of ours gave",
	[OUTCOME_ENDED] = "end of the stream", [OUTCOME_FAILED] = "socket error", [OUTCOME_WRONG] = "wrong", [OUTCOME_ABANDONED] = "abandoned",
};

/* What became of the requests before it in its batch: an answer of weft's own there may be why there is none here. */
static void print_before(const struct connection *c, unsigned int idx, char *out, size_t len)
{
	size_t used = 0;

	out[0] = '\0';
	for (unsigned int i = 0; i < idx && used < len; i++) {
		const struct result *result = &c->results[i];

		used += (size_t)snprintf(out + used, len - used, "%s%s", i ? ", " : "; before it: ", outcome_names[result->outcome]);
		if (result->outcome == OUTCOME_LOCAL && used < len)
			used += (size_t)snprintf(out + used, len - used, " (%u)", result->status);
	}
}

void report(struct connection *c, unsigned int idx, _Atomic uint64_t *counter, const char *kind, const char *format, ...)
{
	const struct spec *spec = &c->batch.specs[idx];
	const struct target *target = &c->client->targets[spec->target];
	uint8_t entry = atomic_load(ledger_entry(c->client->ledger, spec->conn, spec->req));
	char text[700], fields[500], before[300];
	va_list args;

	atomic_fetch_add(counter, 1);
	if (atomic_fetch_add(&c->client->stats->reported, 1) >= REPORTS_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *p = text; *p; p++) {
		if (*p == '\r' || *p == '\n')
			*p = '|';
	}
	spec_print(spec, fields, sizeof(fields));
	print_before(c, idx, before, sizeof(before));
	printf("torture: %s conn=%llu batch=%llu req=%llu (%u of %u) %s%s: %s; executed %ux%s%s%s [%s] replay with: --seed %llu --replay %llu:%llu\n", kind,
	       (unsigned long long)spec->conn, (unsigned long long)c->batch_no, (unsigned long long)spec->req, idx + 1, c->batch.count, target->host,
	       target->prefix, text, entry & LEDGER_COUNT, entry & LEDGER_DONE ? ", answered" : "",
	       entry & LEDGER_BEHIND ? ", sent to a server that had announced the end of that connection" : "", before, fields,
	       (unsigned long long)c->client->schedule.seed, (unsigned long long)(c->client->is_replay ? c->client->replay_conn : c->conn),
	       (unsigned long long)(c->client->is_replay ? c->client->replay_batch : c->batch_no));
	fflush(stdout);
}

static bool has_raced(struct connection *c, const struct spec *spec, const struct result *result)
{
	_Atomic uint8_t *entry = ledger_entry(c->client->ledger, spec->conn, spec->req);
	uint64_t end = now_ms() + RACE_WAIT_MS;

	do {
		uint8_t seen = atomic_load(entry);

		if (seen & LEDGER_RACED)
			return true;
		if (seen & LEDGER_COUNT)
			return false;
		/* What a RST destroyed left no trace at its server; it may have been sent long before its answer was waited for. */
		if (ledger_idle_reset_between(c->client->ledger, c->begun_ms - 100, result->end_ms))
			return true;
		sleep_ms(50);
	} while (now_ms() < end);
	return false;
}

static bool is_gateway_error(const struct result *result)
{
	return result->outcome == OUTCOME_LOCAL && (result->status == 502 || result->status == 503 || result->status == 504);
}

/* A proxy's own answer to a request whose body is still coming ends the connection, since its end can't be told from the next request (Envoy
 * says `connection: close` there, and not where the body had come): what is pipelined behind it is lost by right, as behind any announced end. */
static bool may_end_connection(const struct spec *spec, const struct result *result)
{
	return spec->request_framing != FRAMING_NONE && is_gateway_error(result);
}

/* Whether a RST that a server sends later in this pipeline may have destroyed an answer that was sent, but not read yet. */
static bool reset_may_follow(const struct connection *c, unsigned int idx)
{
	for (unsigned int i = c->client->is_direct ? idx + 1 : c->batch.count; i < c->batch.count; i++) {
		uint64_t fault = c->batch.specs[i].fault;

		if (fault == FAULT_RESET_UNSAID || fault == FAULT_RESET_HEAD || fault == FAULT_RESET_BODY ||
		    c->batch.specs[i].after == AFTER_IDLE_RESET)
			return true;
	}
	return false;
}

/* Why it is right that this exchange has no whole answer. */
static enum allowance allowance_of(struct connection *c, unsigned int idx)
{
	const struct spec *spec = &c->batch.specs[idx];
	const struct result *result = &c->results[idx];
	bool is_direct = c->client->is_direct;
	bool is_cut = result->outcome == OUTCOME_ENDED || result->outcome == OUTCOME_NONE ||
		      (result->outcome == OUTCOME_FAILED && (result->error == -ECONNRESET || result->error == -EPIPE));
	bool is_unanswered = is_cut && !result->has_begun;
	uint64_t client_fault = c->batch.specs[c->batch.count - 1].client_fault; /* only the last one has any; it concerns all */

	/* Nobody but a proxy makes up answers. */
	if (is_direct && result->outcome == OUTCOME_LOCAL)
		return NOT_ALLOWED;
	if (spec->fault && (is_cut || is_gateway_error(result)))
		return ALLOW_server_fault;
	if ((spec->after == AFTER_IDLE_RESET && (is_cut || is_gateway_error(result))) || (is_cut && reset_may_follow(c, idx)))
		return ALLOW_server_fault;
	if (client_fault == CLIENT_CLOSE_SENDING || client_fault == CLIENT_RESET_SENDING)
		return ALLOW_client_fault;
	if (spec->client_fault == CLIENT_HALF_SENDING)
		return ALLOW_half_close;
	/* Plain TCP loses nothing by a half-close; a proxy like Envoy takes it for a disconnect. */
	if ((client_fault == CLIENT_HALF_SENT || client_fault == CLIENT_HALF_SENDING) && !is_direct && (is_cut || is_gateway_error(result)))
		return ALLOW_half_close;
	if (spec->early && !is_direct && is_cut && c->write_error)
		return ALLOW_early;
	if (spec->after_end && is_unanswered)
		return ALLOW_after_end;
	if (idx == 0 && c->may_have_ended && is_unanswered)
		return ALLOW_after_end;
	if (c->client->has_crashes && (is_cut || is_gateway_error(result)))
		return ALLOW_crash;
	if ((is_unanswered || is_gateway_error(result)) && !is_direct && has_raced(c, spec, result))
		return ALLOW_raced;
	return NOT_ALLOWED;
}

static void judge_incomplete(struct connection *c, unsigned int idx)
{
	struct stats *stats = c->client->stats;
	const struct result *result = &c->results[idx];
	enum allowance allowance = allowance_of(c, idx);

	if (allowance != NOT_ALLOWED) {
		atomic_fetch_add(&stats->allowed[allowance], 1);
		return;
	}
	switch (result->outcome) {
	case OUTCOME_NONE:
	case OUTCOME_ENDED:
		report(c, idx, &stats->lost, "LOST", "%s %s%s%s", outcome_names[result->outcome], result->detail, c->write_error ? ", writing: " : "",
		       c->write_error ? strerror(-c->write_error) : "");
		break;
	case OUTCOME_LOCAL:
		report(c, idx, &stats->lost, "LOST", "%s: %u: %s", outcome_names[result->outcome], result->status, result->detail);
		break;
	default:
		report(c, idx, &stats->error, "ERROR", "%s %s", strerror(-result->error), result->detail);
		break;
	}
}

static void judge_complete(struct connection *c, unsigned int idx)
{
	struct stats *stats = c->client->stats;
	const struct spec *spec = &c->batch.specs[idx];
	uint8_t entry = atomic_load(ledger_entry(c->client->ledger, spec->conn, spec->req));

	if (spec->fault)
		report(c, idx, &stats->wrong, "WRONG", "an answer that its server broke off arrived as a whole one");
	else if ((entry & LEDGER_COUNT) != 1)
		report(c, idx, &stats->wrong, "WRONG", "answered, but executed %u times", entry & LEDGER_COUNT);
	else
		atomic_fetch_add(&stats->requests, 1);
	if (c->results[idx].says_close && !spec->close && spec->after != AFTER_CLOSE && spec->reply_framing != FRAMING_EOF && !spec->early)
		atomic_fetch_add(&stats->unasked_close, 1);
}

/* Errors of writing that no schedule explains although the answers are all there. */
static void judge_writing(struct connection *c)
{
	const struct spec *last = &c->batch.specs[c->batch.count - 1];
	int error = c->write_error;

	if (!error || error == -ECANCELED || last->early || last->client_fault || c->client->has_crashes)
		return;
	for (unsigned int i = 0; i < c->batch.count; i++) {
		if (c->results[i].outcome != OUTCOME_COMPLETE || c->results[i].says_close)
			return; /* judged already, or the connection is over by right */
	}
	report(c, c->batch.count - 1, &c->client->stats->error, "ERROR", "writing: %s%s%s", strerror(-error), c->io.write_anomaly ? ": " : "",
	       c->io.write_anomaly ? c->io.write_anomaly : "");
}

void judge_batch(struct connection *c)
{
	struct stats *stats = c->client->stats;

	if (atomic_load(&c->is_stuck))
		return; /* the watchdog has reported it */
	for (unsigned int i = 0; i < c->batch.count; i++) {
		const struct result *result = &c->results[i];

		if (result->outcome == OUTCOME_COMPLETE)
			judge_complete(c, i);
		else if (result->outcome == OUTCOME_WRONG)
			report(c, i, &stats->wrong, "WRONG", "%s", result->detail);
		else if (result->outcome == OUTCOME_ABANDONED)
			atomic_fetch_add(&stats->allowed[ALLOW_client_fault], 1);
		else
			judge_incomplete(c, i);
		/* What comes behind an exchange that failed, or that ended the connection against the schedule, is its consequence. */
		if (result->outcome != OUTCOME_COMPLETE && result->outcome != OUTCOME_LOCAL)
			break;
		if (result->says_close && i + 1 < c->batch.count && !c->batch.specs[i + 1].after_end && !c->client->has_crashes) {
			if (may_end_connection(&c->batch.specs[i], result))
				atomic_fetch_add(&stats->allowed[ALLOW_after_end], 1);
			else
				report(c, i + 1, &stats->lost, "LOST", "the connection was closed before it, which no schedule asked for");
			break;
		}
	}
	judge_writing(c);
}
