/* SPDX-License-Identifier: Apache-2.0 */
/* weftctl: asks weftd over its control socket and prints the answer, as tables for people or as JSON; and takes weft away. */
#ifndef WEFT_CTL_H
#define WEFT_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CONTROL           "/run/weft/weft.sock"
#define INSTANCE_VARIABLE "WEFT_INSTANCE"

struct ctl {
	const char *control;  /* path of the socket */
	const char *bpffs;    /* uninstall: weftd's folder of pins */
	bool is_json;
	json_t *headers;      /* -H, as given */
	const char *pod;      /* NULL: any */
	const char *namespace_name; /* NULL: the only one */
	bool is_config_dump;
	bool wants_verdicts;  /* dump: nothing but them */
};

/* Sends `request`, which it takes over, and gives the answer. Complaints, also weftd's own, go to standard error. 0, or an exit status. */
int ctl_ask(const struct ctl *ctl, json_t *request, json_t **answer);
void ctl_print_json(const json_t *value);
/* All of a command that takes nothing more: asks, and prints the answer as JSON, or by `print`; `narrow` (may be NULL) leaves in it what -n names. Returns
 * an exit status. */
int ctl_show(const struct ctl *ctl, int argc, const char *command, void (*narrow)(json_t *answer, const char *namespace_name),
	     void (*print)(const json_t *answer));

/* The commands; `argv` is what follows the command's name. Each returns an exit status. */
int ctl_status(const struct ctl *ctl, int argc, char **argv);
int ctl_dump(const struct ctl *ctl, int argc, char **argv);
int ctl_xds(const struct ctl *ctl, int argc, char **argv);
int ctl_pods(const struct ctl *ctl, int argc, char **argv);
int ctl_ready(const struct ctl *ctl, int argc, char **argv);
int ctl_check(const struct ctl *ctl, int argc, char **argv);
int ctl_uninstall(const struct ctl *ctl, int argc, char **argv);
int ctl_explain(const struct ctl *ctl, int argc, char **argv);

/* Wrong use of a command: says so and where help is. */
int ctl_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Members of objects, with a plain default for those that are missing. */
const char *ctl_text(const json_t *object, const char *key);
long long ctl_number(const json_t *object, const char *key);

/* ---- tables: columns as wide as their widest cell, two spaces between ------------------------------------------------------------ */

#define TABLE_COLUMNS_MAX 8

struct text_table {
	char **cells;        /* row by row; row 0 is the heading */
	size_t rows, columns, capacity;
};

void text_table_begin(struct text_table *table, const char *const *headings, size_t columns);
void text_table_add(struct text_table *table, const char *cell);
void text_table_addf(struct text_table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints it, indented, and frees it. A table without rows prints nothing. */
void text_table_end(struct text_table *table, int indent);

#endif
