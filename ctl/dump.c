/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "ctl.h"

int ctl_dump(const struct ctl *ctl, int argc, char **argv)
{
	json_t *request, *answer;
	int r;

	if (argc > 1)
		return ctl_usage("dump takes one of listeners, routes, clusters and endpoints");
	request = json_pack("{s:s, s:b}", "command", "dump", "text", !ctl->is_json);
	if (argc == 1)
		json_object_set_new(request, "what", json_string(argv[0]));
	r = ctl_ask(ctl, request, &answer);
	if (r)
		return r;
	if (ctl->is_json) {
		ctl_print_json(answer);
	} else {
		fputs(ctl_text(answer, "routes"), stdout);
		fputs(ctl_text(answer, "endpoints"), stdout);
	}
	json_decref(answer);
	return 0;
}
