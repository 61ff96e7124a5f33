/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two graphs on one pool of threads and one set of weights: the first tells a story, the second, the same network without the telling,
 * says how likely each of its words was. A program that serves many graphs is this one with more rows.
 *
 *     cc two.c $(pkg-config --cflags --libs flow) -lm -o two
 *     ./two stories260k.yaml logits.yaml
 */
#include <flow/flow.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 200, VOCABULARY = 512 };

static const struct flow_tensor *find_parameter(const flow_graph *graph, const char *wanted) {
    const char *name;
    const struct flow_tensor *value;
    for (size_t i = 0; (value = flow_graph_parameter(graph, i, &name)); i++)
        if (strcmp(name, wanted) == 0) return value;
    return NULL;
}

/* One token a run. What attention has seen stays in the session, and each run's `next` is the next one's input. */
static int tell(flow_session *teller, int64_t *tokens, flow_errors **errors) {
    tokens[0] = 1; /* where stories begin */
    struct flow_tensor first = flow_tensor_of(tokens, FLOW_I64, 2, (int64_t[]){1, 1});
    int rc = flow_session_input(teller, "tokens", &first, errors);
    if (rc == 0) rc = flow_session_feedback(teller, "tokens", "next", errors);
    for (int step = 1; rc == 0 && step < STEPS; step++) {
        rc = flow_session_run(teller, errors);
        if (rc < 0) break;
        tokens[step] = (int64_t)flow_tensor_real(flow_session_output(teller, "next"), 0);
        const struct flow_tensor *text = flow_session_output(teller, "text"); /* bytes */
        fwrite(text->data, 1, (size_t)flow_tensor_count(text), stdout);
        fflush(stdout);
    }
    printf("\n");
    return rc;
}

/* All tokens in one run, its result in memory of ours. */
static int judge(flow_session *judging, int64_t *tokens, flow_errors **errors) {
    static float logits[STEPS * VOCABULARY];
    struct flow_tensor all = flow_tensor_of(tokens, FLOW_I64, 2, (int64_t[]){1, STEPS});
    int rc = flow_session_input(judging, "tokens", &all, errors);
    if (rc == 0) rc = flow_session_bind_output(judging, "logits", logits, sizeof logits, errors);
    if (rc == 0) rc = flow_session_run(judging, errors);
    if (rc < 0) return rc;
    double bits = 0;
    for (int t = 0; t + 1 < STEPS; t++) {
        const float *row = logits + t * VOCABULARY;
        double most = row[0], sum = 0;
        for (int k = 1; k < VOCABULARY; k++) most = row[k] > most ? row[k] : most;
        for (int k = 0; k < VOCABULARY; k++) sum += exp(row[k] - most);
        bits += (log(sum) + most - row[tokens[t + 1]]) / log(2);
    }
    printf("%.2f bits a token\n", bits / (STEPS - 1));
    return 0;
}

int main(int count, char **words) {
    static int64_t tokens[STEPS];
    if (count != 3) {
        fprintf(stderr, "usage: two TELLING.yaml JUDGING.yaml\n");
        return 2;
    }
    flow_errors *errors = NULL;
    flow_runtime *runtime = NULL;
    flow_graph *telling = NULL, *judging = NULL;
    flow_session *teller = NULL, *judge_session = NULL;
    struct flow_session_options piecewise = {.size = sizeof piecewise, .stream = "T"};
    int rc = flow_runtime_new(NULL, &errors, &runtime); /* one runtime: one pool, however many graphs */
    if (rc == 0) rc = flow_graph_open(runtime, words[1], NULL, &errors, &telling);
    /* Parameters of the same name, shape and type are the first graph's; the two may be freed in any order. */
    struct flow_graph_options sharing = {.size = sizeof sharing, .share = telling};
    if (rc == 0) rc = flow_graph_open(runtime, words[2], &sharing, &errors, &judging);
    if (rc == 0) rc = flow_session_new(telling, &piecewise, &errors, &teller);
    if (rc == 0) rc = flow_session_new(judging, NULL, &errors, &judge_session);
    if (rc == 0) rc = tell(teller, tokens, &errors);
    if (rc == 0) rc = judge(judge_session, tokens, &errors);
    if (rc == 0) {
        const struct flow_tensor *one = find_parameter(telling, "embed.weight"), *other = find_parameter(judging, "embed.weight");
        bool shared = one && other && one->data == other->data;
        printf("%lld bytes of parameters, held %s\n", (long long)flow_session_memory(judge_session).params, shared ? "once" : "twice");
    }
    for (int32_t i = 0; i < flow_errors_count(errors); i++) fprintf(stderr, "%s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    flow_session_free(judge_session);
    flow_session_free(teller);
    flow_graph_free(telling); /* the weights stay for the other */
    flow_graph_free(judging);
    flow_runtime_free(runtime);
    return rc < 0;
}
