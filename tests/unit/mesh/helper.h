/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the mesh share: loading a text, looking for a message. */
#ifndef WEFT_TESTS_MESH_HELPER_H
#define WEFT_TESTS_MESH_HELPER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/strbuf.h"
#include "mesh/mesh.h"

struct loaded {
	struct mesh *mesh;
	struct mesh_report report;
	int r;
};

static inline void loaded_release(struct loaded *l)
{
	mesh_free(&l->mesh);
	mesh_report_release(&l->report);
}

static inline struct loaded load_text_as(const char *text, bool is_strict)
{
	struct loaded l = { .report = MESH_REPORT_INIT };

	l.r = mesh_load_text_as("test.yaml", text, strlen(text), is_strict, &l.mesh, &l.report);
	return l;
}

static inline struct loaded load_text(const char *text)
{
	return load_text_as(text, false);
}

/* The first message whose text holds `part`; prints all of them when there is none. */
static inline const struct mesh_message *find_message(const struct loaded *l, enum mesh_severity severity, const char *part)
{
	for (size_t i = 0; i < l->report.count; i++)
		if (l->report.messages[i].severity == severity && strstr(l->report.messages[i].text, part))
			return &l->report.messages[i];
	mesh_report_print(&l->report, stderr);
	fail_msg("no %s says \"%s\"", severity == MESH_ERROR ? "error" : "warning", part);
	return NULL;
}

static inline void assert_no_errors(const struct loaded *l)
{
	if (l->r || l->report.error_count) {
		mesh_report_print(&l->report, stderr);
		fail_msg("the text was not loaded cleanly: %d, %zu errors", l->r, l->report.error_count);
	}
}

/* Holds a reason of this effect whose path is `path`. */
static inline bool has_reason(const struct mesh_reasons *reasons, enum mesh_effect effect, const char *path)
{
	for (size_t i = 0; i < reasons->count; i++)
		if (reasons->items[i].effect == effect && strcmp(reasons->items[i].path, path) == 0)
			return true;
	for (size_t i = 0; i < reasons->count; i++)
		fprintf(stderr, "reason %d: %s: %s\n", reasons->items[i].effect, reasons->items[i].path, reasons->items[i].text);
	return false;
}

#define LOADED(name, text) _cleanup_(loaded_release) struct loaded name = load_text(text)
#define LOADED_STRICTLY(name, text) _cleanup_(loaded_release) struct loaded name = load_text_as(text, true)

#endif
