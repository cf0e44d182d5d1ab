#include "crew.h"

#include <stdlib.h>

#ifdef _WIN32 /* no pthreads: the caller works alone */

struct crew *crew_new(size_t members)
{
    (void)members;
    return calloc(1, 1);
}

void crew_free(struct crew *crew)
{
    free(crew);
}

void crew_run(struct crew *crew, crew_task *task, void *context, size_t tasks)
{
    (void)crew;
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

struct member {
    struct crew *crew;
    size_t number;
    pthread_t thread;
};

struct crew {
    crew_task *task; /* these two are written before the tickets that allow reading them */
    void *context;
    atomic_uint_least64_t tickets; /* number of tasks, then of tickets taken, in 32 bits each */
    atomic_size_t active;          /* members that may be at work, the caller aside */
    atomic_size_t asleep;
    atomic_bool over;
    pthread_mutex_t lock; /* to go to sleep, and to wake */
    pthread_cond_t work, idle;
    pid_t process; /* a child of it has none of the members */
    size_t started;
    struct member members[];
};

/* --- waiting: looking for some microseconds, since waking takes longer than most tasks; then asleep ------- */

enum { LOOKS = 2000 };

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool has_work(struct crew *crew)
{
    const uint64_t tickets = atomic_load(&crew->tickets);
    return (uint32_t)tickets < tickets >> 32 || atomic_load(&crew->over);
}

static bool is_idle(struct crew *crew)
{
    return atomic_load(&crew->active) == 0;
}

static void wait_until(struct crew *crew, bool (*holds)(struct crew *), pthread_cond_t *changed)
{
    for (int look = 0; look < LOOKS; look++) {
        if (holds(crew)) {
            return;
        }
        pause_briefly();
    }
    pthread_mutex_lock(&crew->lock);
    atomic_fetch_add(&crew->asleep, 1); /* before looking again: who changes it looks at this afterwards */
    while (!holds(crew)) {
        pthread_cond_wait(changed, &crew->lock);
    }
    atomic_fetch_sub(&crew->asleep, 1);
    pthread_mutex_unlock(&crew->lock);
}

static void wake(struct crew *crew, pthread_cond_t *changed)
{
    if (atomic_load(&crew->asleep) > 0) {
        pthread_mutex_lock(&crew->lock);
        pthread_cond_broadcast(changed);
        pthread_mutex_unlock(&crew->lock);
    }
}

/* --- work ----------------------------------------------------------------------------------------------- */

/* A ticket says how many tasks there are as well, so one that was taken too late is never mistaken for one of
 * the next run. */
static void work(struct crew *crew, size_t member)
{
    for (;;) {
        const uint64_t ticket = atomic_fetch_add(&crew->tickets, 1);
        if ((uint32_t)ticket >= ticket >> 32) {
            return;
        }
        crew->task(crew->context, member, (uint32_t)ticket);
    }
}

static void *run_member(void *argument)
{
    const struct member *self = argument;
    struct crew *crew = self->crew;
    for (;;) {
        wait_until(crew, has_work, &crew->work);
        if (atomic_load(&crew->over)) {
            return NULL;
        }
        atomic_fetch_add(&crew->active, 1);
        work(crew, self->number);
        if (atomic_fetch_sub(&crew->active, 1) == 1) {
            wake(crew, &crew->idle);
        }
    }
}

struct crew *crew_new(size_t members)
{
    struct crew *crew = calloc(1, sizeof *crew + members * sizeof crew->members[0]);
    if (crew == NULL) {
        return NULL;
    }
    crew->process = getpid();
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_cond_init(&crew->idle, NULL);
    for (size_t i = 1; i < members; i++) {
        struct member *member = &crew->members[i];
        *member = (struct member){.crew = crew, .number = i};
        if (pthread_create(&member->thread, NULL, run_member, member) != 0) {
            crew_free(crew);
            return NULL;
        }
        crew->started = i;
    }
    return crew;
}

void crew_free(struct crew *crew)
{
    if (crew != NULL && crew->process == getpid()) {
        atomic_store(&crew->over, true);
        wake(crew, &crew->work);
        for (size_t i = 1; i <= crew->started; i++) {
            pthread_join(crew->members[i].thread, NULL);
        }
        pthread_cond_destroy(&crew->idle);
        pthread_cond_destroy(&crew->work);
        pthread_mutex_destroy(&crew->lock);
    }
    free(crew);
}

void crew_run(struct crew *crew, crew_task *task, void *context, size_t tasks)
{
    crew->task = task;
    crew->context = context;
    atomic_store(&crew->tickets, (uint64_t)tasks << 32);
    const bool alone = crew->process != getpid();
    if (!alone) {
        wake(crew, &crew->work);
    }
    work(crew, 0);
    if (!alone) {
        wait_until(crew, is_idle, &crew->idle);
    }
}

#endif
