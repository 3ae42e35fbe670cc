/* SPDX-License-Identifier: Apache-2.0 */
/* weftctl uninstall: ends the daemon if there is one, and takes away all that it has made, or that a killed one has left. It may be killed
 * itself at any moment: the next one, or the next weftd, does what is left to do. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/leftovers.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/pins.h"
#include "base/step.h"
#include "ctl.h"

#define STOP_TIMEOUT_MS 20000 /* weftd gives open exchanges 3 s, and kills a worker that does not end after 10 */
#define STOP_LOOK_MS 50
#define STOP_AGAIN_MS 5000    /* with --stay-when-replaced one that drains ends at once only when it is asked again */

/* The lock, once whoever holds it has ended: it is asked to. */
static int take_over(const char *bpffs, int *lock_fd)
{
	const struct timespec pause = { .tv_nsec = STOP_LOOK_MS * 1000000l };
	pid_t asked = 0, holder = 0;
	int asked_ms = 0, r;

	for (int waited_ms = 0; waited_ms < STOP_TIMEOUT_MS; waited_ms += STOP_LOOK_MS) {
		r = lock_take(LOCK_FOLDER, bpffs, lock_fd, &holder);
		if (r != -EBUSY)
			return r;
		if (holder > 0 && holder != asked) {
			printf("Ending weftd (process %d), which serves this node through %s\n", (int)holder, bpffs);
			fflush(stdout);
		}
		if (holder > 0 && (holder != asked || waited_ms - asked_ms >= STOP_AGAIN_MS)) {
			if (kill(holder, SIGTERM) < 0 && errno != ESRCH)
				return -errno;
			asked = holder;
			asked_ms = waited_ms;
		}
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "weftctl: weftd (process %d) does not end\n", (int)holder);
	return -ETIMEDOUT;
}

/* A weftd that was replaced by one of another ABI, and serves what is open in it. */
static int end_drainer(void *arg, const char *path)
{
	int lock_fd = -1, r;

	(void)arg;
	if (!pins_drainer(path))
		return 0;
	r = take_over(path, &lock_fd);
	if (!r)
		lock_give(LOCK_FOLDER, path, &lock_fd);
	return r;
}

static int remove_everything(const struct ctl *ctl, int lock_fd)
{
	int r;

	r = pins_each(ctl->bpffs, end_drainer, NULL);
	step("uninstall: none drains");
	/* Programs first: what they send to is about to go. */
	if (!r)
		r = pins_remove_all(ctl->bpffs);
	step("uninstall: pins removed");
	leftovers_clear(lock_fd);
	step("uninstall: notes cleared");
	if (!r)
		r = leftovers_remove_socket(ctl->control);
	return r;
}

int ctl_uninstall(const struct ctl *ctl, int argc, char **argv)
{
	int lock_fd = -1, r;

	(void)argv;
	if (argc)
		return ctl_usage("uninstall takes options alone");
	if (geteuid() != 0) {
		fprintf(stderr, "weftctl: only root may take weft away: try sudo\n");
		return 1;
	}
	r = take_over(ctl->bpffs, &lock_fd);
	if (r) {
		if (r != -ETIMEDOUT)
			fprintf(stderr, "weftctl: taking the lock of %s in " LOCK_FOLDER ": %s\n", ctl->bpffs, strerror(-r));
		return 1;
	}
	step("uninstall: lock taken");
	r = remove_everything(ctl, lock_fd);
	if (r) {
		/* With its notes, for another try. */
		close(lock_fd);
		fprintf(stderr, "weftctl: something is left: %s\n", strerror(-r));
		return 1;
	}
	lock_give(LOCK_FOLDER, ctl->bpffs, &lock_fd);
	step("uninstall: lock given");
	rmdir(LOCK_FOLDER); /* others may be in it */
	printf("Nothing of weft is left in %s\n", ctl->bpffs);
	return 0;
}
