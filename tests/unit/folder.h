/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a test's own: made before the group, removed with all that is in it after. */
#ifndef WEFT_TEST_FOLDER_H
#define WEFT_TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>

static char folder[] = "/tmp/weft-test.XXXXXX";

static int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

#endif
