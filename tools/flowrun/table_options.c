/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/table.h"

#include <string.h>

#define AT(field) offsetof(struct command, field)

static const char data[] = "Input and output", training[] = "Training", streaming[] = "Streaming", graph[] = "The graph",
                  machine[] = "The machine", checking[] = "Checking", measuring[] = "Measuring", printing[] = "What is printed";

const struct option table_options[] = {
    {"input", OPTION_PAIR, AT(input), "NAME=VALUE", VALUE_INPUT, "safetensors|npy|wav|csv", GRAPHS, data,
     "input NAME: a file (.safetensors[#TENSOR] .npy .wav .csv), - for samples from standard input, [1, 2, 3] for numbers, :words "
     "for text; may be repeated"},
    {"inputs", OPTION_TEXT, AT(inputs), "FILE", VALUE_FILE, "safetensors", GRAPHS & ~TRAIN, data,
     "every input from one .safetensors: NAME or in.NAME"},
    {"inputs", OPTION_TEXT, AT(inputs), "FILE", VALUE_FILE, "safetensors", TRAIN, data,
     "the same tensors at every step, where no source of data feeds them"},
    {"output", OPTION_PAIR, AT(output), "NAME=FILE", VALUE_OUTPUT, "safetensors|npy|wav|csv", RUN, data,
     "writes output NAME, in the format that the file's ending says; - prints it (text as text, numbers as lines of "
     "JSON); may be repeated"},
    {"output", OPTION_TEXT, AT(written), "NAME.yaml", VALUE_FILE, "yaml", IMPORT, data,
     "where the graph is written, its weights beside it as NAME.safetensors; by default the model's name, in this folder"},
    {"outputs", OPTION_TEXT, AT(outputs), "FILE", VALUE_FILE, "safetensors", RUN, data, "all outputs into one .safetensors"},
    {"outputs", OPTION_TEXT, AT(outputs), "FILE", VALUE_FILE, "safetensors", GRAD, data,
     "all gradients into one .safetensors: grad.in.NAME, grad.param.NODE.PARAM"},
    {"page", OPTION_TEXT, AT(page), "FILE", VALUE_FILE, "html", RUN | COMPARE, data, "one self-contained page with everything drawn"},
    {"cotangents", OPTION_TEXT, AT(cotangents), "FILE", VALUE_FILE, "safetensors", GRAD, data,
     "what each output receives: NAME or cot.NAME; without it outputs of one number receive 1"},
    {"format", OPTION_TEXT, AT(format), "FORMAT", VALUE_CHOICE, "svg|html|dot|mermaid|json", SHOW, data,
     "the form of the drawing; by default what the ending of --output says, else svg"},
    {"output", OPTION_TEXT, AT(written), "FILE", VALUE_FILE, "html|svg|dot|mmd|json", SHOW, data,
     "writes the drawing there in place of standard output; .html is a page with zoom, search and all about each node"},
    {"times", OPTION_TEXT, AT(times), "FILE", VALUE_FILE, "json", SHOW, data,
     "lays times over the drawing: what `flowrun run GRAPH --profile --json` printed"},
    {"depth", OPTION_NUMBER, AT(depth), "N", VALUE_NUMBER, NULL, SHOW, data,
     "draws boxes that stand in N - 1 others closed: 1 the outermost already; by default so that some 500 nodes are drawn"},
    {"extent", OPTION_PAIR, AT(extent), "SYMBOL=N", VALUE_SYMBOL, NULL, SHOW, data,
     "the extent of a symbol: shapes are then numbers; may be repeated"},
    {"unfold", OPTION_FLAG, AT(unfold), NULL, VALUE_NONE, NULL, SHOW, data, "draws the copies that `repeat` makes one by one"},
    {"cuda", OPTION_FLAG, AT(cuda), NULL, VALUE_NONE, NULL, NEW_OP, data, "also NAME.cu, a kernel for CUDA"},
    {"dir", OPTION_TEXT, AT(dir), "DIR", VALUE_FOLDER, NULL, NEW_OP, data, "where the folder NAME is made; here by default"},

    {"resume", OPTION_FLAG, AT(resume), NULL, VALUE_NONE, NULL, TRAIN, training,
     "goes on from the newest checkpoint, as if it had never stopped"},
    {"steps", OPTION_COUNT, AT(steps), "N", VALUE_NUMBER, NULL, TRAIN, training,
     "so many steps of each stage, in place of what the graph says"},
    {"save", OPTION_TEXT, AT(save), "FILE", VALUE_FILE, "safetensors", TRAIN, training, "writes the parameters at the end, a .safetensors"},
    {"dir", OPTION_TEXT, AT(dir), "DIR", VALUE_FOLDER, NULL, TRAIN, training,
     "folder of checkpoints, metrics and pages; in place of the graph's own or runs/NAME"},

    {"stream", OPTION_TEXT, AT(stream), "SYMBOL=N", VALUE_SYMBOL, NULL, RUN | VERIFY, streaming,
     "feeds the axis SYMBOL in pieces of N (N,M,..: in turn); the result is that of the whole"},
    {"stream", OPTION_TEXT, AT(stream), "SYMBOL=N", VALUE_SYMBOL, NULL, CHECK, streaming,
     "checks the graph fed along SYMBOL: states and delays are shown too"},
    {"stream", OPTION_TEXT, AT(stream), "SYMBOL=N", VALUE_SYMBOL, NULL, SHOW, streaming,
     "the graph as it is fed along SYMBOL; with --profile in pieces of N"},
    {"feedback", OPTION_PAIR, AT(feedback), "IN=OUT", VALUE_FEEDBACK, NULL, RUN | VERIFY, streaming,
     "output OUT of a piece is input IN of the next; may be repeated"},
    {"steps", OPTION_COUNT, AT(steps), "N", VALUE_NUMBER, NULL, RUN | VERIFY, streaming, "so many pieces where the graph feeds itself"},

    {"gradients", OPTION_FLAG, AT(gradients), NULL, VALUE_NONE, NULL, CHECK, checking,
     "compares every operator's gradients, and the graph's, with central differences"},
    {"extent", OPTION_PAIR, AT(extent), "SYMBOL=N", VALUE_SYMBOL, NULL, CHECK, checking,
     "the extent of a symbol, for the memory plan and --gradients; may be repeated"},
    {"checked", OPTION_FLAG, AT(checked), NULL, VALUE_NONE, NULL, RUN | VERIFY, checking,
     "looks after each operator whether it wrote beyond its buffers or into what it may only read, left an output unwritten, or made "
     "NaN of numbers: names it; about half as fast"},
    {"limit", OPTION_REAL, AT(limit), "SECONDS", VALUE_NUMBER, NULL, CHECK_PLUGIN, checking,
     "how long one trial may take before it is ended as one that never returns; 30"},
    {"builtin", OPTION_TEXT, AT(builtin), "FAMILY", VALUE_ANY, NULL, CHECK_PLUGIN, checking,
     "the library's own operators of one family (as `flowrun ops --json` says under \"plugin\"), or all"},
    {"runs", OPTION_COUNT, AT(runs), "N", VALUE_NUMBER, NULL, VERIFY, checking, "so many runs, each from the start; all must hold"},
    {"rtol", OPTION_REAL, AT(rtol), "REAL", VALUE_NUMBER, NULL, VERIFY | CHECK, checking,
     "allowed error as a share of the largest value; of verify 1e-4 or as the file says, of check --gradients 1e-5"},
    {"atol", OPTION_REAL, AT(atol), "REAL", VALUE_NUMBER, NULL, VERIFY, checking, "allowed error beside that; 1e-5 or as the file says"},

    {"stream", OPTION_TEXT, AT(stream), "SYMBOL=N", VALUE_SYMBOL, NULL, BENCH, measuring,
     "a round feeds the axis SYMBOL in pieces of N; times of the pieces are told, too"},
    {"extent", OPTION_PAIR, AT(extent), "SYMBOL=N", VALUE_SYMBOL, NULL, BENCH, measuring,
     "the extent of a symbol in inputs that are not given and drawn at random; else 1 for B and N, 100 for others; may be repeated"},
    {"feedback", OPTION_PAIR, AT(feedback), "IN=OUT", VALUE_FEEDBACK, NULL, BENCH, measuring,
     "output OUT of a step is input IN of the next; a round is all steps"},
    {"steps", OPTION_COUNT, AT(steps), "N", VALUE_NUMBER, NULL, BENCH, measuring, "so many where the graph feeds itself"},
    {"train", OPTION_FLAG, AT(train), NULL, VALUE_NONE, NULL, BENCH, measuring, "times training steps; no checkpoints are written"},
    {"gradients", OPTION_FLAG, AT(gradients), NULL, VALUE_NONE, NULL, BENCH, measuring, "times runs with their gradients"},
    {"rounds", OPTION_COUNT, AT(rounds), "N", VALUE_NUMBER, NULL, BENCH, measuring, "so many samples of each setting"},
    {"seconds", OPTION_REAL, AT(seconds), "S", VALUE_NUMBER, NULL, BENCH, measuring, "so long for each setting, warming up aside; 2"},
    {"against", OPTION_TEXT, AT(against), "GRAPH|NAME=VALUE", VALUE_ANY, NULL, BENCH, measuring,
     "another graph, threads=N, streams=N, capture=off, precision=TYPE or a variable of the graph: timed in turn with the first, A B B A, "
     "and compared"},
    {"save", OPTION_TEXT, AT(save), "FILE", VALUE_FILE, "json", BENCH, measuring, "keeps the times, for --baseline"},
    {"baseline", OPTION_TEXT, AT(baseline), "FILE", VALUE_FILE, "json", BENCH, measuring,
     "compares with what --save kept: exit status 1 where it is slower by more than the tolerance"},
    {"tolerance", OPTION_TEXT, AT(tolerance), "SHARE", VALUE_ANY, NULL, BENCH, measuring, "how much slower is still no failure; 5%"},
    {"json", OPTION_TEXT, AT(json_file), "FILE", VALUE_FILE, "json", BENCH, measuring, "all figures; - to standard output"},

    {"set", OPTION_PAIR, AT(set), "NAME=VALUE", VALUE_VARIABLE, NULL, GRAPHS, graph, "a variable of the graph (`vars:`); may be repeated"},
    {"set", OPTION_PAIR, AT(set), "NAME=NUMBER", VALUE_ANY, NULL, IMPORT, graph,
     "a number for a symbol in the shapes of the model's inputs, or for an input of one number; may be repeated"},
    {"state", OPTION_PAIR, AT(state), "IN=OUT", VALUE_ANY, NULL, IMPORT, graph,
     "what output OUT gives is input IN of the next run: the graph keeps it; may be repeated"},
    {"weights", OPTION_TEXT, AT(weights), "FILE", VALUE_FILE, "safetensors", GRAPHS, graph, "in place of the graph's own"},
    {"precision", OPTION_TEXT, AT(precision), "TYPE", VALUE_CHOICE, "f32|f64|bf16", GRAPHS, graph,
     "f64: everything in double precision; bf16: factors of products rounded to it"},
    {"seed", OPTION_SEED, AT(seed), "N", VALUE_NUMBER, NULL, GRAPHS, graph, "of initial values and of draws, in place of the graph's"},

    {"search", OPTION_TEXT, AT(search), "WORD", VALUE_ANY, NULL, OPS, printing,
     "those whose name, summary, equation, reference or attributes hold WORD"},
    {"names", OPTION_FLAG, AT(names), NULL, VALUE_NONE, NULL, OPS, printing, "nothing but the names, a line each"},
    {"markdown", OPTION_TEXT, AT(markdown), "DIR", VALUE_FOLDER, NULL, OPS, printing,
     "writes the reference there: a page for each plugin, an index, a table of what runs where"},
    {"schema", OPTION_FLAG, AT(schema), NULL, VALUE_NONE, NULL, OPS, printing, "a JSON Schema of graph files, for editors"},

    {"threads", OPTION_NUMBER, AT(threads), "N", VALUE_NUMBER, NULL, (GRAPHS & ~BENCH) | DOCTOR, machine,
     "most threads at once; all cores by default"},
    {"threads", OPTION_TEXT, AT(thread_list), "N,M,..", VALUE_ANY, NULL, BENCH, machine,
     "most threads at once, all cores by default; several numbers are timed in turn"},
    {"streams", OPTION_NUMBER, AT(streams), "N", VALUE_NUMBER, NULL, GRAPHS, machine, "most independent branches at once"},
    {"device", OPTION_TEXT, AT(device), "NAME", VALUE_CHOICE, "cpu|cuda", GRAPHS, machine,
     "where it runs; what cuda has no kernel for runs on the CPU, between two copies"},
    {"spread", OPTION_FLAG, AT(spread), NULL, VALUE_NONE, NULL, VERIFY, machine,
     "with --streams: every step on another stream than the one before, to test what orders them"},
    {"no-capture", OPTION_FLAG, AT(uncaptured), NULL, VALUE_NONE, NULL, RUN | VERIFY | BENCH, machine,
     "cuda: launches that come again are made one by one, not captured and replayed"},
    {"plugin-path", OPTION_TEXT, AT(plugin_path), "DIRS", VALUE_FOLDER, NULL, ALL & ~(TEXTS | NEW_OP | CHECK_PLUGIN), machine,
     "folders, ':' between them, where plugins are looked for first"},

    {"profile", OPTION_FLAG, AT(profile), NULL, VALUE_NONE, NULL, RUN | GRAD | TRAIN, printing,
     "where the time went: by node and by operator, with operations and bytes a second beside what the machine gives, measured now"},
    {"profile", OPTION_FLAG, AT(profile), NULL, VALUE_NONE, NULL, SHOW, printing,
     "runs the graph once on its inputs and lays the times over the drawing"},
    {"trace", OPTION_TEXT, AT(trace), "FILE", VALUE_FILE, "json", RUN | GRAD | TRAIN, printing,
     "writes what happened when, on which thread, for Perfetto (ui.perfetto.dev) or chrome://tracing"},
    {"json", OPTION_FLAG, AT(json), NULL, VALUE_NONE, NULL, ALL & ~(NEW_OP | SHOW | VERIFY | IMPORT | BENCH | TEXTS), printing,
     "prints JSON, for programs"},
    {"quiet", OPTION_FLAG, AT(quiet), NULL, VALUE_NONE, NULL, ALL & ~(DOCTOR | OPS | TEXTS), printing,
     "prints nothing but errors and what was asked for"},
    {"verbose", OPTION_FLAG, AT(verbose), NULL, VALUE_NONE, NULL, CHECK_PLUGIN, printing, "also shows checks that do not apply, and why"},
    {"verbose", OPTION_FLAG, AT(verbose), NULL, VALUE_NONE, NULL, CHECK, printing, "prints more: kernels, the place of each tensor"},
    {"verbose", OPTION_FLAG, AT(verbose), NULL, VALUE_NONE, NULL, RUN | GRAD | TRAIN, printing, "with --profile: every node"},
    {"color", OPTION_TEXT, AT(color), "WHEN", VALUE_CHOICE, "auto|always|never", ALL, printing,
     "colours; auto, the default: on a terminal, unless NO_COLOR is set"},
    {"help", OPTION_FLAG, AT(help), NULL, VALUE_NONE, NULL, ALL, printing, "this"},
    {.name = NULL},
};

const struct option *table_option(const struct subcommand *command, const char *name, size_t length, uint32_t *elsewhere) {
    *elsewhere = 0;
    for (const struct option *option = table_options; option->name; option++) {
        if (strlen(option->name) != length || strncmp(option->name, name, length) != 0) continue;
        if (option->commands & command->bit) return option;
        *elsewhere |= option->commands;
    }
    return NULL;
}
