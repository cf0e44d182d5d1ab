#include "row.h"

#include <math.h>
#include <string.h>

/* Groups that are read together: 16 KiB of logits, which stay in the nearest cache between two passes. */
enum { PIECE_GROUPS = 16 };

static size_t piece_count(size_t n)
{
    const size_t whole = n / GROUP;
    return (whole + PIECE_GROUPS - 1) / PIECE_GROUPS + (n % GROUP != 0);
}

void row_init(struct row *row, struct arena *arena, const struct kernels *kernels, size_t n_vocab,
              int32_t max_top)
{
    const size_t groups = group_count(n_vocab), pieces = piece_count(n_vocab);
    const size_t tops = max_top > 0 ? (size_t)max_top : 1, near = n_vocab + GROUP + LANES;
    *row = (struct row){.kernels = kernels, .n = n_vocab, .groups = groups, .pieces = pieces};
    row->lane_max = arena_take(arena, groups * LANES, sizeof *row->lane_max);
    row->piece_max = arena_take(arena, pieces, sizeof *row->piece_max);
    row->piece_total = arena_take(arena, pieces, sizeof *row->piece_total);
    row->factor = arena_take(arena, pieces + LANES64, sizeof *row->factor);
    row->folded_max = arena_take(arena, (pieces + 1) * LANES, sizeof *row->folded_max);
    row->weights.group_mass = arena_take(arena, groups, sizeof *row->weights.group_mass);
    row->top_id = arena_take(arena, tops, sizeof *row->top_id);
    row->top_logit = arena_take(arena, tops, sizeof *row->top_logit);
    row->near_id = arena_take(arena, near, sizeof *row->near_id);
    row->near_logit = arena_take(arena, near, sizeof *row->near_logit);
}

const float *row_group(const struct row *row, size_t group)
{
    return (group + 1) * GROUP <= row->n ? row->logit + group * GROUP : row->tail;
}

/* --- pieces: PIECE_GROUPS whole groups each; the tail is a piece by itself ------------------------------ */

struct piece {
    size_t number, first, groups;
};

/* Move on to the next piece, the first one from a zeroed piece. Return false at the end of the row. */
static bool next_piece(const struct row *row, struct piece *piece)
{
    const size_t whole = row->n / GROUP, first = piece->first + piece->groups;
    if (first == row->groups) {
        return false;
    }
    const size_t left = first < whole ? whole - first : 1;
    piece->number += piece->groups > 0;
    piece->first = first;
    piece->groups = left < PIECE_GROUPS ? left : PIECE_GROUPS;
    return true;
}

/* --- sums ----------------------------------------------------------------------------------------------- */

/* Return a bound on the relative error of a float32 sum over the row: 2^-24 (3 ln(n / total) + 20).
 *
 * An exponent d / T has three roundings (the distance d, the factor, their product): 3 * 2^-24 of itself.
 * Over the row that adds 3 * 2^-24 * mean(|d| / T), the mean under the distribution. Its entropy is
 * H = mean(|d| / T) + ln(total), and H <= ln n, so the mean is at most ln(n / total).
 *
 * In units of 2^-24, the quadratic adds 7.2 to a mass, roundings add 3, and the additions 9. With the products
 * of errors, and with the end of the exponents at -126, that is less than 20. */
static double mass_error(size_t n, double total)
{
    return 0x1p-24 * (3.0 * log((double)n / total) + 20.0);
}

static bool fits_float32(double temperature)
{
    return temperature >= 1e-20 && temperature <= 1e20;
}

/* Find the factors that make the masses of pieces relative to the maximum of the row. */
static void find_factors(struct row *row, double temperature)
{
    double piece_max[LANES64];
    for (size_t from = 0; from < row->pieces; from += LANES64) {
        for (size_t k = 0; k < LANES64; k++) {
            piece_max[k] = from + k < row->pieces ? (double)row->piece_max[from + k] : -INFINITY;
        }
        row->kernels->masses(piece_max, LANES64, (double)row->max, exp_scale_at(temperature),
                             row->factor + from);
    }
}

static void finish_weights(struct row *row, double temperature)
{
    struct weights *w = &row->weights;
    w->temperature = temperature;
    w->total = 0.0;
    find_factors(row, temperature);
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        const double factor = row->factor[piece.number];
        for (size_t group = piece.first; group < piece.first + piece.groups; group++) {
            w->group_mass[group] *= factor;
            w->total += w->group_mass[group];
        }
    }
    w->error = fits_float32(temperature) ? w->total * mass_error(row->n, w->total) : INFINITY;
}

static void set_total(struct row *row, double total)
{
    row->total = total;
    row->log_total = log(total);
}

static void finish_total(struct row *row)
{
    double total = 0.0;
    find_factors(row, 1.0);
    for (size_t piece = 0; piece < row->pieces; piece++) {
        total += row->piece_total[piece] * row->factor[piece];
    }
    set_total(row, total);
}

/* Weigh a piece at a temperature (0: none), or for the total at temperature 1, or for both in one pass. */
static void weigh_piece(struct row *row, const struct piece *piece, double temperature, bool total)
{
    const struct kernels *kernels = row->kernels;
    const float *logit = row_group(row, piece->first), max = row->piece_max[piece->number];
    double *group_mass = row->weights.group_mass + piece->first;
    double *piece_total = &row->piece_total[piece->number];
    if (isinf(max)) { /* all logits are -inf, or one is +inf and the row will be refused */
        memset(group_mass, 0, piece->groups * sizeof *group_mass);
        *piece_total = 0.0;
    } else if (temperature == 0.0) {
        *piece_total = kernels->weigh(logit, piece->groups, max, weighing_at(1.0), NULL);
    } else if (!total || temperature == 1.0) {
        *piece_total = kernels->weigh(logit, piece->groups, max, weighing_at(temperature), group_mass);
    } else {
        kernels->weigh_twice(logit, piece->groups, max, weighing_at(temperature), group_mass,
                             weighing_at(1.0), piece_total);
    }
}

void row_need_weights(struct row *row, double temperature)
{
    if (row->weights.temperature == temperature) {
        return;
    }
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        weigh_piece(row, &piece, temperature, false);
    }
    finish_weights(row, temperature);
}

void row_need_total(struct row *row)
{
    if (row->total != 0.0) {
        return; /* a known total is at least 1: the maximum's own mass */
    }
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        weigh_piece(row, &piece, 0.0, true);
    }
    finish_total(row);
}

/* --- reading -------------------------------------------------------------------------------------------- */

static void copy_tail(struct row *row)
{
    const size_t whole = row->n / GROUP * GROUP, left = row->n - whole;
    if (left > 0) {
        memcpy(row->tail, row->logit + whole, left * sizeof *row->tail);
        for (size_t j = left; j < GROUP; j++) {
            row->tail[j] = -INFINITY;
        }
    }
}

static enum row_status status_of(float max, bool nan)
{
    if (nan) {
        return ROW_NAN_LOGIT;
    }
    if (max == INFINITY) {
        return ROW_INFINITE_LOGIT;
    }
    if (max == -INFINITY) {
        return ROW_NO_FINITE_LOGIT;
    }
    return ROW_OK;
}

void row_read(struct row *row, const float *logit, bool total, double temperature)
{
    bool nan = false;
    row->logit = logit;
    row->max = -INFINITY;
    row->total = row->weights.temperature = 0.0;
    row->top_count = 0;
    copy_tail(row);
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        const float max = row->kernels->scan(row_group(row, piece.first), piece.groups,
                                             row->lane_max + piece.first * LANES, &nan);
        row->piece_max[piece.number] = max;
        row->max = max > row->max ? max : row->max;
        if (total || temperature != 0.0) {
            weigh_piece(row, &piece, temperature, total);
        }
    }
    row->status = status_of(row->max, nan);
    if (row->status == ROW_OK && temperature != 0.0) {
        finish_weights(row, temperature);
    }
    if (row->status == ROW_OK && total) {
        finish_total(row);
    }
}

/* --- entries -------------------------------------------------------------------------------------------- */

/* Halve the interval between a logit that at least k of n maxima reach and one that fewer reach. Somewhat
 * more than k is no harm, and a few halvings cost less than the entries that they spare. */
static float raise_threshold(const struct kernels *kernels, const float *maxima, size_t n, size_t k,
                             float enough, float missed)
{
    for (int halvings = 0; halvings < 16 && enough < missed; halvings++) {
        const float middle = enough + (missed - enough) / 2.0f;
        const size_t count = kernels->count(maxima, n, middle);
        if (count < k) {
            missed = middle;
            continue;
        }
        enough = middle;
        if (count <= k + k / 4) {
            break;
        }
    }
    return enough;
}

float row_threshold(struct row *row, size_t k)
{
    const struct kernels *kernels = row->kernels;
    const float *maxima = row->folded_max;
    size_t n = kernels->fold(row->lane_max, row->groups, PIECE_GROUPS, row->folded_max);
    if (k > n / 4) { /* too many for the maxima of whole pieces, which are fewer and mostly enough */
        maxima = row->lane_max;
        n = row->groups * LANES;
    }
    float enough = row->max, missed = row->max, step = 1.0f;
    while (kernels->count(maxima, n, enough) < k) {
        missed = enough;
        enough = row->max - step;
        step *= 2.0f;
        if (enough == -INFINITY) {
            return -INFINITY;
        }
    }
    return raise_threshold(kernels, maxima, n, k, enough, missed);
}

/* Drop the entries behind the end of the row, which are the last. */
static size_t drop_padding(const struct row *row, const int32_t *id, size_t count)
{
    while (count > 0 && (size_t)id[count - 1] >= row->n) {
        count--;
    }
    return count;
}

size_t row_gather(const struct row *row, float least, const uint64_t *skip, int32_t *id, float *found)
{
    const size_t whole = row->n / GROUP;
    size_t n = row->kernels->gather(row->logit, whole, row->lane_max, least, skip, 0, id, found);
    if (whole < row->groups) {
        n += row->kernels->gather(row->tail, 1, row->lane_max + whole * LANES, least, skip,
                                  (int32_t)(whole * GROUP), id + n, found + n);
    }
    return drop_padding(row, id, n);
}

size_t row_weigh_exactly(const struct row *row, double origin, double exp_scale, double *group_mass, float most,
                         const uint64_t *skip, int32_t *id, float *found)
{
    size_t n = 0;
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        const float *logit = row_group(row, piece.first);
        if (group_mass != NULL) {
            row->kernels->weigh_exactly(logit, piece.groups, origin, exp_scale, group_mass + piece.first);
        }
        if (found != NULL) {
            n += row->kernels->gather_low(logit, piece.groups, most, skip, (int32_t)(piece.first * GROUP),
                                          id + n, found + n);
        }
    }
    return drop_padding(row, id, n);
}

/* Insert into the top k, which are in descending order, behind equal logits: ids come in ascending order. */
static void insert_top(struct row *row, int32_t k, int32_t id, float logit)
{
    if (row->top_count == k && logit <= row->top_logit[k - 1]) {
        return;
    }
    int32_t at = row->top_count < k ? row->top_count++ : k - 1;
    while (at > 0 && row->top_logit[at - 1] < logit) {
        row->top_id[at] = row->top_id[at - 1];
        row->top_logit[at] = row->top_logit[at - 1];
        at--;
    }
    row->top_id[at] = id;
    row->top_logit[at] = logit;
}

void row_need_top(struct row *row, int32_t k)
{
    if ((size_t)k > row->n) {
        k = (int32_t)row->n;
    }
    if (k <= row->top_count) {
        return;
    }
    const float least = row_threshold(row, (size_t)k);
    const size_t near = row_gather(row, least, NULL, row->near_id, row->near_logit);
    row->top_count = 0;
    for (size_t i = 0; i < near; i++) {
        insert_top(row, k, row->near_id[i], row->near_logit[i]);
    }
}

/* step 1: log-probabilities */
double row_logprob(const struct row *row, float logit)
{
    return ((double)logit - (double)row->max) - row->log_total;
}
