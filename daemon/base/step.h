/* SPDX-License-Identifier: Apache-2.0 */
/* Where a daemon could be killed: tests of what a crash leaves name each such place and stop there (tests/e2e/crash_test.sh). Only a build
 * with -DWEFT_STEPS does anything here. */
#ifndef WEFT_BASE_STEP_H
#define WEFT_BASE_STEP_H

#ifdef WEFT_STEPS
/* Environment: WEFT_STEPS_LOG is a file that gets the name of each step. WEFT_STOP_AT is a step at which this process and the keeper are
 * killed, unless the file WEFT_STOPPED is there already: it is made then, so that this happens once. WEFT_STOP_ALONE spares the keeper. WEFT_STOP_HOLDS is
 * a file as long as which is there this process waits at that step, and goes on then: nobody is killed. */
void step(const char *name);
void step_keeper(void); /* this process is the keeper */
#else
static inline void step(const char *name)
{
	(void)name;
}
static inline void step_keeper(void)
{
}
#endif

#endif
