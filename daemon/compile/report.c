/* SPDX-License-Identifier: Apache-2.0 */
#include "compile/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"

const char *verdict_name(enum weft_verdict verdict)
{
	switch (verdict) {
	case WEFT_VERDICT_KERNEL: return "kernel";
	case WEFT_VERDICT_PROXY: return "proxy";
	case WEFT_VERDICT_REFUSED: return "refused";
	case WEFT_VERDICT_IGNORED: return "ignored";
	}
	return "unknown";
}

void compile_report_release(struct compile_report *report)
{
	arena_release(&report->arena);
	free(report->verdicts);
	*report = (struct compile_report)COMPILE_REPORT_INIT;
}

void report_verdict(struct compile_report *report, const char *kind, const char *name, enum weft_verdict verdict, const char *reason,
		    const struct mesh_place *place)
{
	struct compile_verdict *entry;

	if (!report)
		return;
	report->totals[verdict]++;
	if (report->status)
		return;
	if (report->count == report->capacity) {
		size_t capacity = report->capacity ? report->capacity * 2 : 64;
		struct compile_verdict *grown = reallocarray(report->verdicts, capacity, sizeof(*grown));

		if (!grown) {
			report->status = -ENOMEM;
			return;
		}
		report->verdicts = grown;
		report->capacity = capacity;
	}
	entry = &report->verdicts[report->count];
	*entry = (struct compile_verdict){ .kind = kind, .verdict = verdict };
	entry->name = arena_text(&report->arena, name);
	entry->reason = arena_text(&report->arena, reason ? reason : "");
	entry->place.file = "";
	if (place) {
		entry->place = *place;
		entry->place.file = arena_text(&report->arena, place->file);
	}
	if (!entry->name || !entry->reason || !entry->place.file) {
		report->status = -ENOMEM;
		return;
	}
	report->count++;
}

void compile_report_print(const struct compile_report *report, FILE *stream, bool all)
{
	size_t i;

	for (i = 0; i < report->count; i++) {
		const struct compile_verdict *v = &report->verdicts[i];

		if (!all && v->verdict == WEFT_VERDICT_KERNEL && !*v->reason)
			continue;
		if (*v->place.file && v->place.line)
			fprintf(stream, "%s:%u: ", v->place.file, v->place.line);
		fprintf(stream, "%s %s: %s%s%s\n", v->kind, *v->name ? v->name : "(without a name)", verdict_name(v->verdict),
			*v->reason ? ": " : "", v->reason);
	}
	if (report->status)
		fprintf(stream, "the list of verdicts is not complete: out of memory\n");
}

/* ---- reasons --------------------------------------------------------------------------------------------------------------------- */

void reason_add(struct strbuf *reason, const char *fmt, ...)
{
	va_list args;

	if (reason->size)
		strbuf_append_text(reason, "; ");
	va_start(args, fmt);
	strbuf_vprintf(reason, fmt, args);
	va_end(args);
}

/* A page of reasons helps nobody; the first few tell what to change. */
#define REASONS_SHOWN 8u

void reason_add_at(struct strbuf *reason, const struct mesh_reason *item)
{
	if (*item->path)
		reason_add(reason, "%s (%s)", item->text, item->path);
	else
		reason_add(reason, "%s", item->text); /* of the resource itself */
}

void reason_add_mesh(struct strbuf *reason, const struct mesh_reasons *reasons)
{
	size_t i;

	for (i = 0; i < reasons->count && i < REASONS_SHOWN; i++)
		reason_add_at(reason, &reasons->items[i]);
	if (reasons->count > REASONS_SHOWN)
		reason_add(reason, "and %zu more", reasons->count - REASONS_SHOWN);
}

bool reasons_have(const struct mesh_reasons *reasons, enum mesh_effect effect)
{
	size_t i;

	for (i = 0; i < reasons->count; i++)
		if (reasons->items[i].effect == effect)
			return true;
	return false;
}
