/* SPDX-License-Identifier: Apache-2.0 */
/* `weights: {file, rename}`: names of a file that others wrote become the graph's; what does not fit is told. */
#include <criterion/criterion.h>
#include <flow/flow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct place {
    char folder[64], graph[128];
    flow_runtime *runtime;
};

static void put(const struct place *p, const char *file, const char *text) {
    char path[160];
    flow_errors *errors = NULL;
    snprintf(path, sizeof path, "%s/%s", p->folder, file);
    cr_assert_eq(flow_file_write_bytes(p->runtime, path, text, strlen(text), &errors), 0);
}

static void put_tensors(const struct place *p, const char *file, const char *const *names, size_t count) {
    static float numbers[4] = {1, 2, 3, 4};
    struct flow_tensor matrix = flow_tensor_of(numbers, FLOW_F32, 2, (int64_t[]){2, 2}),
                       row = flow_tensor_of(numbers, FLOW_F32, 1, (int64_t[]){2});
    struct flow_named tensors[8];
    char path[160];
    flow_errors *errors = NULL;
    for (size_t i = 0; i < count; i++) tensors[i] = (struct flow_named){names[i], strstr(names[i], "bias") ? &row : &matrix};
    snprintf(path, sizeof path, "%s/%s", p->folder, file);
    cr_assert_eq(flow_file_write(p->runtime, path, tensors, count, 0, &errors), 0);
}

static const char *const theirs[] = {"bert.layer.0.self.q.weight", "bert.layer.0.self.q.bias", "bert.layer.1.self.k.weight",
                                     "bert.layer.1.self.k.bias"};

static struct place begin(void) {
    struct place p = {.folder = "/tmp/flow-rename-XXXXXX"};
    cr_assert(mkdtemp(p.folder));
    snprintf(p.graph, sizeof p.graph, "%s/g.yaml", p.folder);
    cr_assert_eq(flow_runtime_new(NULL, NULL, &p.runtime), 0);
    put_tensors(&p, "all.safetensors", theirs, 4);
    put_tensors(&p, "a.safetensors", theirs, 2);
    put_tensors(&p, "b.safetensors", theirs + 2, 2);
    return p;
}

static void end(struct place *p) {
    char command[128];
    flow_runtime_free(p->runtime);
    snprintf(command, sizeof command, "rm -r %s", p->folder);
    cr_assert_eq(system(command), 0);
}

/* The graph with nodes q0 and k1: 0, or the text of its errors in `said`. */
static int attempt(const struct place *p, const char *file, const char *rename, char *said, size_t room, double *sum) {
    char text[1000];
    flow_errors *errors = NULL;
    flow_graph *graph = NULL;
    snprintf(text, sizeof text,
             "flow: 1\ninputs: {x: {dtype: f32, shape: [1, 2]}}\nnodes:\n  q0: {op: linear, in: x, with: {units: 2}}\n"
             "  k1: {op: linear, in: q0, with: {units: 2}}\noutputs: {y: k1}\nweights: {file: %s, rename: {%s}}\n",
             file, rename);
    int rc = flow_graph_parse(p->runtime, p->graph, text, strlen(text), NULL, &errors, &graph);
    said[0] = 0;
    for (int32_t i = 0; i < flow_errors_count(errors); i++)
        snprintf(said + strlen(said), room - strlen(said), "%s\n", flow_errors_get(errors, i).text);
    flow_errors_free(errors);
    *sum = 0;
    const struct flow_tensor *value;
    const char *name;
    for (size_t i = 0; rc == 0 && (value = flow_graph_parameter(graph, i, &name)); i++)
        if (strncmp(name, "q0.", 3) == 0 || strncmp(name, "k1.", 3) == 0)
            for (int64_t k = 0; k < flow_tensor_count(value); k++) *sum += flow_tensor_real(value, k);
    flow_graph_free(graph);
    return rc;
}

Test(rename, every_star_is_the_same_text_on_both_sides) {
    struct place p = begin();
    char said[2000];
    double sum;
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.layer.*.self.*.weight\": \"q0.weight\"", said, sizeof said, &sum),
                 FLOW_ERROR_GRAPH);
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.layer.0.*.q.*\": \"q0.self_*_*\"", said, sizeof said, &sum), 0, "%s", said);
    cr_assert_eq(
        attempt(&p, "all.safetensors", "\"bert.layer.0.self.*.*\": \"*0.*\", \"bert.layer.*.self.*.*\": \"k*.*\"", said, sizeof said, &sum),
        FLOW_ERROR_GRAPH); /* the third star has no place: k1.k twice */
    cr_assert(strstr(said, "both become 'k1.k'"), "%s", said);
    cr_assert_eq(
        attempt(&p, "all.safetensors", "\"bert.layer.*.self.q.*\": \"q*.*\", \"bert.layer.*.self.k.*\": \"k*.*\"", said, sizeof said, &sum),
        0, "%s", said);
    cr_assert_eq(sum, 26.0); /* 2 matrices of 10, 2 rows of 3 */
    end(&p);
}

Test(rename, parts_named_by_an_index) {
    struct place p = begin();
    char said[2000];
    double sum;
    static const char renames[] = "\"bert.layer.*.self.q.*\": \"q*.*\", \"bert.layer.*.self.k.*\": \"k*.*\"";
    put(&p, "all.index.json",
        "{\"metadata\": {\"total_size\": 52}, \"weight_map\": {\"bert.layer.0.self.q.weight\": \"a.safetensors\", "
        "\"bert.layer.0.self.q.bias\": \"a.safetensors\", \"bert.layer.1.self.k.weight\": \"b.safetensors\"}}");
    cr_assert_eq(attempt(&p, "all.index.json", renames, said, sizeof said, &sum), 0, "%s", said);
    cr_assert_eq(sum, 26.0);
    put(&p, "out.index.json", "{\"weight_map\": {\"w\": \"../a.safetensors\"}}");
    cr_assert(attempt(&p, "out.index.json", renames, said, sizeof said, &sum) < 0);
    cr_assert(strstr(said, "in the index's own folder"), "%s", said);
    put(&p, "missing.index.json", "{\"weight_map\": {\"w\": \"c.safetensors\"}}");
    cr_assert(attempt(&p, "missing.index.json", renames, said, sizeof said, &sum) < 0);
    put(&p, "no.index.json", "{\"tensors\": {}}");
    cr_assert(attempt(&p, "no.index.json", renames, said, sizeof said, &sum) < 0);
    cr_assert(strstr(said, "weight_map"), "%s", said);
    end(&p);
}

Test(rename, what_does_not_fit_is_told) {
    struct place p = begin();
    char said[2000];
    double sum;
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.layer.*.self.p.weight\": \"q*.weight\"", said, sizeof said, &sum),
                 FLOW_ERROR_GRAPH);
    cr_assert(strstr(said, "(did you mean 'bert.layer.*.self.q.weight'?)"), "%s", said);
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.layer.0.self.q.*\": \"q9.*\"", said, sizeof said, &sum), FLOW_ERROR_GRAPH);
    cr_assert(strstr(said, "the graph has no node 'q9' (did you mean 'q0'?)"), "%s", said);
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.*.self.*.bias\": \"q0.bias\"", said, sizeof said, &sum), FLOW_ERROR_GRAPH);
    cr_assert(strstr(said, "'bert.layer.0.self.q.bias' and 'bert.layer.1.self.k.bias' of the file both become 'q0.bias'"), "%s", said);
    cr_assert_eq(attempt(&p, "all.safetensors", "\"bert.layer.0.self.q.weight\": weight", said, sizeof said, &sum), FLOW_ERROR_GRAPH);
    cr_assert(strstr(said, "NODE.PARAM is expected"), "%s", said);
    end(&p);
}
