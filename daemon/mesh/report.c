/* SPDX-License-Identifier: Apache-2.0 */
#include "mesh/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strbuf.h"

/* A message and its three texts are one allocation a text: reports are short, and outlive the arenas of what they speak of. */
static void message_release(struct mesh_message *message)
{
	free((char *)message->file);
	free((char *)message->path);
	free((char *)message->text);
}

void mesh_report_release(struct mesh_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		message_release(&report->messages[i]);
	free(report->messages);
	*report = (struct mesh_report)MESH_REPORT_INIT;
}

static bool is_full(const struct mesh_report *report, enum mesh_severity severity)
{
	return (severity == MESH_ERROR ? report->error_count : report->warning_count) > MESH_REPORT_LIMIT;
}

void mesh_report_add(struct mesh_report *report, enum mesh_severity severity, const char *file, uint32_t line, uint32_t column,
		     const char *path, const char *fmt, ...)
{
	_cleanup_(strbuf_release) struct strbuf text = STRBUF_INIT;
	struct mesh_message message = { .severity = severity, .line = line, .column = column };
	struct mesh_message *messages;
	va_list args;

	if (!report)
		return;
	if (severity == MESH_ERROR)
		report->error_count++;
	else
		report->warning_count++;
	if (is_full(report, severity))
		return;

	va_start(args, fmt);
	strbuf_vprintf(&text, fmt, args);
	va_end(args);
	message.file = strdup(file);
	message.path = strdup(path);
	message.text = strbuf_take(&text);
	messages = realloc(report->messages, (report->count + 1) * sizeof(*messages));
	if (messages)
		report->messages = messages;
	if (!messages || !message.file || !message.path || !message.text) {
		message_release(&message);
		return;
	}
	report->messages[report->count++] = message;
}

void mesh_report_print(const struct mesh_report *report, FILE *stream)
{
	size_t listed[2] = { 0, 0 };

	for (size_t i = 0; i < report->count; i++) {
		const struct mesh_message *m = &report->messages[i];

		if (*m->file)
			fprintf(stream, "%s:", m->file);
		if (m->line)
			fprintf(stream, "%u:%u:", m->line, m->column);
		fprintf(stream, "%s%s: ", *m->file || m->line ? " " : "", m->severity == MESH_ERROR ? "error" : "warning");
		if (*m->path)
			fprintf(stream, "%s: ", m->path);
		fprintf(stream, "%s\n", m->text);
		listed[m->severity == MESH_ERROR]++;
	}
	if (report->error_count > listed[1])
		fprintf(stream, "(%zu more errors)\n", report->error_count - listed[1]);
	if (report->warning_count > listed[0])
		fprintf(stream, "(%zu more warnings)\n", report->warning_count - listed[0]);
}
