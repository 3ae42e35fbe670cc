/* SPDX-License-Identifier: Apache-2.0 */
/* For a probe: while one weftd takes over from another, both answer under the same addresses, and only the name tells which one it is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

int ctl_ready(const struct ctl *ctl, int argc, char **argv)
{
	const char *wanted = argc ? argv[0] : getenv(INSTANCE_VARIABLE), *instance;
	json_t *request, *answer;
	bool is_ready;
	int r;

	if (argc > 1)
		return ctl_usage("ready takes one name");
	request = json_pack("{s:s}", "command", "ready");
	r = ctl_ask(ctl, request, &answer);
	if (r)
		return r;
	instance = ctl_text(answer, "instance");
	is_ready = json_is_true(json_object_get(answer, "is_ready"));
	if (ctl->is_json)
		ctl_print_json(answer);
	else
		printf("%s", is_ready ? "ready\n" : ctl_text(answer, "pending"));
	if (wanted && *wanted && strcmp(wanted, instance) != 0) {
		fprintf(stderr, "weftctl: %s%s serves, and not %s\n", *instance ? "instance " : "a weftd without a name", instance, wanted);
		is_ready = false;
	}
	json_decref(answer);
	return is_ready ? 0 : 1;
}
