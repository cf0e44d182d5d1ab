/* Threads that share the rows of a batch with the caller. Between two batches a worker looks for work for
 * some microseconds, then it sleeps. */
#ifndef NUCLEUS_THREAD_POOL_H
#define NUCLEUS_THREAD_POOL_H

#include <stddef.h>

struct thread_pool;

typedef void thread_pool_task(void *context, size_t worker, size_t number);

/* Return a pool of `workers`; worker 0 is the caller of thread_pool_run(). NULL without memory or threads. */
struct thread_pool *thread_pool_new(size_t workers);
void thread_pool_free(struct thread_pool *pool);

/* Run task(context, worker, number) for every number below `tasks` (less than 2^31), and return when all are
 * done. The caller works too and never waits for a worker that has not started yet: a worker that wakes late
 * finds nothing left. After a fork there are no other threads, and the caller runs all tasks. */
void thread_pool_run(struct thread_pool *pool, thread_pool_task *task, void *context, size_t tasks);

#endif
