/* SPDX-License-Identifier: Apache-2.0 */
/* What reading a configuration found: errors and warnings, each with its place and path, in the order they were found. */
#ifndef WEFT_MESH_REPORT_H
#define WEFT_MESH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum mesh_severity { MESH_WARNING, MESH_ERROR };

struct mesh_message {
	enum mesh_severity severity;
	const char *file;       /* "" when there is none */
	uint32_t line, column;  /* from 1; 0: not known */
	const char *path;       /* resources[3].filter_chains[0].name; "" for the whole file */
	const char *text;
};

/* Holds at most MESH_REPORT_LIMIT messages of each severity; what came after is counted only. */
#define MESH_REPORT_LIMIT 1000

struct mesh_report {
	struct mesh_message *messages;
	size_t count;
	size_t error_count;     /* all, also those past the limit */
	size_t warning_count;
};

#define MESH_REPORT_INIT { NULL, 0, 0, 0 }

void mesh_report_release(struct mesh_report *report);

/* Copies everything. Never fails: out of memory, the message is only counted. `report` may be NULL. */
void mesh_report_add(struct mesh_report *report, enum mesh_severity severity, const char *file, uint32_t line, uint32_t column,
		     const char *path, const char *fmt, ...) __attribute__((format(printf, 7, 8)));

/* "file:line:column: error: path: text", one a line. */
void mesh_report_print(const struct mesh_report *report, FILE *stream);

#endif
