/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun new-op NAME: a folder with a plugin that works. The files are those of plugins/template, which are built and tested as they
 * stand there; the name of their operator is replaced. */
#include "flowrun/command.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char template_name[] = "softsign";
enum { NAME_MOST = 40, PATH_MOST = 4096 };

#define ASSET(symbol)                    \
    extern const unsigned char symbol[]; \
    extern const size_t symbol##_size
ASSET(asset_template_c);
ASSET(asset_template_cu);
ASSET(asset_template_yaml);
ASSET(asset_CMakeLists_txt);
ASSET(asset_case_py);
ASSET(asset_guide_md);

static const struct asset {
    const unsigned char *at;
    const size_t *size;
    const char *file;
    bool named; /* `file` is what follows the operator's name */
} assets[] = {
    {asset_template_c, &asset_template_c_size, ".c", true},
    {asset_template_cu, &asset_template_cu_size, ".cu", true},
    {asset_template_yaml, &asset_template_yaml_size, ".yaml", true},
    {asset_CMakeLists_txt, &asset_CMakeLists_txt_size, "CMakeLists.txt", false},
    {asset_case_py, &asset_case_py_size, "case.py", false},
    {asset_guide_md, &asset_guide_md_size, "README.md", false},
};

/* ---- Names ---- */

/* Words that C, C++ or CMake keep for themselves. */
static const char *const kept[] = {
    "auto",    "break",     "case",   "char",   "const",   "continue", "default", "do",       "double",   "else",     "enum",     "extern",
    "float",   "for",       "goto",   "if",     "inline",  "int",      "long",    "main",     "register", "restrict", "return",   "short",
    "signed",  "sizeof",    "static", "struct", "switch",  "typedef",  "union",   "unsigned", "void",     "volatile", "while",    "bool",
    "true",    "false",     "all",    "test",   "install", "clean",    "help",    "package",  "flow",     "inputs",   "outputs",  "attrs",
    "kernels", "operators", "plugin", "count",  "get",     "put",      "class",   "new",      "delete",   "this",     "template",
};

/* What the name could have been meant as: "Gated-Average" is gated_average. */
static void tidy(const char *name, char *out) {
    size_t used = 0;
    for (const char *c = name; *c && used < NAME_MOST; c++) {
        if (isalnum((unsigned char)*c)) out[used++] = (char)tolower((unsigned char)*c);
        else if (used && out[used - 1] != '_') out[used++] = '_';
    }
    while (used && out[used - 1] == '_') used--;
    out[used] = 0;
}

static int check_name(const char *name) {
    char meant[NAME_MOST + 1];
    bool good = name[0] >= 'a' && name[0] <= 'z' && strlen(name) <= NAME_MOST;
    for (const char *c = name; *c; c++) good = good && ((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_');
    tidy(name, meant);
    if (!good && meant[0] >= 'a' && meant[0] <= 'z')
        return command_say(EXIT_USAGE, "'%s' is no name of an operator: small letters, digits and '_', at most %d, a letter first (%s?)",
                           name, NAME_MOST, meant);
    if (!good)
        return command_say(EXIT_USAGE, "'%s' is no name of an operator: small letters, digits and '_', at most %d, a letter first", name,
                           NAME_MOST);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(name, kept[i]) == 0)
            return command_say(EXIT_USAGE, "'%s' is a word of C, of CMake or of the template: take another, such as my_%s", name, name);
    return 0;
}

/* Operators and plugins that exist: two of one name would have to be told apart in every graph. */
static int check_taken(const struct command *command, const char *name) {
    flow_runtime *runtime = NULL;
    struct flow_operator_info *list = NULL;
    flow_errors *errors = NULL;
    size_t count = 0;
    int rc = command_runtime(command, &runtime);
    if (rc == 0 && flow_runtime_operators(runtime, &errors, &list, &count, NULL) < 0) rc = command_fail(errors);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const char *file = list[i].file ? list[i].file : "built in";
        if (strcmp(list[i].op->name, name) == 0)
            rc = command_say(EXIT_USAGE, "there is an operator '%s' already, in plugin '%s' (%s); flowrun ops %s describes it", name,
                             list[i].plugin, file, name);
        else if (strcmp(list[i].plugin, name) == 0) rc = command_say(EXIT_USAGE, "there is a plugin '%s' already (%s)", name, file);
    }
    flow_runtime_operators_free(runtime, list, count);
    flow_runtime_free(runtime);
    return rc;
}

/* ---- Files ---- */

/* Bytes to pass over: of what stands between #ifdef WITH_CUDA and #endif. */
static size_t left_out(const char *at, size_t size) {
    static const char begin[] = "#ifdef WITH_CUDA\n", end[] = "#endif\n";
    if (size < sizeof begin - 1 || memcmp(at, begin, sizeof begin - 1) != 0) return 0;
    for (size_t i = 0; i + sizeof end - 1 <= size; i++)
        if (memcmp(at + i, end, sizeof end - 1) == 0)
            return i + sizeof end - 1 + (i + sizeof end - 1 < size && at[i + sizeof end - 1] == '\n');
    return 0;
}

/* The asset with the template's name replaced. */
static char *replace(const struct asset *asset, const char *name, bool cuda, size_t *size) {
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    const size_t length = strlen(template_name);
    for (size_t i = 0; to && i < *asset->size;) {
        const char *at = (const char *)asset->at + i;
        size_t out = cuda ? 0 : left_out(at, *asset->size - i);
        if (out) i += out;
        else if (*asset->size - i >= length && memcmp(at, template_name, length) == 0) fputs(name, to), i += length;
        else putc(*at, to), i++;
    }
    if (!to || fclose(to) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static int write_file(const char *path, const char *bytes, size_t size) {
    FILE *file = fopen(path, "wbx");
    bool good = file && fwrite(bytes, 1, size, file) == size;
    int error = errno;
    if (file && fclose(file) != 0) good = false, error = errno;
    return good ? 0 : command_say(EXIT_FAILED, "%s cannot be written: %s", path, strerror(error));
}

/* The same numbers as case.py's functions give, from the template's equation y = 2 x / (1 + |x|). */
static int write_case(const char *path) {
    enum { ROWS = 3, COLUMNS = 7, COUNT = ROWS * COLUMNS };
    static const int64_t shape[] = {ROWS, COLUMNS};
    double x[COUNT], y[COUNT], dy[COUNT], dx[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = 3 * sin(1.7 * i + 0.4), dy[i] = cos(0.9 * i);
        y[i] = 2 * x[i] / (1 + fabs(x[i]));
        dx[i] = 2 * dy[i] / ((1 + fabs(x[i])) * (1 + fabs(x[i])));
    }
    double *const data[] = {x, y, dy, dx};
    static const char *const names[] = {"in.x", "out.y", "cot.y", "grad.in.x"};
    struct flow_tensor tensors[4];
    struct flow_named named[4];
    for (int i = 0; i < 4; i++) {
        tensors[i] = flow_tensor_of(data[i], FLOW_F64, 2, shape);
        named[i] = (struct flow_named){names[i], &tensors[i]};
    }
    struct flow_runtime_options options = {.size = sizeof options, .plugin_only = true};
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = flow_file_write(runtime, path, named, 4, 0, &errors);
    flow_runtime_free(runtime);
    return rc < 0 ? command_fail(errors) : 0;
}

static int write_all(const struct command *command, const char *folder, const char *name) {
    char path[PATH_MOST];
    int rc = 0;
    for (size_t i = 0; i < sizeof assets / sizeof *assets && rc == 0; i++) {
        const struct asset *asset = &assets[i];
        size_t size = 0;
        if (strcmp(asset->file, ".cu") == 0 && !command->cuda) continue;
        char *text = replace(asset, name, command->cuda, &size);
        snprintf(path, sizeof path, "%s/%s%s", folder, asset->named ? name : "", asset->file);
        rc = text ? write_file(path, text, size) : command_say(EXIT_FAILED, "out of memory");
        free(text);
    }
    snprintf(path, sizeof path, "%s/case.safetensors", folder);
    return rc ? rc : write_case(path);
}

int command_new_op(struct command *command) {
    char folder[PATH_MOST / 2];
    const char *name = command->graph;
    if (!name) return command_say(EXIT_USAGE, "new-op needs the name of the operator, such as gated_average");
    int rc = check_name(name);
    if (rc == 0) rc = check_taken(command, name);
    if (rc) return rc;
    int length = snprintf(folder, sizeof folder, "%s%s%s", command->dir ? command->dir : "", command->dir ? "/" : "", name);
    if (length < 0 || (size_t)length >= sizeof folder) return command_say(EXIT_USAGE, "the folder's name is too long");
    if (mkdir(folder, 0777) != 0) {
        if (errno == EEXIST) return command_say(EXIT_USAGE, "%s exists already: nothing is written over", folder);
        return command_say(EXIT_FAILED, "the folder %s cannot be made: %s", folder, strerror(errno));
    }
    rc = write_all(command, folder, name);
    if (rc || command->quiet) return rc;
    printf("%s/%s.c is an operator that works. Build and try it:\n\n"
           "  cd %s\n"
           "  cmake -B build && cmake --build build && ctest --test-dir build --output-on-failure\n"
           "  flowrun run %s.yaml --plugin-path build/plugins --input x='[-1, 0, 3]'\n\n"
           "README.md there says more.\n",
           folder, name, folder, name);
    return EXIT_DONE;
}
