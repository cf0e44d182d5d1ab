#include "candidates.h"

#include <math.h>
#include <string.h>

#include "mask.h"
#include "pieces.h"
#include "search.h"

void candidates_init(struct candidates *c, struct arena *arena, const struct kernels *kernels, size_t n_vocab)
{
    const size_t room = n_vocab + GROUP + LANES;
    *c = (struct candidates){.kernels = kernels};
    c->id = arena_take(arena, room, sizeof *c->id);
    c->logit = arena_take(arena, room, sizeof *c->logit);
    c->mass = arena_take(arena, room, sizeof *c->mass);
    c->block_end = arena_take(arena, block_count(room), sizeof *c->block_end);
    c->found_id = arena_take(arena, room, sizeof *c->found_id);
    c->found = arena_take(arena, room, sizeof *c->found);
    c->picked = arena_take(arena, room, sizeof *c->picked);
    cutoff_init(&c->scratch, arena, room);
}

/* --- gathering ------------------------------------------------------------------------------------------ */

/* Append the gathered tokens from `first` to `end` - 1. */
static void append_gathered(struct candidates *c, size_t first, size_t end)
{
    const size_t n = end - first;
    const float *found = c->found + first;
    double *restrict logit = c->logit + c->count;
    memcpy(c->id + c->count, c->found_id + first, n * sizeof *c->id);
    for (size_t i = 0; i < n; i++) {
        logit[i] = (double)found[i];
    }
    c->count += n;
}

/* Merge the `n` tokens gathered from the row, none of which is adjusted, with the adjusted ones that are at
 * least `from` and below `below`. */
static void merge_adjusted(struct candidates *c, const struct adjusted_row *adjusted, size_t n, double from,
                           double below)
{
    const size_t n_picked = c->kernels->between(adjusted->logit, adjusted->count, from, below, c->picked);
    size_t merged = 0;
    c->count = 0;
    for (size_t j = 0; j < n_picked; j++) {
        const size_t picked = (size_t)c->picked[j];
        const size_t before = merged + first_from(c->found_id + merged, n - merged, adjusted->id[picked]);
        append_gathered(c, merged, before);
        merged = before;
        c->id[c->count] = adjusted->id[picked];
        c->logit[c->count++] = adjusted->logit[picked];
    }
    append_gathered(c, merged, n);
}

void candidates_gather(struct candidates *c, const struct adjusted_row *adjusted, float least)
{
    const size_t n = adjusted_gather(adjusted, least, c->found_id, c->found);
    merge_adjusted(c, adjusted, n, (double)least, INFINITY);
}

void candidates_gather_low(struct candidates *c, const struct adjusted_row *adjusted, float most, size_t n)
{
    merge_adjusted(c, adjusted, n, -INFINITY, nextafter((double)most, INFINITY));
}

/* Fill the last block up. */
static void pad(struct candidates *c)
{
    for (size_t i = c->count; i < block_count(c->count) * BLOCK; i++) {
        c->logit[i] = -INFINITY;
    }
}

void candidates_list(struct candidates *c, const struct adjusted_row *adjusted, const uint32_t *mask)
{
    const struct row *row = adjusted->row;
    c->count = row_drop_padding(row, c->id, c->kernels->list_ones(mask, mask_words(row->n), c->id));
    for (size_t i = 0, j = 0; i < c->count; i++) {
        const int32_t id = c->id[i];
        while (j < adjusted->count && adjusted->id[j] < id) {
            j++;
        }
        const bool is_adjusted = j < adjusted->count && adjusted->id[j] == id;
        c->logit[i] = is_adjusted ? adjusted->logit[j] : (double)row->logit[id];
    }
    pad(c);
}

/* --- masses --------------------------------------------------------------------------------------------- */

/* Add up the masses of each block, then the blocks in order. */
static void add_masses(struct candidates *c)
{
    c->total = 0.0;
    for (size_t block = 0; block < block_count(c->count); block++) {
        c->total += block_sum(c->mass + block * BLOCK);
        c->block_end[block] = c->total;
    }
}

void candidates_weigh(struct candidates *c, double max, double exp_scale)
{
    pad(c);
    c->kernels->masses(c->logit, block_count(c->count) * BLOCK, max, exp_scale, c->mass);
    add_masses(c);
}

/* Remove the mass of the entries from `first` to `end` - 1 that reach a logit. */
static void remove_mass(struct candidates *c, size_t first, size_t end, double logit)
{
    const double *logits = c->logit;
    double *restrict mass = c->mass;
    for (size_t i = first; i < end; i++) {
        mass[i] = logits[i] < logit ? mass[i] : 0.0;
    }
}

void candidates_remove_through(struct candidates *c, double logit, int32_t id)
{
    /* Of equal logits, the higher ids are worse. */
    const size_t after = first_from(c->id, c->count, id) + 1;
    remove_mass(c, 0, after, logit);
    remove_mass(c, after, c->count, nextafter(logit, INFINITY));
    add_masses(c);
}

double candidates_mass_before(const struct candidates *c, int32_t id)
{
    const size_t end = first_from(c->id, c->count, id), block = end / BLOCK;
    double sum = block > 0 ? c->block_end[block - 1] : 0.0;
    for (size_t i = block * BLOCK; i < end; i++) {
        sum += c->mass[i];
    }
    return sum;
}

/* --- filters: an entry stays where it is or moves forward, so none is overwritten too early ------------- */

static void move(struct candidates *c, size_t to, size_t from)
{
    c->id[to] = c->id[from];
    c->logit[to] = c->logit[from];
    c->mass[to] = c->mass[from];
}

static void finish_moving(struct candidates *c, size_t kept)
{
    c->count = kept;
    for (size_t i = kept; i < block_count(kept) * BLOCK; i++) {
        c->logit[i] = -INFINITY;
        c->mass[i] = 0.0;
    }
    add_masses(c);
}

void candidates_keep_heavier(struct candidates *c, double floor_mass)
{
    const size_t n = c->kernels->between(c->mass, c->count, floor_mass, INFINITY, c->picked);
    for (size_t i = 0; i < n; i++) {
        move(c, i, (size_t)c->picked[i]);
    }
    finish_moving(c, n);
}

void candidates_keep_through(struct candidates *c, double logit, int32_t id)
{
    const size_t n = c->kernels->between(c->logit, c->count, logit, INFINITY, c->picked);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        move(c, kept, (size_t)c->picked[i]);
        kept += !(c->logit[kept] == logit && c->id[kept] > id);
    }
    finish_moving(c, kept);
}

void candidates_keep_best(struct candidates *c, size_t k)
{
    if (k < c->count) {
        const struct cutoff cutoff =
            cutoff_find(&c->scratch, c->kernels, c->logit, NULL, c->count, 0.0, (double)k);
        candidates_keep_through(c, c->logit[cutoff.entry], c->id[cutoff.entry]);
    }
}

struct cutoff candidates_cutoff(struct candidates *c, double reached, double target)
{
    return cutoff_find(&c->scratch, c->kernels, c->logit, c->mass, c->count, reached, target);
}

/* --- the draw ------------------------------------------------------------------------------------------- */

/* step 8: draw from candidates */
int32_t candidates_draw(const struct candidates *c, double uniform)
{
    const double target = uniform * c->total;
    size_t block = first_beyond(c->block_end, block_count(c->count), target);
    size_t last = c->count; /* the end of the entries that are searched */
    if (block < block_count(c->count)) {
        last = (block + 1) * BLOCK < c->count ? (block + 1) * BLOCK : c->count;
        double reached = block > 0 ? c->block_end[block - 1] : 0.0;
        for (size_t i = block * BLOCK; i < last; i++) {
            reached += c->mass[i];
            if (reached > target) {
                return c->id[i];
            }
        }
    }
    /* Rounding: the target equals the total, or the block in order of its entries adds up to less than by
     * lanes. The last entry that has mass is drawn. */
    while (last > 1 && c->mass[last - 1] == 0.0) {
        last--;
    }
    return c->id[last - 1];
}
