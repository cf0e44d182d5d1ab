#include "thread_pool.h"

#include <stdlib.h>

#ifdef _WIN32 /* no pthreads: the caller works alone */

struct thread_pool *thread_pool_new(size_t workers)
{
    (void)workers;
    return calloc(1, 1);
}

void thread_pool_free(struct thread_pool *pool)
{
    free(pool);
}

void thread_pool_run(struct thread_pool *pool, thread_pool_task *task, void *context, size_t tasks)
{
    (void)pool;
    for (size_t i = 0; i < tasks; i++) {
        task(context, 0, i);
    }
}

#else

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

struct worker {
    struct thread_pool *pool;
    size_t number;
    pthread_t thread;
};

struct thread_pool {
    thread_pool_task *task; /* these two are written before the tickets that allow reading them */
    void *context;
    atomic_uint_least64_t tickets; /* high 32 bits: number of tasks; low: tickets handed out */
    atomic_size_t active;          /* workers that may have a task, without the caller */
    atomic_size_t asleep;
    atomic_bool over;
    pthread_mutex_t lock; /* to go to sleep, and to wake */
    pthread_cond_t work, idle;
    pid_t process; /* a forked child has no workers */
    size_t started;
    struct worker workers[];
};

/* --- waiting: looking for some microseconds, since waking takes longer than most tasks; then asleep ----- */

enum { LOOKS = 2000 };

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool has_work(struct thread_pool *pool)
{
    const uint64_t tickets = atomic_load(&pool->tickets);
    return (uint32_t)tickets < tickets >> 32 || atomic_load(&pool->over);
}

static bool is_idle(struct thread_pool *pool)
{
    return atomic_load(&pool->active) == 0;
}

static void wait_until(struct thread_pool *pool, bool (*holds)(struct thread_pool *), pthread_cond_t *changed)
{
    for (int look = 0; look < LOOKS; look++) {
        if (holds(pool)) {
            return;
        }
        pause_briefly();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->asleep, 1); /* before the next check: wake() reads this after a change */
    while (!holds(pool)) {
        pthread_cond_wait(changed, &pool->lock);
    }
    atomic_fetch_sub(&pool->asleep, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void wake(struct thread_pool *pool, pthread_cond_t *changed)
{
    if (atomic_load(&pool->asleep) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(changed);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* --- work ----------------------------------------------------------------------------------------------- */

/* Run tasks while there are tickets. A ticket also holds the number of tasks of its run, so a late one is
 * never taken for one of the next run. */
static void work(struct thread_pool *pool, size_t worker)
{
    for (;;) {
        const uint64_t ticket = atomic_fetch_add(&pool->tickets, 1);
        if ((uint32_t)ticket >= ticket >> 32) {
            return;
        }
        pool->task(pool->context, worker, (uint32_t)ticket);
    }
}

static void *run_worker(void *argument)
{
    const struct worker *self = argument;
    struct thread_pool *pool = self->pool;
    for (;;) {
        wait_until(pool, has_work, &pool->work);
        if (atomic_load(&pool->over)) {
            return NULL;
        }
        atomic_fetch_add(&pool->active, 1);
        work(pool, self->number);
        if (atomic_fetch_sub(&pool->active, 1) == 1) {
            wake(pool, &pool->idle);
        }
    }
}

struct thread_pool *thread_pool_new(size_t workers)
{
    struct thread_pool *pool = calloc(1, sizeof *pool + workers * sizeof pool->workers[0]);
    if (pool == NULL) {
        return NULL;
    }
    pool->process = getpid();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    for (size_t i = 1; i < workers; i++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .number = i};
        if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0) {
            thread_pool_free(pool);
            return NULL;
        }
        pool->started = i;
    }
    return pool;
}

void thread_pool_free(struct thread_pool *pool)
{
    if (pool != NULL && pool->process == getpid()) {
        atomic_store(&pool->over, true);
        wake(pool, &pool->work);
        for (size_t i = 1; i <= pool->started; i++) {
            pthread_join(pool->workers[i].thread, NULL);
        }
        pthread_cond_destroy(&pool->idle);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->lock);
    }
    free(pool);
}

void thread_pool_run(struct thread_pool *pool, thread_pool_task *task, void *context, size_t tasks)
{
    pool->task = task;
    pool->context = context;
    atomic_store(&pool->tickets, (uint64_t)tasks << 32);
    const bool alone = pool->process != getpid();
    if (!alone) {
        wake(pool, &pool->work);
    }
    work(pool, 0);
    if (!alone) {
        wait_until(pool, is_idle, &pool->idle);
    }
}

#endif
