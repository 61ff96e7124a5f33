/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands. Examples run in the root of the tree, and tests/cli/manners runs each. */
#include "flowrun/table.h"

#include <string.h>

#define EXAMPLES (const char *const[])

const struct subcommand table_commands[] = {
    {.bit = RUN,
     .name = "run",
     .run = command_run,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "run a graph on files, numbers or samples as they come",
     .description =
         "Reads the graph and its weights, feeds the inputs, prints the outputs or writes them to files.\n\n"
         "An input is a file (.safetensors .npy .wav .csv), numbers, words, or standard input. With --stream the sequence goes through "
         "in pieces, at constant memory, and what comes out is what the whole would have given.\n\n"
         "What is not given on the command line is taken from the section `run:` of the graph: each key there is the option of its name.",
     .examples =
         EXAMPLES{"numbers in, numbers out", "flowrun run docs/examples/smooth.yaml --input x='[4, 0, 0, 8, 4]'",
                  "a recording in, its segments of speech into a table",
                  "flowrun run graphs/fsmn-vad/fsmn-vad.yaml --input wave=graphs/fsmn-vad/example.wav --output segments=segments.csv",
                  "the same as the samples arrive, 10 ms at a time",
                  "flowrun run graphs/fsmn-vad/fsmn-vad.yaml --input wave=- --stream S=160 --output segments=- "
                  "<graphs/fsmn-vad/example.wav",
                  NULL}},
    {.bit = TRAIN,
     .name = "train",
     .run = command_train,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "train a graph as its `train` section says",
     .description =
         "Reads data as `data:` says, changes the parameters as `train:` says, and leaves a folder (--dir, else the graph's `checkpoint: "
         "{dir}`, else runs/NAME) with checkpoints, metrics.jsonl, curve.svg and run.html, a page with the curves that refreshes while it "
         "trains.\n\n"
         "Ctrl-C ends a training after a last checkpoint; --resume goes on from it as if it had never stopped.",
     .examples =
         EXAMPLES{"forty steps of a small language model",
                  "flowrun train graphs/char-lm/char-lm.yaml --set context=32 --set batch=8 --steps 40 --dir runs/first",
                  "twenty more, with the weights into a file that `run --weights` reads",
                  "flowrun train graphs/char-lm/char-lm.yaml --set context=32 --set batch=8 --steps 60 --dir runs/first --resume "
                  "--save runs/first/weights.safetensors",
                  "another rate of learning, in a folder of its own",
                  "flowrun train graphs/char-lm/char-lm.yaml --set context=32 --set batch=8 --set lr=0.01 --steps 40 --dir runs/second",
                  NULL}},
    {.bit = COMPARE,
     .name = "compare",
     .run = command_compare,
     .operands = "RUN RUN ...",
     .operand = {VALUE_RUN, VALUE_RUN},
     .most = INT32_MAX,
     .summary = "lay the curves of several trainings over each other",
     .description =
         "Prints a table of the last and best values of each run, and writes a page with all curves and the settings in which the "
         "runs differ. A run is the folder of a training.",
     .examples = EXAMPLES{"two trainings", "flowrun compare runs/first runs/second", NULL}},
    {.bit = GRAD,
     .name = "grad",
     .run = command_grad,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "the gradients of one run, as a table or a file",
     .description =
         "Runs the graph once and goes back through it. What each output receives comes from --cotangents; without it every output of one "
         "number receives 1.\n\n"
         "In files a gradient is grad.in.NAME or grad.param.NODE.PARAM. A file that has in.NAME, param.NODE.PARAM and cot.OUTPUT serves as "
         "--inputs, --weights and --cotangents at once.",
     .examples =
         EXAMPLES{"of a loss, into a file",
                  "flowrun grad graphs/char-lm/char-lm.yaml --input tokens='[70, 108, 111]' --input target='[108, 111, 119]' --outputs "
                  "gradients.safetensors",
                  NULL}},
    {.bit = VERIFY,
     .name = "verify",
     .run = command_verify,
     .operands = "GRAPH FILE",
     .operand = {VALUE_GRAPH, VALUE_FILE},
     .operand_choices = "safetensors",
     .most = 2,
     .summary = "compare a graph's outputs with recorded ones",
     .description =
         "FILE is a .safetensors with in.NAME, param.NODE.PARAM, out.NAME, or tensors named as the inputs and outputs. cot.NAME and grad.* "
         "in it compare gradients, after.NODE.PARAM parameters after the training.\n\n"
         "An output holds where no element is off by more than atol + rtol times the largest of the recorded ones.",
     .examples =
         EXAMPLES{"a network against what another program recorded",
                  "flowrun verify graphs/silero-vad/silero-vad.yaml graphs/silero-vad/expected.safetensors", "the same in pieces",
                  "flowrun verify graphs/silero-vad/silero-vad.yaml graphs/silero-vad/expected.safetensors --stream S=512 --rtol 1e-4 "
                  "--atol 1e-4",
                  NULL}},
    {.bit = CHECK,
     .name = "check",
     .run = command_check,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "shapes, streaming and memory of a graph; runs nothing",
     .description =
         "Reads the graph, says everything that is wrong with it at once, else prints the shape of each node, the memory plan and, with "
         "--stream, what each node carries from piece to piece.\n\n"
         "--gradients runs it: every operator, and the graph as a whole, against central differences in double precision.",
     .examples = EXAMPLES{"what is in it", "flowrun check docs/examples/smooth.yaml", "for a sequence of 100",
                          "flowrun check docs/examples/smooth.yaml --extent T=100", "are its gradients right",
                          "flowrun check docs/examples/smooth.yaml --gradients --extent T=6", NULL}},
    {.bit = NEW_OP,
     .name = "new-op",
     .run = command_new_op,
     .operands = "NAME",
     .operand = {VALUE_ANY},
     .most = 1,
     .summary = "a folder with an operator of your own that works, to start from",
     .description =
         "Writes the folder NAME: a C file of about 70 lines with a forward and a backward, a graph that uses it, numbers that must come "
         "out, and a CMakeLists.txt that builds and tests all of it against the installed libflow. Nothing that exists is written over.\n\n"
         "docs/plugins.md goes on from there.",
     .examples =
         EXAMPLES{"an operator called gated_average, in a folder of that name", "flowrun new-op gated_average --dir $(mktemp -d)", NULL}},
    {.bit = CHECK_PLUGIN,
     .name = "check-plugin",
     .run = command_check_plugin,
     .operands = "FILE.so ...",
     .operand = {VALUE_FILE, VALUE_FILE},
     .operand_choices = "so",
     .most = INT32_MAX,
     .summary = "try a plugin's operators in every way they must survive",
     .description =
         "Opens the plugin alone, and runs the example of each operator in a process of its own: on other types and extents (0, 1, odd), "
         "between guard bytes, over its input, in pieces, on 1, 2, 3 and 7 threads, on each instruction set, in four sessions at once, "
         "with "
         "each allocation failing once; gradients against central differences. A crash or an endless loop is a failed check like any "
         "other.\n\n"
         "A line a check: ok, or FAIL with what was found. --verbose also shows those that do not apply, and why.",
     .examples = EXAMPLES{"a plugin", "flowrun check-plugin build/release/plugins/template.so", "a family of the library's own operators",
                          "flowrun check-plugin --builtin loss", NULL}},
    {.bit = BENCH,
     .name = "bench",
     .run = command_bench,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "how long a graph takes, compared with another or with before",
     .description =
         "Runs the graph until its times are steady, then again and again, and tells the median, quantiles, throughput and memory. What is "
         "not given as an input is drawn at random.\n\n"
         "Times of different days, or of different minutes of a busy machine, do not compare. --against times two settings in turn within "
         "one run, and judges the ratio of neighbours. --baseline compares with an earlier run and allows for what the machine itself has "
         "become slower by. A verdict needs both a 95% interval of the ratio (bootstrap in blocks) that leaves out 1, and a rank test "
         "(Mann-Whitney; sign test of pairs) of p below 1%. With one thread the processor's time is compared, which leaves out what other "
         "programs took.",
     .examples =
         EXAMPLES{"a sequence of 100", "flowrun bench docs/examples/smooth.yaml --extent T=100 --seconds 0.2",
                  "a recording as it arrives, 10 ms at a time, on one thread",
                  "flowrun bench graphs/fsmn-vad/fsmn-vad.yaml --input wave=graphs/fsmn-vad/example.wav --stream S=160 --threads 1 "
                  "--rounds 3",
                  "is one thread slower than two",
                  "flowrun bench docs/examples/smooth.yaml --extent T=1000 --threads 1 --against threads=2 --seconds 0.2 --tolerance 1000%",
                  NULL}},
    {.bit = IMPORT,
     .name = "import",
     .run = command_import,
     .operands = "MODEL.onnx",
     .operand = {VALUE_FILE},
     .operand_choices = "onnx",
     .most = 1,
     .summary = "write an ONNX model as a graph and its weights",
     .description =
         "Reads a model of opset 13 to 21 and writes NAME.yaml, a graph to read and to change, and NAME.safetensors. What is not covered "
         "is "
         "listed by node, with the reason; then nothing is written.\n\n"
         "Symbols in the shapes of the model's inputs stay symbols. An input on whose value branches of the model depend (a sampling rate) "
         "is given a number by --set. States that the model wants carried from run to run by hand are carried by the graph with --state.",
     .examples = EXAMPLES{"a recurrent network whose state the graph keeps",
                          "flowrun import tests/onnx/gru_17.onnx --state h=hn --output gru.yaml", NULL}},
    {.bit = SHOW,
     .name = "show",
     .run = command_show,
     .operands = "GRAPH",
     .operand = {VALUE_GRAPH},
     .most = 1,
     .summary = "draw a graph",
     .description = "Draws the nodes, what flows between them and its shapes; subgraphs and loops are boxes, copies made by `repeat` are "
                    "drawn once. As a picture, as text for Graphviz or Mermaid, or as one page to zoom and search in, with all about each "
                    "node and, after --profile, its time.",
     .examples = EXAMPLES{"a picture", "flowrun show docs/examples/smooth.yaml >smooth.svg", "for a page in Markdown",
                          "flowrun show docs/examples/smooth.yaml --format mermaid", "a page with the times of one run",
                          "flowrun show graphs/fsmn-vad/fsmn-vad.yaml --output vad.html --profile --input "
                          "wave=graphs/fsmn-vad/example.wav",
                          NULL}},
    {.bit = OPS,
     .name = "ops",
     .run = command_ops,
     .operands = "[NAME]",
     .operand = {VALUE_OPERATOR},
     .most = 1,
     .summary = "the operators there are, or all about one",
     .description =
         "Without a name: a list of operators, optimisers and sources of data, the plugins' too. With one: what it computes, its "
         "inputs, outputs, parameters and attributes, and an example. Everything printed comes from the operators' own tables.",
     .examples = EXAMPLES{"the list", "flowrun ops", "all about one", "flowrun ops attention", "which have to do with windows",
                          "flowrun ops --search window", "completion of graph files in an editor",
                          "flowrun ops --schema >graph.schema.json", NULL}},
    {.bit = DOCTOR,
     .name = "doctor",
     .run = command_doctor,
     .operands = "",
     .operand = {VALUE_NONE},
     .most = 0,
     .summary = "what this machine offers, which plugins were found, does it run",
     .description =
         "Looks at the processor, threads, memory, CUDA, plugin folders and each plugin in them, runs a small graph, and says what "
         "to do where something is wrong. A line that begins with ! is wrong, one with - may surprise. Exit status 1 where "
         "something is wrong.",
     .examples = EXAMPLES{"is all well", "flowrun doctor", "for a report of a fault", "flowrun doctor --json >doctor.json", NULL}},
    {.bit = MAN,
     .name = "man",
     .run = command_man,
     .operands = "[COMMAND]",
     .operand = {VALUE_COMMAND},
     .most = 1,
     .summary = "a manual page, in roff",
     .description =
         "Writes the page of flowrun, or of one of its commands, to standard output: what `man` formats. An installed flowrun has "
         "them at hand: man flowrun, man flowrun-run.",
     .examples = EXAMPLES{"read one that is not installed", "flowrun man run >run.1 && man ./run.1", NULL}},
    {.bit = COMPLETION,
     .name = "completion",
     .run = command_completion,
     .operands = "SHELL",
     .operand = {VALUE_CHOICE},
     .operand_choices = "bash|zsh|fish",
     .most = 1,
     .summary = "what makes bash, zsh or fish complete command lines",
     .description =
         "Writes a script for the shell to standard output. Commands, options, files by their endings, operators, and the variables, "
         "inputs "
         "and outputs of the graph on the command line are completed. An installed flowrun has brought the scripts with it.\n\n"
         "bash: source <(flowrun completion bash) in ~/.bashrc. zsh: source <(flowrun completion zsh) in ~/.zshrc, after compinit. fish: "
         "flowrun completion fish >~/.config/fish/completions/flowrun.fish.",
     .examples = EXAMPLES{"for this shell", "source <(flowrun completion bash)", NULL}},
    {.bit = HELP,
     .name = "help",
     .run = command_help,
     .operands = "[COMMAND]",
     .operand = {VALUE_COMMAND},
     .most = 1,
     .summary = "this help, or that of a command",
     .description = "The same as flowrun --help and flowrun COMMAND --help.",
     .examples = EXAMPLES{"what `run` takes", "flowrun help run", NULL}},
    {.name = NULL},
};

const struct subcommand *table_command(const char *name) {
    for (const struct subcommand *command = table_commands; command->name; command++)
        if (strcmp(command->name, name) == 0) return command;
    return NULL;
}
