/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon makes outside of its folder of pins, by the notes in its lock's file: taken away by the next one, or by weftctl uninstall. */
#ifndef WEFT_BASE_LEFTOVERS_H
#define WEFT_BASE_LEFTOVERS_H

#define NOTE_CONTROL "control" /* path of a control socket */
#define NOTE_CGROUP "cgroup"   /* folder of a cgroup that was made for sockets */

/* Removes the noted control sockets that nobody answers at, and the noted cgroups that nobody is in. The caller holds the lock. What can't be
 * removed is logged and left. */
void leftovers_clear(int lock_fd);

/* One control socket, or one cgroup. 0 also when it is not there, or in use. */
int leftovers_remove_socket(const char *path);
int leftovers_remove_cgroup(const char *path);

#endif
