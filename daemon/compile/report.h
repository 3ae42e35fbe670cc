/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting verdicts and the texts of their reasons. */
#ifndef WEFT_COMPILE_REPORT_H
#define WEFT_COMPILE_REPORT_H

#include "base/strbuf.h"
#include "compile/compile.h"

/* Copies name and reason. `report` and `place` may be NULL; `kind` must be a literal. */
void report_verdict(struct compile_report *report, const char *kind, const char *name, enum weft_verdict verdict, const char *reason,
		    const struct mesh_place *place);

/* Reasons are clauses joined by "; ". Out of memory sticks in the buffer: check strbuf_status() once. */
void reason_add(struct strbuf *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One of the model's, with its place in the resource. */
void reason_add_at(struct strbuf *reason, const struct mesh_reason *item);
void reason_add_mesh(struct strbuf *reason, const struct mesh_reasons *reasons);
bool reasons_have(const struct mesh_reasons *reasons, enum mesh_effect effect);

#endif
