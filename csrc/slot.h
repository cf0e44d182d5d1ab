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
    uint32_t rng_stream; /* index of the choice among those that share the seed */
    int32_t top_k;       /* >= 0; 0 = off */
    int32_t logprobs;    /* -1 = none, 0 = the drawn token's, k = k alternatives besides */
};

/* What a slot does to the logit of one token: one that has a bias or, where there are penalties, was seen. */
struct adjustment {
    int32_t id;
    int32_t times; /* how often it was generated; 0 = in the prompt only, NOT_SEEN = it has a bias only */
    double bias;   /* finite or -inf */
    double penalty;  /* what presence and frequency penalty subtract: finite */
};

enum { NOT_SEEN = -1 };

struct slot {
    bool open;
    struct params params;
    /* In ascending order of id. With penalties there is room for the whole vocabulary from the start, so that
     * counting never allocates. Memory that is not used is never touched, and costs next to nothing. */
    struct adjustment *adjustments;
    size_t n_adjustments;
    uint64_t position; /* tokens generated so far */
};

/* Return true if the parameters are in the ranges above. No other number may reach the kernels. */
bool params_valid(const struct params *params);

/* What a choice starts from. Arrays are copied. */
struct slot_start {
    const int32_t *bias_id; /* [n_bias], ascending */
    const double *bias;
    size_t n_bias;
    const int32_t *prompt; /* [n_prompt] */
    size_t n_prompt;
    const int32_t *generated; /* [n_generated]: the choice continues after these */
    size_t n_generated;
};

/* Make `slot` an open slot. Return false, and keep nothing, without memory. */
bool slot_init(struct slot *slot, size_t n_vocab, const struct params *params, const struct slot_start *start);

/* Release what the slot owns and close it. A zeroed slot is a closed slot. */
void slot_clear(struct slot *slot);

/* Count a generated token and move to the next position. */
void slot_advance(struct slot *slot, int32_t token);

/* Write the logits of the adjusted tokens in float64: `raw` from the row, and `logit` after bias and
 * penalties, finite or -inf. */
void slot_adjust(const struct slot *slot, const float *row, double *raw, double *logit);

/* Return true if the two slots make the same distribution of any row. Seeds do not matter. */
bool slot_same_distribution(const struct slot *a, const struct slot *b);

#endif
