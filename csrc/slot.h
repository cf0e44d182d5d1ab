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
    uint32_t stream;  /* index of the choice */
    int32_t top_k;    /* >= 0; 0 = off */
    int32_t logprobs; /* -1 = none, 0 = the drawn token's, k = k alternatives besides */
};

/* Tokens seen and how often each was generated (0: in the prompt only): open addressing, grown at half
 * full, so memory follows the number of different tokens and not the vocabulary. */
struct seen_tokens {
    int32_t *id; /* [capacity], -1 = free */
    int32_t *count;
    size_t capacity; /* 0 or a power of two */
    size_t used;
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

/* Make `slot` an open slot with nothing seen. The bias lists are copied. False, and nothing kept, without
 * memory. */
bool slot_init(struct slot *slot, const struct params *params, const int32_t *bias_id, const double *bias,
               size_t n_bias);

/* Release what the slot owns and close it. A zeroed slot is a closed slot. */
void slot_clear(struct slot *slot);

/* Note `n` tokens of the prompt. False without memory. */
bool slot_note_prompt(struct slot *slot, const int32_t *tokens, size_t n);

/* Make sure that the next slot_advance() needs no memory. False without memory. */
bool slot_reserve(struct slot *slot);

/* Count a generated token and move to the next position; slot_reserve() came before. */
void slot_advance(struct slot *slot, int32_t token);

/* Whether tokens seen so far change the logits. */
bool slot_penalizes(const struct slot *slot);

/* Whether slot_adjust() would change anything. */
bool slot_adjusts(const struct slot *slot);

/* Add the bias to one row of logits, then apply the penalties. */
void slot_adjust(const struct slot *slot, double *logit);

/* Whether the two slots turn a row of logits into the same distribution, whatever their seeds. */
bool slot_same_distribution(const struct slot *a, const struct slot *b);

#endif
