/* SPDX-License-Identifier: Apache-2.0 */
/* Accepts at a listener, one connection a turn of the loop. Where there is no descriptor for it, whoever connected stays in the listener's queue and wakes the
 * loop again at once: so it rests then, and tries anew. */
#ifndef WEFT_BASE_ACCEPTOR_H
#define WEFT_BASE_ACCEPTOR_H

#include <stdbool.h>

#define ACCEPT_REST_MS 100

struct acceptor;
struct event_base;

/* `fn` gets what is accepted, non-blocking and closed on exec, and has it from there on. The listener stays the caller's. */
int acceptor_new(struct acceptor **out, struct event_base *base, int listener_fd, void (*fn)(void *arg, int fd), void *arg);
void acceptor_free(struct acceptor **acceptor);

/* Nothing is accepted until it is resumed: who connects waits. */
void acceptor_pause(struct acceptor *acceptor);
void acceptor_resume(struct acceptor *acceptor);

/* accept() failed with `error` and would again: the connection is still there. For those that accept by themselves. */
bool accept_is_short(int error);

#endif
