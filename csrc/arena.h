/* Arrays that live and die together.
 *
 * Each array is an allocation of its own, so that a sanitized build notices a step over the end of any of
 * them. A failure is remembered: an init function takes all its arrays and does not check each. */
#ifndef NUCLEUS_ARENA_H
#define NUCLEUS_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct arena_array {
    struct arena_array *next;
    max_align_t entries[];
};

/* A zeroed arena is an empty one. */
struct arena {
    struct arena_array *arrays;
    bool failed; /* an array is missing: use none of them */
};

/* Return an array of n zeroed entries; NULL, and the arena has failed, without memory. Pages of a large array
 * cost nothing until they are touched. */
static inline void *arena_take(struct arena *arena, size_t n, size_t entry_size)
{
    struct arena_array *array = NULL;
    if (n <= (SIZE_MAX - sizeof *array) / entry_size) {
        array = calloc(1, sizeof *array + n * entry_size);
    }
    if (array == NULL) {
        arena->failed = true;
        return NULL;
    }
    array->next = arena->arrays;
    arena->arrays = array;
    return array->entries;
}

static inline void arena_free(struct arena *arena)
{
    while (arena->arrays != NULL) {
        struct arena_array *next = arena->arrays->next;
        free(arena->arrays);
        arena->arrays = next;
    }
}

#endif
