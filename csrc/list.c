#include "list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search.h"

bool list_init(struct list *list, const struct kernels *kernels, size_t n_vocab)
{
    const size_t room = n_vocab + GROUP + LANES;
    *list = (struct list){.kernels = kernels};
    list->id = malloc(room * sizeof *list->id);
    list->logit = malloc(room * sizeof *list->logit);
    list->mass = malloc(room * sizeof *list->mass);
    list->block_end = malloc(block_count(room) * sizeof *list->block_end);
    list->found_id = malloc(room * sizeof *list->found_id);
    list->picked = malloc(room * sizeof *list->picked);
    list->found = malloc(room * sizeof *list->found);
    if (list->id == NULL || list->logit == NULL || list->mass == NULL || list->block_end == NULL ||
        list->found_id == NULL || list->picked == NULL || list->found == NULL ||
        !edge_space_init(&list->space, room)) {
        list_clear(list);
        return false;
    }
    return true;
}

void list_clear(struct list *list)
{
    free(list->id);
    free(list->logit);
    free(list->mass);
    free(list->block_end);
    free(list->found_id);
    free(list->picked);
    free(list->found);
    edge_space_clear(&list->space);
    *list = (struct list){0};
}

/* --- gathering ------------------------------------------------------------------------------------------ */

/* Append the gathered tokens first to end - 1. */
static void append_gathered(struct list *list, size_t first, size_t end)
{
    const size_t n = end - first;
    const float *found = list->found + first;
    double *restrict logit = list->logit + list->count;
    memcpy(list->id + list->count, list->found_id + first, n * sizeof *list->id);
    for (size_t i = 0; i < n; i++) {
        logit[i] = (double)found[i];
    }
    list->count += n;
}

/* Merge the `n` tokens gathered from the row, none of which is covered, with the covered ones that are at least
 * `from` and below `below`. */
static void lay_over(struct list *list, const struct overlay *overlay, size_t n, double from, double below)
{
    const size_t n_picked = list->kernels->between(overlay->logit, overlay->count, from, below, list->picked);
    size_t merged = 0;
    list->count = 0;
    for (size_t j = 0; j < n_picked; j++) {
        const size_t picked = (size_t)list->picked[j];
        const size_t before = merged + first_from(list->found_id + merged, n - merged, overlay->id[picked]);
        append_gathered(list, merged, before);
        merged = before;
        list->id[list->count] = overlay->id[picked];
        list->logit[list->count++] = overlay->logit[picked];
    }
    append_gathered(list, merged, n);
}

void list_gather(struct list *list, const struct overlay *overlay, float least)
{
    const size_t n = row_gather(overlay->row, least, overlay->cover, list->found_id, list->found);
    lay_over(list, overlay, n, (double)least, INFINITY);
}

void list_take_low(struct list *list, const struct overlay *overlay, float most, size_t n)
{
    lay_over(list, overlay, n, -INFINITY, nextafter((double)most, INFINITY));
}

/* --- masses --------------------------------------------------------------------------------------------- */

/* Add the masses up: block by block, and the blocks in order. */
static void add_masses(struct list *list)
{
    list->total = 0.0;
    for (size_t block = 0; block < block_count(list->count); block++) {
        list->total += block_sum(list->mass + block * BLOCK);
        list->block_end[block] = list->total;
    }
}

void list_weigh(struct list *list, double max, double per_nat)
{
    const size_t padded = block_count(list->count) * BLOCK;
    for (size_t i = list->count; i < padded; i++) {
        list->logit[i] = -INFINITY;
    }
    list->kernels->masses(list->logit, padded, max, per_nat, list->mass);
    add_masses(list);
}

/* Take the mass of the entries from first to end - 1 that reach a logit. */
static void take_mass(struct list *list, size_t first, size_t end, double logit)
{
    const double *logits = list->logit;
    double *restrict mass = list->mass;
    for (size_t i = first; i < end; i++) {
        mass[i] = logits[i] < logit ? mass[i] : 0.0;
    }
}

void list_weigh_beyond(struct list *list, double logit, int32_t id)
{
    /* Of equal logits, the higher ids are worse. */
    const size_t after = first_from(list->id, list->count, id) + 1;
    take_mass(list, 0, after, logit);
    take_mass(list, after, list->count, nextafter(logit, INFINITY));
    add_masses(list);
}

double list_mass_before(const struct list *list, int32_t id)
{
    const size_t end = first_from(list->id, list->count, id), block = end / BLOCK;
    double sum = block > 0 ? list->block_end[block - 1] : 0.0;
    for (size_t i = block * BLOCK; i < end; i++) {
        sum += list->mass[i];
    }
    return sum;
}

/* --- filters: an entry moves to where it is or before, so nothing is lost -------------------------------- */

static void move(struct list *list, size_t to, size_t from)
{
    list->id[to] = list->id[from];
    list->logit[to] = list->logit[from];
    list->mass[to] = list->mass[from];
}

static void finish_moving(struct list *list, size_t kept)
{
    list->count = kept;
    for (size_t i = kept; i < block_count(kept) * BLOCK; i++) {
        list->logit[i] = -INFINITY;
        list->mass[i] = 0.0;
    }
    add_masses(list);
}

void list_keep_heavier(struct list *list, double floor_mass)
{
    const size_t n = list->kernels->between(list->mass, list->count, floor_mass, INFINITY, list->picked);
    for (size_t i = 0; i < n; i++) {
        move(list, i, (size_t)list->picked[i]);
    }
    finish_moving(list, n);
}

void list_keep_through(struct list *list, double logit, int32_t id)
{
    const size_t n = list->kernels->between(list->logit, list->count, logit, INFINITY, list->picked);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        move(list, kept, (size_t)list->picked[i]);
        kept += !(list->logit[kept] == logit && list->id[kept] > id);
    }
    finish_moving(list, kept);
}

void list_keep_best(struct list *list, size_t k)
{
    if (k < list->count) {
        const struct edge edge = edge_find(&list->space, list->kernels, list->logit, NULL, list->count, 0.0, (double)k);
        list_keep_through(list, list->logit[edge.entry], list->id[edge.entry]);
    }
}

struct edge list_edge(struct list *list, double reached, double target)
{
    return edge_find(&list->space, list->kernels, list->logit, list->mass, list->count, reached, target);
}

/* --- the draw ------------------------------------------------------------------------------------------- */

int32_t list_draw(const struct list *list, double uniform)
{
    const double target = uniform * list->total;
    size_t block = first_beyond(list->block_end, block_count(list->count), target);
    size_t last = list->count; /* where no entry is reached, the last possible one before this is drawn */
    if (block < block_count(list->count)) {
        last = (block + 1) * BLOCK < list->count ? (block + 1) * BLOCK : list->count;
        double reached = block > 0 ? list->block_end[block - 1] : 0.0;
        for (size_t i = block * BLOCK; i < last; i++) {
            reached += list->mass[i];
            if (reached > target) {
                return list->id[i];
            }
        }
    }
    /* Rounding: the product came up to the total, or the block's sum in order stayed below its sum by
     * lanes. */
    while (last > 1 && list->mass[last - 1] == 0.0) {
        last--;
    }
    return list->id[last - 1];
}
