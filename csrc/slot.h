/* What the sampler knows of one choice: its parameters, written once, and the tokens it has seen. */
#ifndef NUCLEUS_SLOT_H
#define NUCLEUS_SLOT_H

#include <float.h>
#include <math.h>
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
    uint32_t stream;  /* index of the choice */
    int32_t top_k;    /* >= 0; 0 = off */
    int32_t logprobs; /* -1 = none, 0 = the drawn token's, k = k alternatives besides */
};

/* Tokens seen, in ascending order of id, and how often each was generated (0: in the prompt only). There is
 * room for the whole vocabulary from the start, so that counting never needs memory; what is not used is
 * never touched, and so hardly costs any. */
struct seen_tokens {
    int32_t *id;
    int32_t *times;
    size_t count;
};

struct slot {
    bool open;
    struct params params;
    int32_t *bias_id; /* [n_bias], ascending */
    double *bias;     /* finite or -inf */
    size_t n_bias;
    struct seen_tokens seen;
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

/* Whether the slot changes any logit. */
bool slot_adjusts(const struct slot *slot);

/* Extreme penalties may overflow; an infinity would turn the next step into NaN, the largest double does
 * not. */
static inline double clamp_finite(double x)
{
    return x > DBL_MAX ? DBL_MAX : (x < -DBL_MAX ? -DBL_MAX : x);
}

/* A logit after the penalties of a token that was seen, and generated `times` times. */
static inline double slot_penalized(const struct params *p, double logit, int32_t times)
{
    if (logit == -INFINITY) {
        return logit; /* banned stays banned */
    }
    if (p->repetition_penalty != 1.0) {
        logit = clamp_finite(logit > 0.0 ? logit / p->repetition_penalty : logit * p->repetition_penalty);
    }
    const double taken = clamp_finite(times * p->frequency_penalty + p->presence_penalty);
    return times > 0 ? clamp_finite(logit - taken) : logit;
}

/* Whether the two slots turn a row of logits into the same distribution, whatever their seeds. */
bool slot_same_distribution(const struct slot *a, const struct slot *b);

#endif
