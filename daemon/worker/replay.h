/* SPDX-License-Identifier: Apache-2.0 */
/* A recorded ADS stream through the state machine and the compiler, without a kernel: what `weftd --replay DIR` prints. */
#ifndef WEFT_WORKER_REPLAY_H
#define WEFT_WORKER_REPLAY_H

#include <stdio.h>

/* `folder` holds the responses of one state-of-the-world stream in their order, as NNN-resp-TYPE.pb or .pb.gz: serialized DiscoveryResponses. A
 * file timeline.tsv, where there is one, says when each came (milliseconds, name). After each: how it is answered, what serves and what waits, the
 * verdicts; of both only what is new. 0, or -errno with a line about it. */
int replay_folder(FILE *stream, const char *folder);

#endif
