/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ctl.h"

/* Connections from before it was enrolled. */
static void add_unmeshed(struct text_table *table, const json_t *pod)
{
	const json_t *count = json_object_get(pod, "unmeshed_connections");

	if (count)
		text_table_addf(table, "%lld", (long long)json_integer_value(count));
	else
		text_table_add(table, "-");
}

static void print(const json_t *answer)
{
	static const char *const headings[] = { "NAMESPACE", "NAME", "ADDRESS", "UNMESHED", "STATE", "WHY" };
	struct text_table table;
	const json_t *pod;
	size_t i;

	text_table_begin(&table, headings, 6);
	json_array_foreach(json_object_get(answer, "pods"), i, pod) {
		text_table_add(&table, ctl_text(pod, "namespace"));
		text_table_add(&table, ctl_text(pod, "name"));
		text_table_add(&table, ctl_text(pod, "ip"));
		add_unmeshed(&table, pod);
		text_table_add(&table, ctl_text(pod, "state"));
		text_table_add(&table, ctl_text(pod, "reason"));
	}
	text_table_end(&table, 0);
	if (!json_is_true(json_object_get(answer, "is_synced")))
		printf("The API server has not said yet which pods this node has: `weftctl status` has the reason.\n");
}

static void keep_namespace(json_t *answer, const char *name)
{
	json_t *pods = json_object_get(answer, "pods");

	for (size_t i = json_array_size(pods); name && i-- > 0;)
		if (strcmp(ctl_text(json_array_get(pods, i), "namespace"), name) != 0)
			json_array_remove(pods, i);
}

int ctl_pods(const struct ctl *ctl, int argc, char **argv)
{
	(void)argv;
	return ctl_show(ctl, argc, "pods", keep_namespace, print);
}
