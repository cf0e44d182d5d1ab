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

struct member {
    struct crew *crew;
    size_t number;
    pthread_t thread;
};

struct crew {
    pthread_mutex_t lock; /* guards what is not atomic */
    pthread_cond_t work, idle;
    crew_task *task;
    void *context;
    size_t tasks;
    atomic_size_t next;
    size_t active; /* members at work, the caller aside */
    bool over;
    size_t started;
    struct member members[];
};

static void work(struct crew *crew, size_t member)
{
    for (size_t i; (i = atomic_fetch_add(&crew->next, 1)) < crew->tasks;) {
        crew->task(crew->context, member, i);
    }
}

static void *run_member(void *argument)
{
    const struct member *self = argument;
    struct crew *crew = self->crew;
    pthread_mutex_lock(&crew->lock);
    while (!crew->over) {
        if (atomic_load(&crew->next) >= crew->tasks) {
            pthread_cond_wait(&crew->work, &crew->lock);
            continue;
        }
        crew->active++;
        pthread_mutex_unlock(&crew->lock);
        work(crew, self->number);
        pthread_mutex_lock(&crew->lock);
        if (--crew->active == 0) {
            pthread_cond_signal(&crew->idle);
        }
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

struct crew *crew_new(size_t members)
{
    struct crew *crew = calloc(1, sizeof *crew + members * sizeof crew->members[0]);
    if (crew == NULL) {
        return NULL;
    }
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
    if (crew == NULL) {
        return;
    }
    pthread_mutex_lock(&crew->lock);
    crew->over = true;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (size_t i = 1; i <= crew->started; i++) {
        pthread_join(crew->members[i].thread, NULL);
    }
    pthread_cond_destroy(&crew->idle);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

void crew_run(struct crew *crew, crew_task *task, void *context, size_t tasks)
{
    pthread_mutex_lock(&crew->lock);
    crew->task = task;
    crew->context = context;
    crew->tasks = tasks;
    atomic_store(&crew->next, 0);
    if (tasks > 1) {
        pthread_cond_broadcast(&crew->work);
    }
    pthread_mutex_unlock(&crew->lock);
    work(crew, 0);
    pthread_mutex_lock(&crew->lock);
    while (crew->active > 0) {
        pthread_cond_wait(&crew->idle, &crew->lock);
    }
    crew->tasks = 0;
    pthread_mutex_unlock(&crew->lock);
}

#endif
