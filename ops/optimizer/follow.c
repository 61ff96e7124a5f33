/* SPDX-License-Identifier: Apache-2.0 */
/* Without a gradient: none, average, assign, accumulate. They act after all other updates of a step. */
#include "optimizer/attrs.h"
#include "optimizer/optimizer.h"

#define KERNEL(name) offsetof(struct optimizer_steps, name)

static int none_step(const struct flow_update *u) {
    (void)u;
    return FLOW_OK;
}

const struct flow_optimizer none_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .flags = FLOW_OPTIMIZER_NO_GRADIENT,
    .name = "none",
    .summary = "leaves its parameters as they are",
    .equation = "w = w",
    .reference = "elementary",
    .example = "{params: \"teacher.*\", optimizer: none}",
    .step = none_step,
};

/* Values have the parameters' shapes and types, or nothing is written. */
static int check(const struct flow_update *u) {
    const struct flow_host *host = u->call->host;
    for (uint32_t i = 0; i < u->count; i++) {
        const struct flow_tensor *w = &u->param[i], *value = &u->value[i];
        bool same = w->rank == value->rank;
        for (int32_t a = 0; same && a < w->rank; a++) same = w->shape[a] == value->shape[a];
        if (!same) return host->fail(u->call->owner, FLOW_ERROR_SHAPE, "parameter %u of the group and its value have other shapes", i + 1);
        if (w->dtype != value->dtype)
            return host->fail(u->call->owner, FLOW_ERROR_TYPE, "parameter %u of the group and its value have other types", i + 1);
    }
    return FLOW_OK;
}

static int follow(const struct flow_update *u, double rate) {
    int status = check(u);
    if (status < 0) return status;
    /* At rate 1 the very same bits. */
    return optimizer_spread(u, &(struct optimizer_pass){rate == 1 ? KERNEL(copy) : KERNEL(follow), 0, u->value, &rate});
}

/* ---- average ---- */

static const struct flow_attr average_attrs[] = {
    FLOW_ATTR_PLAIN(struct average_attrs, of, "pattern of the parameters to follow; its `*` is the same text as in `params`",
                    FLOW_REQUIRED),
    FLOW_ATTR(struct average_attrs, rate, "share of the distance that a step makes up; 1: a copy", FLOW_REQUIRED, 0, 1),
};

static int average_step(const struct flow_update *u) { return follow(u, ((const struct average_attrs *)u->attrs)->rate); }

const struct flow_optimizer average_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .flags = FLOW_OPTIMIZER_NO_GRADIENT | FLOW_OPTIMIZER_OF,
    .name = "average",
    .summary = "follows other parameters, as they are after their update: an exponential average",
    .equation = "w += rate*(other - w)",
    .reference = "Polyak, Juditsky 1992; Lillicrap et al. 2016, \"Continuous control with deep reinforcement learning\" (target networks)",
    .example = "{params: \"teacher.*\", optimizer: average, with: {of: \"student.*\", rate: 0.01}}",
    .attrs = FLOW_TABLE(average_attrs),
    .attrs_size = sizeof(struct average_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = average_step,
};

/* ---- assign ---- */

static const struct flow_attr assign_attrs[] = {
    FLOW_ATTR_PLAIN(struct assign_attrs, value, "reference to a node's value of the parameter's shape", FLOW_REQUIRED),
    FLOW_ATTR(struct assign_attrs, rate, "share of the distance that a step makes up; 1: a copy", "1", 0, 1),
};

static int assign_step(const struct flow_update *u) { return follow(u, ((const struct assign_attrs *)u->attrs)->rate); }

const struct flow_optimizer assign_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .flags = FLOW_OPTIMIZER_NO_GRADIENT | FLOW_OPTIMIZER_VALUE,
    .name = "assign",
    .summary = "moves to a value that the graph computes (before the step's updates)",
    .equation = "w += rate*(value - w)",
    .reference = "elementary",
    .example = "{params: centre.weight, optimizer: assign, with: {value: mean, rate: 0.25}}",
    .attrs = FLOW_TABLE(assign_attrs),
    .attrs_size = sizeof(struct assign_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = assign_step,
};

/* ---- accumulate ---- */

struct accumulate_attrs {
    const char *value;
};

static const struct flow_attr accumulate_attrs[] = {
    FLOW_ATTR_PLAIN(struct accumulate_attrs, value, "reference to a node's value of the parameter's shape", FLOW_REQUIRED),
};

static int accumulate_step(const struct flow_update *u) {
    int status = check(u);
    if (status < 0) return status;
    return optimizer_spread(u, &(struct optimizer_pass){KERNEL(add), 0, u->value, NULL});
}

const struct flow_optimizer accumulate_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .flags = FLOW_OPTIMIZER_NO_GRADIENT | FLOW_OPTIMIZER_VALUE,
    .name = "accumulate",
    .summary = "adds a value that the graph computes (before the step's updates): sums over batches",
    .equation = "w += value",
    .reference = "elementary",
    .example = "{params: total.weight, optimizer: accumulate, with: {value: squares}}",
    .attrs = FLOW_TABLE(accumulate_attrs),
    .attrs_size = sizeof(struct accumulate_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = accumulate_step,
};
