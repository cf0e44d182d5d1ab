/* Threads that share the rows of a batch with the caller. Between runs they look for work for some
 * microseconds, then sleep. */
#ifndef NUCLEUS_CREW_H
#define NUCLEUS_CREW_H

#include <stddef.h>

struct crew;

typedef void crew_task(void *context, size_t member, size_t number);

/* A crew of `members`, of which the caller of crew_run() is number 0; NULL without memory or threads. */
struct crew *crew_new(size_t members);
void crew_free(struct crew *crew);

/* Run task(context, member, number) for every number below `tasks` (less than 2^31), and return when all are
 * done. The caller works too and never waits for a member that has not started yet: one that wakes late finds
 * nothing left, and after a fork, when there are no other threads, the caller does it all. */
void crew_run(struct crew *crew, crew_task *task, void *context, size_t tasks);

#endif
