/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the dump: images become one JSON tree, which is printed as it is or as text. */
#ifndef WEFT_COMPILE_DUMP_H
#define WEFT_COMPILE_DUMP_H

#include <jansson.h>

#include "base/strbuf.h"
#include "compile/compile.h"
#include "compile/view.h"

struct dump {
	struct view view;
	struct view names;     /* endpoint image for cluster names; base NULL: none */
	int status;            /* first error; what could not be read is left out */
};

/* A text of any bytes: valid UTF-8 stays, other strings are taken as Latin-1. NULL sets dump->status. */
json_t *dump_string(struct dump *dump, const void *bytes, size_t size);
/* "" for a reference of 0. */
json_t *dump_text(struct dump *dump, weft_ref ref);
json_t *dump_address(struct dump *dump, const struct weft_address *address, uint16_t port_be);
/* Sets status when `value` is NULL. Steals it. */
void dump_set(struct dump *dump, json_t *object, const char *key, json_t *value);
void dump_append(struct dump *dump, json_t *array, json_t *value);
/* Only when there is something to say. */
void dump_set_text(struct dump *dump, json_t *object, const char *key, weft_ref ref);
void dump_fail(struct dump *dump, int r);

json_t *dump_routes(struct dump *dump);
json_t *dump_virtual_host(struct dump *dump, const struct weft_virtual_host *host);
json_t *dump_choice(struct dump *dump, weft_ref ref);
/* What the route changes on the way: an array of sentences. */
json_t *dump_changes(struct dump *dump, const struct weft_route *route);
json_t *dump_endpoints(struct dump *dump);
json_t *dump_hash_policies(struct dump *dump, weft_ref ref);
json_t *dump_hash_levels(struct dump *dump, const struct weft_cluster *cluster);

void dump_print_routes(const json_t *root, struct strbuf *out);
void dump_print_endpoints(const json_t *root, struct strbuf *out);

#endif
