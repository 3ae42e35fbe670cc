/* SPDX-License-Identifier: Apache-2.0 */
#include "base/step.h"

#ifdef WEFT_STEPS
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOLD_LOOK_MS 5

void step_keeper(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("WEFT_KEEPER", text, 1);
}

static void log_name(const char *name)
{
	const char *path = getenv("WEFT_STEPS_LOG");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd < 0)
		return;
	dprintf(fd, "%s\n", name);
	close(fd);
}

static void hold(const char *path)
{
	const struct timespec pause = { .tv_nsec = HOLD_LOOK_MS * 1000000l };

	while (access(path, F_OK) == 0)
		nanosleep(&pause, NULL);
}

void step(const char *name)
{
	const char *stop = getenv("WEFT_STOP_AT"), *stopped = getenv("WEFT_STOPPED"), *keeper = getenv("WEFT_KEEPER"), *holds = getenv("WEFT_STOP_HOLDS");
	int fd;

	log_name(name);
	if (!stop || !stopped || strcmp(stop, name) != 0)
		return;
	fd = open(stopped, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return; /* once */
	close(fd);
	if (holds) {
		hold(holds);
		return;
	}
	if (keeper && atoi(keeper) > 0 && !getenv("WEFT_STOP_ALONE"))
		kill(atoi(keeper), SIGKILL);
	kill(getpid(), SIGKILL);
	pause();
}
#endif
