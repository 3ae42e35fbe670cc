/* SPDX-License-Identifier: Apache-2.0 */
#include "keeper/notes.h"

#include <stdio.h>

#include "base/leftovers.h"
#include "base/lock.h"
#include "base/step.h"
#include "keeper/pass.h"

void notes_succession_path(const struct options *options, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s" PASS_SUFFIX, options->control);
}

int notes_sign(int lock_fd, pid_t keeper, const struct options *options, const char *own_cgroup)
{
	char succession[PATH_MAX];
	int r;

	notes_succession_path(options, succession);
	r = lock_sign(lock_fd, keeper);
	if (!r)
		r = lock_note(lock_fd, NOTE_CONTROL, options->control);
	if (!r)
		r = lock_note(lock_fd, NOTE_CONTROL, succession);
	if (!r)
		r = lock_note(lock_fd, NOTE_CGROUP, own_cgroup);
	step("start: notes made");
	return r;
}
