/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions in route images: each pattern is compiled once, whatever number of routes has it, within a budget for all of them. */
#ifndef WEFT_COMPILE_REGEXES_H
#define WEFT_COMPILE_REGEXES_H

#include "compile/routes.h"
#include "regex/regex.h"

/* Limits of a route image, so that time, memory and pages are bounded whatever patterns there are. Beyond them a pattern is followed by the
 * proxy, instruction by instruction. */
#define REGEXES_STEPS_MAX 100000000ull        /* of all automata: about a second */
#define REGEX_STEPS_MAX 4000000ull            /* of one pattern */
#define REGEXES_TABLE_BYTES_MAX (8u << 20)    /* of all automata */
#define REGEXES_PROGRAM_BYTES_MAX (16u << 20) /* of those that have none; beyond it they are refused */
#define REGEX_LITERALS_MAX 16u                /* texts and beginnings of texts that a pattern may be taken apart into */

struct regexes;

/* A pattern over what it is matched with. */
struct regex_entry {
	struct regex_automaton *automaton; /* NULL: it would exceed a limit */
	const char *limit;                 /* which */
	char *prefix;                      /* every text it takes begins so */
	size_t prefix_size;
	struct regex_literals literals;    /* of paths: all that it takes, if has_literals */
	bool has_literals;
};

int regexes_new(struct regexes **out);
void regexes_free(struct regexes **regexes);

/* The entry lives as long as the compile. 0; -EINVAL for a pattern that mesh should have refused; -ENOMEM. */
int regexes_find(struct routes_compile *c, const char *pattern, enum regex_alphabet alphabet, const struct regex_entry **out);

/* Writes what the condition is compared with: kind and value. `limits` tells why only the proxy follows it, `unsupported` why nothing does: then
 * nothing was written. 0 or an error of the builder. */
int regexes_condition(struct routes_compile *c, const char *pattern, enum regex_alphabet alphabet, struct weft_condition *condition,
		      struct strbuf *unsupported, struct strbuf *limits);

/* A route whose path is a pattern. */
struct regex_member {
	const struct regex_entry *entry;
	uint32_t route;
	bool is_final;
	bool is_left;     /* set: no automaton took it */
};

/* Puts as many of them into the automata of a virtual host as fit, those first that could match everywhere; sorts `members`. *out is 0 when
 * there are none. 0 or an error of the builder. */
int regexes_lanes(struct routes_compile *c, struct regex_member *members, size_t count, weft_ref *out);

#endif
