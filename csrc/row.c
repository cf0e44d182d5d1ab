#include "row.h"

#include <math.h>
#include <string.h>

#include "pieces.h"

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
    row->packed.room = arena_take(arena, PIECE_GROUPS * GROUP + LANES, sizeof *row->packed.room);
    row->packed.entries = arena_take(arena, PIECE_GROUPS, sizeof *row->packed.entries);
    row->packed.used = arena_take(arena, PIECE_GROUPS, sizeof *row->packed.used);
}

/* --- masks ---------------------------------------------------------------------------------------------- */

/* Take a mask. In the tail, what lies behind the row counts as allowed: its logits are -inf. */
static void set_mask(struct row *row, const uint32_t *mask)
{
    const size_t whole = row->n / GROUP * GROUP, left = row->n - whole;
    row->mask = mask;
    for (size_t i = 0; i < GROUP / 32; i++) {
        const size_t used = left > 32 * i ? left - 32 * i : 0; /* of the bits from this word on */
        const uint32_t beyond = used < 32 ? UINT32_MAX << used : 0;
        row->tail_mask[i] = used > 0 ? mask[whole / 32 + i] | beyond : UINT32_MAX;
    }
}

static bool allows_all(const struct row *row, const struct piece *piece)
{
    const uint32_t *mask = group_mask(row, piece->first);
    uint32_t bits = UINT32_MAX;
    for (size_t i = 0; i < piece->groups * (GROUP / 32); i++) {
        bits &= mask[i];
    }
    return bits == UINT32_MAX;
}

static void pack_piece(struct row *row, const struct piece *piece)
{
    row->packed.lane_max = row->lane_max + piece->first * LANES;
    row->kernels->pack(row_group(row, piece->first), piece->groups, group_mask(row, piece->first),
                       &row->packed);
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

/* Weigh a piece that is packed. */
static void weigh_packed_piece(struct row *row, const struct piece *piece, double temperature)
{
    double *group_mass = row->weights.group_mass + piece->first;
    row->piece_max[piece->number] = row->packed.max;
    if (isinf(row->packed.max)) {
        memset(group_mass, 0, piece->groups * sizeof *group_mass);
        return;
    }
    const float *next = row_group(row, piece->first) + piece->groups * GROUP;
    row->kernels->weigh_packed(&row->packed, piece->groups, weighing_at(temperature), group_mass, next);
}

void row_need_weights(struct row *row, double temperature)
{
    if (row->weights.temperature == temperature) {
        return;
    }
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        if (row->mask == NULL) {
            weigh_piece(row, &piece, temperature, false);
        } else {
            pack_piece(row, &piece);
            weigh_packed_piece(row, &piece, temperature);
        }
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

static void begin(struct row *row, const float *logit)
{
    row->logit = logit;
    row->max = -INFINITY;
    row->total = row->weights.temperature = 0.0;
    row->folded = 0;
    row->top_count = 0;
    copy_tail(row);
}

static void scan_piece(struct row *row, const struct piece *piece, float *lane_max, bool *nan)
{
    const float max = row->kernels->scan(row_group(row, piece->first), piece->groups, lane_max, nan);
    row->piece_max[piece->number] = max;
    row->max = max > row->max ? max : row->max;
}

static void read_piece(struct row *row, const struct piece *piece, bool total, double temperature, bool *nan)
{
    scan_piece(row, piece, row->lane_max + piece->first * LANES, nan);
    if (total || temperature != 0.0) {
        weigh_piece(row, piece, temperature, total);
    }
}

static void finish(struct row *row, bool total, double temperature)
{
    if (row->status == ROW_OK && temperature != 0.0) {
        finish_weights(row, temperature);
    }
    if (row->status == ROW_OK && total) {
        finish_total(row);
    }
}

void row_read(struct row *row, const float *logit, bool total, double temperature)
{
    bool nan = false;
    begin(row, logit);
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        read_piece(row, &piece, total, temperature, &nan);
    }
    row->status = status_of(row->max, nan);
    finish(row, total, temperature);
}

void row_skim(struct row *row, const float *logit)
{
    bool nan = false;
    begin(row, logit);
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        scan_piece(row, &piece, row->packed.room, &nan); /* this place stays in the cache */
    }
    row->status = status_of(row->max, nan);
}

/* Take over what is known of a piece in which everything is allowed. */
static void copy_piece(struct row *masked, const struct row *row, const struct piece *piece)
{
    const size_t first = piece->first, groups = piece->groups;
    memcpy(masked->lane_max + first * LANES, row->lane_max + first * LANES,
           groups * LANES * sizeof *row->lane_max);
    memcpy(masked->weights.group_mass + first, row->weights.group_mass + first,
           groups * sizeof *row->weights.group_mass);
    masked->piece_max[piece->number] = row->piece_max[piece->number];
}

/* Scan a piece, pack what is allowed of it, and weigh all of it for the total at temperature 1. Without the
 * total, nobody asks for the maxima of the whole row, and those of what is packed take their place. */
static void scan_and_pack_piece(struct row *row, struct row *masked, const struct piece *piece, bool total,
                                bool *nan)
{
    const size_t first = piece->first * LANES;
    scan_piece(row, piece, total ? row->lane_max + first : masked->lane_max + first, nan);
    const float max = row->piece_max[piece->number];
    if (!total || isinf(max)) {
        row->piece_total[piece->number] = 0.0;
        pack_piece(masked, piece);
        return;
    }
    masked->packed.lane_max = masked->lane_max + first;
    row->piece_total[piece->number] =
        row->kernels->weigh_and_pack(row_group(row, piece->first), piece->groups, max, weighing_at(1.0),
                                     group_mask(masked, piece->first), &masked->packed);
}

/* Read a piece in which everything is allowed. */
static void read_allowed_piece(struct row *row, struct row *masked, const struct piece *piece, bool total,
                               double temperature, bool *nan)
{
    if (total) {
        read_piece(row, piece, true, temperature, nan);
        copy_piece(masked, row, piece);
        return;
    }
    read_piece(masked, piece, false, temperature, nan);
    const float max = masked->piece_max[piece->number];
    row->max = max > row->max ? max : row->max;
}

void row_read_masked(struct row *row, struct row *masked, const uint32_t *mask, const float *logit,
                     bool total, double temperature)
{
    bool nan = false;
    begin(row, logit);
    begin(masked, logit);
    set_mask(masked, mask);
    for (struct piece piece = {0}; next_piece(row, &piece);) {
        if (allows_all(masked, &piece)) {
            read_allowed_piece(row, masked, &piece, total, temperature, &nan);
        } else {
            scan_and_pack_piece(row, masked, &piece, total, &nan);
            weigh_packed_piece(masked, &piece, temperature);
        }
        const float max = masked->piece_max[piece.number];
        masked->max = max > masked->max ? max : masked->max;
    }
    row->status = status_of(row->max, nan);
    masked->status = row->status == ROW_OK ? status_of(masked->max, false) : row->status;
    finish(row, total, 0.0);
    finish(masked, false, temperature);
}

/* step 1: log-probabilities */
double row_logprob(const struct row *row, float logit)
{
    return ((double)logit - (double)row->max) - row->log_total;
}
