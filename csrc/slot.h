/* What the sampler knows of one choice: its parameters, written once, and the tokens it has seen. */
#ifndef NUCLEUS_SLOT_H
#define NUCLEUS_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct params {
    double temperature;        /* finite, >= 0; 0 = argmax */
    double top_p;              /* (0, 1]; 1 = off */
    double min_p;              /* [0, 1]; 0 = off */
    double presence_penalty;   /* finite */
    double frequency_penalty;  /* finite */
    double repetition_penalty; /* finite, > 0; 1 = off */
    uint64_t seed;
    uint32_t rng_stream;  /* index of the choice */
    int32_t top_k;    /* >= 0; 0 = off */
    int32_t logprobs; /* -1 = none, 0 = the drawn token's, k = k alternatives besides */
};

/* A token whose logit a slot changes: one that has a bias or, where there are penalties, was seen. */
struct adjustment {
    int32_t id;
    int32_t times; /* how often it was generated; 0 = in the prompt only, NOT_SEEN = it has a bias only */
    double bias;   /* finite or -inf */
    double penalty;  /* what presence and frequency penalty take: finite */
};

enum { NOT_SEEN = -1 };

struct slot {
    bool open;
    struct params params;
    /* In ascending order of id. With penalties there is room for the whole vocabulary from the start, so that
     * counting never needs memory; what is not used is never touched, and so hardly costs any. */
    struct adjustment *adjustments;
    size_t n_adjustments;
    uint64_t position; /* tokens generated so far */
};

/* Whether the parameters are in the ranges above: no other number may reach the kernels. */
bool params_valid(const struct params *params);

/* What a choice starts from. Arrays are copied. */
struct slot_start {
    const int32_t *bias_id; /* [n_bias], ascending */
    const double *bias;
    size_t n_bias;
    const int32_t *prompt; /* [n_prompt] */
    size_t n_prompt;
    const int32_t *generated; /* [n_generated]: the choice goes on behind them */
    size_t n_generated;
};

/* Make `slot` an open slot. False, and nothing kept, without memory. */
bool slot_init(struct slot *slot, size_t n_vocab, const struct params *params, const struct slot_start *start);

/* Release what the slot owns and close it. A zeroed slot is a closed slot. */
void slot_clear(struct slot *slot);

/* Count a generated token and move to the next position. */
void slot_advance(struct slot *slot, int32_t token);

/* The logits of the adjusted tokens, in float64: the row's, and what bias and penalties make of them, finite
 * or -inf. */
void slot_adjust(const struct slot *slot, const float *row, double *raw, double *logit);

/* Whether the two slots turn a row of logits into the same distribution, whatever their seeds. */
bool slot_same_distribution(const struct slot *a, const struct slot *b);

#endif
