/* SPDX-License-Identifier: Apache-2.0 */
/* Gradient descent without and with moments: sgd, adam, adamw, rmsprop, adagrad. t counts from 1; the schedule multiplies lr. */
#include "optimizer/attrs.h"
#include "optimizer/optimizer.h"

#include <math.h>

#define ALMOST_ONE 0.9999999 /* largest decay: at 1 nothing would ever be forgotten, and the correction would divide by 0 */

#define KERNEL(name) offsetof(struct optimizer_steps, name)

/* ---- sgd ---- */

static const struct flow_attr sgd_attrs[] = {
    FLOW_ATTR(struct sgd_attrs, lr, "step length", FLOW_REQUIRED, 0, FLOW_NO_MAX),
    FLOW_ATTR(struct sgd_attrs, momentum, "share of the last step that is kept; 0: no state", "0", 0, 1),
    FLOW_ATTR_PLAIN(struct sgd_attrs, nesterov, "look ahead by the momentum", "false"),
    FLOW_ATTR(struct sgd_attrs, weight_decay, "times w, added to the gradient", "0", 0, FLOW_NO_MAX),
};
static const struct flow_state sgd_states[] = {
    {"m", "momentum, from the first gradient on; only where `momentum` is not 0", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};

static uint64_t sgd_uses(const void *attrs) { return ((const struct sgd_attrs *)attrs)->momentum != 0; }

static int sgd_step(const struct flow_update *u) {
    const struct sgd_attrs *a = u->attrs;
    const double constant[] = {u->scale,    a->lr * u->rate,       a->weight_decay,
                               a->momentum, a->nesterov ? 1.0 : 0, a->nesterov ? a->momentum : 1.0};
    const bool moves = a->momentum != 0;
    const struct optimizer_pass pass = {moves ? KERNEL(sgd_momentum) : KERNEL(sgd), moves, u->grad, constant};
    return optimizer_spread(u, &pass);
}

const struct flow_optimizer sgd_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "sgd",
    .summary = "gradient descent, with momentum",
    .equation = "g += weight_decay*w;  m = momentum*m + g (m starts at the first g);  w -= lr*(nesterov ? g + momentum*m : m)",
    .reference = "Sutskever et al. 2013, \"On the importance of initialization and momentum in deep learning\"",
    .example = "{params: \"*\", optimizer: sgd, with: {lr: 0.1, momentum: 0.9}}",
    .states = FLOW_TABLE(sgd_states),
    .attrs = FLOW_TABLE(sgd_attrs),
    .attrs_size = sizeof(struct sgd_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = sgd_step,
    .uses = sgd_uses,
};

/* ---- adam, adamw ---- */

#define ADAM_ATTRS(decay, meaning)                                                                                        \
    FLOW_ATTR(struct adam_attrs, lr, "step length", "0.001", 0, FLOW_NO_MAX),                                             \
        FLOW_ATTR(struct adam_attrs, beta1, "how much of the mean of gradients is kept at a step", "0.9", 0, ALMOST_ONE), \
        FLOW_ATTR(struct adam_attrs, beta2, "how much of the mean of squared gradients is kept", "0.999", 0, ALMOST_ONE), \
        FLOW_ATTR(struct adam_attrs, eps, "added to the root, so that it may be 0", "1e-8", 0, FLOW_NO_MAX),              \
        FLOW_ATTR(struct adam_attrs, weight_decay, meaning, decay, 0, FLOW_NO_MAX),
static const struct flow_attr adam_attrs[] = {ADAM_ATTRS("0", "times w, added to the gradient")};
static const struct flow_attr adamw_attrs[] = {ADAM_ATTRS("0.01", "times lr: share of w that each step takes away")};
static const struct flow_state adam_states[] = {
    {"m", "mean of gradients, not corrected", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"v", "mean of squared gradients, not corrected", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};

static int moments_step(const struct flow_update *u, double added, double keep) {
    const struct adam_attrs *a = u->attrs;
    const double t = (double)u->step + 1, lr = a->lr * u->rate;
    const double correct1 = 1 - pow(a->beta1, t), correct2 = 1 - pow(a->beta2, t);
    const double constant[] = {u->scale,     added, a->beta1,      1 - a->beta1,       a->beta2,
                               1 - a->beta2, keep,  lr / correct1, 1 / sqrt(correct2), a->eps};
    return optimizer_spread(u, &(struct optimizer_pass){KERNEL(adam), 2, u->grad, constant});
}

static int adam_step(const struct flow_update *u) { return moments_step(u, ((const struct adam_attrs *)u->attrs)->weight_decay, 1); }

static int adamw_step(const struct flow_update *u) {
    const struct adam_attrs *a = u->attrs;
    return moments_step(u, 0, 1 - a->lr * u->rate * a->weight_decay);
}

const struct flow_optimizer adam_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "adam",
    .summary = "steps of about lr in each parameter: the mean of gradients over the root of the mean of their squares",
    .equation = "g += weight_decay*w;  m = beta1*m + (1 - beta1)*g;  v = beta2*v + (1 - beta2)*g^2;\n"
                "w -= lr * m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps)",
    .reference = "Kingma, Ba 2015, \"Adam: a method for stochastic optimization\", algorithm 1",
    .example = "{params: \"*\", optimizer: adam, with: {lr: 0.003}}",
    .states = FLOW_TABLE(adam_states),
    .attrs = FLOW_TABLE(adam_attrs),
    .attrs_size = sizeof(struct adam_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = adam_step,
};

const struct flow_optimizer adamw_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "adamw",
    .summary = "adam whose weight decay is apart from the gradient",
    .equation = "w *= 1 - lr*weight_decay;  then as adam with weight_decay 0",
    .reference = "Loshchilov, Hutter 2019, \"Decoupled weight decay regularization\", algorithm 2",
    .example = "{params: \"*\", optimizer: adamw, with: {lr: 0.003, weight_decay: 0.1}}",
    .states = FLOW_TABLE(adam_states),
    .attrs = FLOW_TABLE(adamw_attrs),
    .attrs_size = sizeof(struct adam_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = adamw_step,
};

/* ---- rmsprop ---- */

static const struct flow_attr rmsprop_attrs[] = {
    FLOW_ATTR(struct rmsprop_attrs, lr, "step length", "0.01", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct rmsprop_attrs, alpha, "how much of the mean of squared gradients is kept at a step", "0.99", 0, 1),
    FLOW_ATTR(struct rmsprop_attrs, eps, "added to the root, so that it may be 0", "1e-8", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct rmsprop_attrs, momentum, "share of the last step that is kept; 0: no state for it", "0", 0, 1),
};
static const struct flow_state rmsprop_states[] = {
    {"v", "mean of squared gradients", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
    {"m", "momentum of steps; only where `momentum` is not 0", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0},
};

static uint64_t rmsprop_uses(const void *attrs) { return ((const struct rmsprop_attrs *)attrs)->momentum != 0 ? 3 : 1; }

static int rmsprop_step(const struct flow_update *u) {
    const struct rmsprop_attrs *a = u->attrs;
    const double constant[] = {u->scale, a->lr * u->rate, a->alpha, 1 - a->alpha, a->eps, a->momentum};
    const bool moves = a->momentum != 0;
    const struct optimizer_pass pass = {moves ? KERNEL(rmsprop_momentum) : KERNEL(rmsprop), moves ? 2 : 1, u->grad, constant};
    return optimizer_spread(u, &pass);
}

const struct flow_optimizer rmsprop_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "rmsprop",
    .summary = "the gradient over the root of the mean of its squares",
    .equation = "v = alpha*v + (1 - alpha)*g^2;  m = momentum*m + g/(sqrt(v) + eps);  w -= lr*m",
    .reference = "Tieleman, Hinton 2012, lecture 6.5 of \"Neural networks for machine learning\"",
    .example = "{params: \"*\", optimizer: rmsprop, with: {lr: 0.001}}",
    .states = FLOW_TABLE(rmsprop_states),
    .attrs = FLOW_TABLE(rmsprop_attrs),
    .attrs_size = sizeof(struct rmsprop_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = rmsprop_step,
    .uses = rmsprop_uses,
};

/* ---- adagrad ---- */

static const struct flow_attr adagrad_attrs[] = {
    FLOW_ATTR(struct adagrad_attrs, lr, "step length", "0.01", 0, FLOW_NO_MAX),
    FLOW_ATTR(struct adagrad_attrs, eps, "added to the root, so that it may be 0", "1e-10", 0, FLOW_NO_MAX),
};
static const struct flow_state adagrad_states[] = {{"v", "sum of squared gradients", NULL, "zeros", FLOW_TYPES_FLOAT, 0, 0, 0}};

static int adagrad_step(const struct flow_update *u) {
    const struct adagrad_attrs *a = u->attrs;
    const double constant[] = {u->scale, a->lr * u->rate, a->eps};
    return optimizer_spread(u, &(struct optimizer_pass){KERNEL(adagrad), 1, u->grad, constant});
}

const struct flow_optimizer adagrad_optimizer = {
    .size = sizeof(struct flow_optimizer),
    .name = "adagrad",
    .summary = "the gradient over the root of the sum of all its squares so far",
    .equation = "v += g^2;  w -= lr*g/(sqrt(v) + eps)",
    .reference = "Duchi, Hazan, Singer 2011, \"Adaptive subgradient methods for online learning and stochastic optimization\"",
    .example = "{params: \"*\", optimizer: adagrad, with: {lr: 0.05}}",
    .states = FLOW_TABLE(adagrad_states),
    .attrs = FLOW_TABLE(adagrad_attrs),
    .attrs_size = sizeof(struct adagrad_attrs),
    .accepts = optimizer_accepts,
    .workspace = optimizer_spread_workspace,
    .step = adagrad_step,
};
