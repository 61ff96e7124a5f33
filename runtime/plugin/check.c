/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables that may lie. A plugin may be older than this host (its rows are shorter: what it does not know of is zero) or newer (longer:
 * what this host does not know of is not read). Rows are therefore never indexed in place but copied, one by one by the plugin's
 * own stride, into rows of this host's size. On the way everything that the rest of the runtime relies on is checked.
 */
#include "plugin/source.h"

#include <stdlib.h>
#include <string.h>

/* The first release: rows shorter than this never existed. Frozen; members behind it are optional. */
enum {
    PLUGIN_LEAST = offsetof(struct flow_plugin, operators) + sizeof(struct flow_operators),
    OPERATOR_LEAST = offsetof(struct flow_operator, infer) + sizeof(void (*)(void)),
    PORT_LEAST = offsetof(struct flow_port, flags) + sizeof(uint32_t),
    PARAM_LEAST = offsetof(struct flow_param, flags) + sizeof(uint32_t),
    STATE_LEAST = offsetof(struct flow_state, flags) + sizeof(uint32_t),
    ATTR_LEAST = offsetof(struct flow_attr, choices) + sizeof(const char *),
    KERNEL_LEAST = offsetof(struct flow_kernel, forward) + sizeof(void (*)(void)),
    OPTIMIZER_LEAST = offsetof(struct flow_optimizer, step) + sizeof(void (*)(void)),
    SOURCE_LEAST = offsetof(struct flow_source, close) + sizeof(void (*)(void))
};
_Static_assert(offsetof(struct flow_plugin, operators) == 56, "released layout");
_Static_assert(offsetof(struct flow_operator, infer) == 152, "released layout");
_Static_assert(offsetof(struct flow_port, flags) == 28, "released layout");
_Static_assert(offsetof(struct flow_param, flags) == 44, "released layout");
_Static_assert(offsetof(struct flow_state, flags) == 36, "released layout");
_Static_assert(offsetof(struct flow_attr, choices) == 56, "released layout");
_Static_assert(offsetof(struct flow_kernel, forward) == 32, "released layout");
_Static_assert(offsetof(struct flow_optimizer, step) == 104, "released layout");
_Static_assert(offsetof(struct flow_source, close) == 96, "released layout");

#define OFFER_ENTRY(name, word, table) word,
const char *const plugin_offer_words[OFFER_LISTS] = {OFFER_MAP(OFFER_ENTRY)};
#undef OFFER_ENTRY

/* What operators, optimisers and sources begin with. */
struct item_head {
    uint32_t size, flags;
    const char *name;
};
_Static_assert(offsetof(struct flow_operator, name) == offsetof(struct item_head, name), "a common head");
_Static_assert(offsetof(struct flow_optimizer, name) == offsetof(struct item_head, name), "a common head");
_Static_assert(offsetof(struct flow_source, name) == offsetof(struct item_head, name), "a common head");

struct check {
    struct arena *arena;
    struct text *why;
    const char *kind, *name; /* of what is checked; NULL: the plugin itself */
};

static int printf_like(2, 3) wrong(const struct check *check, const char *format, ...) {
    if (check->name) text_format(check->why, "%s '%s': ", check->kind, check->name);
    va_list arguments;
    va_start(arguments, format);
    text_vformat(check->why, format, arguments);
    va_end(arguments);
    return FLOW_ERROR_PLUGIN;
}

/* Letters, digits, '_': the names of operators and plugins in lower case. Never reads past NAME_MOST + 1 characters. */
static bool name_good(const char *name, bool capitals) {
    size_t length = 0;
    for (; length <= NAME_MOST && name[length]; length++) {
        const char c = name[length];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || (capitals && c >= 'A' && c <= 'Z'))) return false;
    }
    return length > 0 && length <= NAME_MOST;
}

/* A documented family of parameters ("cell.{i}.weight"): printable, no spaces. */
static bool pattern_good(const char *name) {
    size_t length = 0;
    for (; length <= NAME_MOST && name[length]; length++)
        if (name[length] <= ' ' || name[length] > '~') return false;
    return length > 0 && length <= NAME_MOST;
}

/* Enough of a hostile name to print. */
struct shown {
    char text[NAME_MOST + 4];
};
static struct shown show(const char *name) {
    struct shown shown = {{0}};
    size_t n = 0;
    for (; n < NAME_MOST && name[n]; n++) shown.text[n] = (char)(name[n] < ' ' || name[n] > '~' ? '?' : name[n]);
    if (name[n]) memcpy(shown.text + n, "...", 3);
    return shown;
}

static int check_shape_of(const struct check *check, const char *table, uint32_t count, uint32_t size, const void *at, size_t least) {
    if (count > ROWS_MOST) return wrong(check, "table '%s' claims %u rows: at most %d are believed", table, count, ROWS_MOST);
    if (count == 0) return FLOW_OK;
    if (!at) return wrong(check, "table '%s' claims %u rows but has no address", table, count);
    if (size < least) return wrong(check, "table '%s' has rows of %u bytes: the shortest ever released has %zu", table, size, least);
    if (size > ROW_BYTES_MOST) return wrong(check, "table '%s' has rows of %u bytes: at most %d are believed", table, size, ROW_BYTES_MOST);
    if (size % sizeof(void *)) return wrong(check, "table '%s' has rows of %u bytes: not a multiple of %zu", table, size, sizeof(void *));
    return FLOW_OK;
}

/* Copies `count` rows of `size` bytes into rows of `row` bytes: what is missing stays zero, what is too long is cut. */
static int copy_rows(const struct check *check, const char *table, uint32_t count, uint32_t size, const void *at, size_t least, size_t row,
                     void **out) {
    *out = NULL;
    int status = check_shape_of(check, table, count, size, at, least);
    if (status < 0 || count == 0) return status;
    char *rows = arena_array(check->arena, count, row);
    if (!rows) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < count; i++) memcpy(rows + i * row, (const char *)at + (size_t)i * size, size < row ? size : row);
    *out = rows;
    return FLOW_OK;
}

/* Names of a table's rows (the name is the first member of each): given, well formed, each once. */
static int check_names(const struct check *check, const char *what, const void *rows, uint32_t count, size_t row) {
    for (uint32_t i = 0; i < count; i++) {
        const char *name = *(const char *const *)(const void *)((const char *)rows + i * row);
        if (!name) return wrong(check, "%s %u has no name", what, i);
        if (!name_good(name, true))
            return wrong(check, "%s %u is called '%s': names are 1 to %d letters, digits and '_'", what, i, show(name).text, NAME_MOST);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(name, *(const char *const *)(const void *)((const char *)rows + j * row)) == 0)
                return wrong(check, "two rows are called %s '%s'", what, name);
    }
    return FLOW_OK;
}

static int check_pattern(const struct check *check, const char *what, const char *name, const char *shape) {
    uint32_t words = 0;
    bool inside = false;
    if (!shape) return FLOW_OK;
    for (const char *c = shape; *c; c++) {
        if (*c < ' ' || *c > '~')
            return wrong(check, "%s '%s': the shape pattern holds a character of code %d", what, name, (unsigned char)*c);
        if (c - shape >= 1024) return wrong(check, "%s '%s': the shape pattern is longer than 1024 characters", what, name);
        if (*c != ' ' && !inside) words++;
        inside = *c != ' ';
    }
    if (words > FLOW_RANK_MAX + 1)
        return wrong(check, "%s '%s': the shape pattern '%s' has %u axes: at most %d", what, name, shape, words, FLOW_RANK_MAX);
    return FLOW_OK;
}

static int check_ports(const struct check *check, const char *table, const struct flow_ports *from, struct flow_ports *to) {
    void *rows;
    int status = copy_rows(check, table, from->count, from->size, from->at, PORT_LEAST, sizeof(struct flow_port), &rows);
    *to = (struct flow_ports){from->count, sizeof(struct flow_port), rows};
    const char *what = strcmp(table, "inputs") == 0 ? "input" : "output";
    if (status == FLOW_OK) status = check_names(check, what, rows, from->count, sizeof(struct flow_port));
    struct flow_port *ports = rows;
    for (uint32_t i = 0; status == FLOW_OK && i < to->count; i++) {
        if (!ports[i].summary) ports[i].summary = "";
        status = check_pattern(check, what, ports[i].name, ports[i].shape);
        if (status == FLOW_OK && (ports[i].flags & FLOW_VARIADIC) && i + 1 < to->count)
            status = wrong(check, "%s '%s' is variadic but not the last", what, ports[i].name);
        if (status == FLOW_OK && *what == 'i' && ports[i].types == 0)
            status = wrong(check, "input '%s' takes no element type", ports[i].name);
    }
    return status;
}

static int check_params(const struct check *check, const struct flow_params *from, struct flow_params *to) {
    void *rows;
    int status = copy_rows(check, "params", from->count, from->size, from->at, PARAM_LEAST, sizeof(struct flow_param), &rows);
    *to = (struct flow_params){from->count, sizeof(struct flow_param), rows};
    struct flow_param *params = rows;
    for (uint32_t i = 0; status == FLOW_OK && i < to->count; i++) {
        struct flow_param *row = &params[i];
        const bool declared = row->flags & FLOW_DECLARED;
        if (!row->name) return wrong(check, "parameter %u has no name", i);
        if (declared ? !pattern_good(row->name) : !name_good(row->name, true))
            return wrong(check, "parameter %u is called '%s': names are 1 to %d letters, digits and '_'", i, show(row->name).text,
                         NAME_MOST);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(row->name, params[j].name) == 0) return wrong(check, "two rows are called parameter '%s'", row->name);
        if (!row->summary) row->summary = "";
        if (!row->init && !declared) return wrong(check, "parameter '%s' has no initialiser", row->name);
        status = check_pattern(check, "parameter", row->name, declared ? NULL : row->shape);
    }
    return status;
}

static int check_states(const struct check *check, const struct flow_states *from, struct flow_states *to) {
    void *rows;
    int status = copy_rows(check, "states", from->count, from->size, from->at, STATE_LEAST, sizeof(struct flow_state), &rows);
    *to = (struct flow_states){from->count, sizeof(struct flow_state), rows};
    if (status == FLOW_OK) status = check_names(check, "state", rows, from->count, sizeof(struct flow_state));
    struct flow_state *states = rows;
    for (uint32_t i = 0; status == FLOW_OK && i < to->count; i++) {
        if (!states[i].summary) states[i].summary = "";
        if (!states[i].init) states[i].init = "zeros";
        if ((states[i].flags & FLOW_APPENDED) && (states[i].axis < 0 || states[i].axis >= FLOW_RANK_MAX))
            return wrong(check, "state '%s' grows along axis %d: axes are 0 to %d", states[i].name, states[i].axis, FLOW_RANK_MAX - 1);
        status = check_pattern(check, "state", states[i].name, states[i].shape);
    }
    return status;
}

static const struct {
    const char *name;
    uint32_t bytes, align;
} attr_types[] = {
    [FLOW_ATTR_INT] = {"int", sizeof(int64_t), _Alignof(int64_t)},
    [FLOW_ATTR_REAL] = {"real", sizeof(double), _Alignof(double)},
    [FLOW_ATTR_BOOL] = {"bool", sizeof(bool), _Alignof(bool)},
    [FLOW_ATTR_TEXT] = {"text", sizeof(const char *), _Alignof(const char *)},
    [FLOW_ATTR_CHOICE] = {"choice", sizeof(int32_t), _Alignof(int32_t)},
    [FLOW_ATTR_INTS] = {"ints", sizeof(struct flow_ints), _Alignof(struct flow_ints)},
    [FLOW_ATTR_VALUES] = {"values", sizeof(struct flow_values), _Alignof(struct flow_values)},
    [FLOW_ATTR_DTYPE] = {"dtype", sizeof(struct flow_dtype), _Alignof(struct flow_dtype)},
};

/* Is `word` one of "a|b|c"? */
static bool choice_has(const char *choices, const char *word) {
    const size_t length = strlen(word);
    for (const char *c = choices;; c++) {
        const size_t n = strcspn(c, "|");
        if (n == length && memcmp(c, word, n) == 0) return true;
        c += n;
        if (!*c) return false;
    }
}

static bool choices_good(const char *choices) {
    return *choices && *choices != '|' && !strstr(choices, "||") && choices[strlen(choices) - 1] != '|';
}

/* The default must be one that a graph could have written, as far as can be told here. */
static int check_fallback(const struct check *check, const struct flow_attr *row) {
    const char *text = row->fallback;
    char *end = NULL;
    if (!text) return FLOW_OK; /* must be given */
    if (!*text)
        return row->type != FLOW_ATTR_BOOL ? FLOW_OK
                                           : wrong(check, "attribute '%s': a bool cannot be absent: its default is missing", row->name);
    bool good = true;
    if (row->type == FLOW_ATTR_INT) {
        const long long value = strtoll(text, &end, 10);
        good = !*end && (double)value >= row->min && (double)value <= row->max;
    } else if (row->type == FLOW_ATTR_BOOL) good = strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    else if (row->type == FLOW_ATTR_CHOICE) good = choice_has(row->choices, text);
    else if (row->type == FLOW_ATTR_DTYPE) good = dtype_parse(text) >= 0;
    else if (row->type == FLOW_ATTR_REAL) good = strspn(text, "0123456789+-.eEinfaINFA") == strlen(text);
    return good
               ? FLOW_OK
               : wrong(check, "attribute '%s': the default '%s' is not a legal %s", row->name, show(text).text, attr_types[row->type].name);
}

static int check_attr(const struct check *check, struct flow_attr *row, uint32_t attrs_size) {
    if (row->type < FLOW_ATTR_INT || row->type > FLOW_ATTR_DTYPE)
        return wrong(check, "attribute '%s' is of type %d: this program knows 1 to %d", row->name, row->type, FLOW_ATTR_DTYPE);
    const uint32_t bytes = attr_types[row->type].bytes, align = attr_types[row->type].align;
    if (row->offset % align)
        return wrong(check, "attribute '%s' (%s) lies at offset %u: not a multiple of %u", row->name, attr_types[row->type].name,
                     row->offset, align);
    if (row->offset > attrs_size || attrs_size - row->offset < bytes)
        return wrong(check, "attribute '%s' (%s, %u bytes) lies at offset %u: the struct has %u bytes", row->name,
                     attr_types[row->type].name, bytes, row->offset, attrs_size);
    if (!(row->min <= row->max)) return wrong(check, "attribute '%s': the range %g to %g is empty", row->name, row->min, row->max);
    if (row->type == FLOW_ATTR_CHOICE && !row->choices) return wrong(check, "attribute '%s' is a choice without choices", row->name);
    if (row->choices && !choices_good(row->choices))
        return wrong(check, "attribute '%s': an empty word in the choices '%s'", row->name, show(row->choices).text);
    if (!row->summary) row->summary = "";
    return check_fallback(check, row);
}

static int check_attrs(const struct check *check, uint32_t attrs_size, const struct flow_attrs *from, struct flow_attrs *to) {
    void *rows;
    if (attrs_size > STRUCT_BYTES_MOST)
        return wrong(check, "attributes of %u bytes: at most %d are believed", attrs_size, STRUCT_BYTES_MOST);
    int status = copy_rows(check, "attrs", from->count, from->size, from->at, ATTR_LEAST, sizeof(struct flow_attr), &rows);
    *to = (struct flow_attrs){from->count, sizeof(struct flow_attr), rows};
    if (status == FLOW_OK) status = check_names(check, "attribute", rows, to->count, sizeof(struct flow_attr));
    for (uint32_t i = 0; status == FLOW_OK && i < to->count; i++) status = check_attr(check, (struct flow_attr *)rows + i, attrs_size);
    return status;
}

/* "name", or "plugin/name" where a kernel is for that plugin's operator alone. */
static bool target_good(const char *name) {
    const char *slash = memchr(name, '/', strnlen(name, NAME_MOST + 1));
    if (!slash) return name_good(name, false);
    char plugin[NAME_MOST + 1] = {0};
    if (slash - name > NAME_MOST) return false;
    memcpy(plugin, name, (size_t)(slash - name));
    return name_good(plugin, false) && name_good(slash + 1, false);
}

/* `op`: whose kernels they are; NULL: each row says. */
static int check_kernel_rows(const struct check *check, const struct flow_kernels *from, const char *op, struct flow_kernels *to) {
    void *rows;
    int status = copy_rows(check, "kernels", from->count, from->size, from->at, KERNEL_LEAST, sizeof(struct flow_kernel), &rows);
    *to = (struct flow_kernels){from->count, sizeof(struct flow_kernel), rows};
    struct flow_kernel *kernels = rows;
    for (uint32_t i = 0; status == FLOW_OK && i < to->count; i++) {
        struct flow_kernel *row = &kernels[i];
        if (op && row->op && strcmp(row->op, op) != 0) return wrong(check, "kernel %u is for operator '%s'", i, show(row->op).text);
        if (!op && !row->op) return wrong(check, "kernel %u does not say which operator it is for", i);
        if (!op && !target_good(row->op)) return wrong(check, "kernel %u is for operator '%s': not a name", i, show(row->op).text);
        if (!row->forward) return wrong(check, "kernel %u has no forward function", i);
        if (row->types == 0) return wrong(check, "kernel %u takes no element type", i);
        if (row->device < 0 || row->isa < 0)
            return wrong(check, "kernel %u is for device %d and instruction set %d", i, row->device, row->isa);
        if (op) row->op = op;
    }
    return status;
}

/* What the patterns leave to infer must have an infer. */
static int check_whole(const struct check *check, const struct flow_operator *op) {
    for (uint32_t i = 0; i < op->outputs.count; i++) {
        const struct flow_port *port = &op->outputs.at[i];
        const uint32_t over = port->flags >> 16;
        if (!op->infer && (!port->shape || (port->flags & FLOW_OPTIONAL)))
            return wrong(check, "output '%s' leaves its shape to infer, and there is none", port->name);
        if (over > op->inputs.count && !(op->inputs.count && (op->inputs.at[op->inputs.count - 1].flags & FLOW_VARIADIC)))
            return wrong(check, "output '%s' may overwrite input %u: there are %u", port->name, over - 1, op->inputs.count);
    }
    for (uint32_t i = 0; i < op->params.count; i++)
        if (!op->infer && !op->params.at[i].shape)
            return wrong(check, "parameter '%s' leaves its shape to infer, and there is none", op->params.at[i].name);
    for (uint32_t i = 0; i < op->states.count; i++)
        if (!op->infer && !op->states.at[i].shape)
            return wrong(check, "state '%s' leaves its shape to infer, and there is none", op->states.at[i].name);
    return FLOW_OK;
}

/* A table of pointers of some kind, as the plugin has it. Plugins older than optimisers and sources have no such tables. */
struct pointers {
    uint32_t count, size;
    const void *at;
};

static struct pointers pointers_of(const struct flow_plugin *plugin, enum offer_kind kind) {
    struct pointers none = {0, 0, NULL};
    if (kind == OFFER_OPERATOR) return (struct pointers){plugin->operators.count, plugin->operators.size, plugin->operators.at};
    if (kind == OFFER_OPTIMIZER)
        return plugin->size < offsetof(struct flow_plugin, optimizers) + sizeof plugin->optimizers
                   ? none
                   : (struct pointers){plugin->optimizers.count, plugin->optimizers.size, plugin->optimizers.at};
    return plugin->size < offsetof(struct flow_plugin, sources) + sizeof plugin->sources
               ? none
               : (struct pointers){plugin->sources.count, plugin->sources.size, plugin->sources.at};
}

/* Entry `index` of a table of pointers whose rows may be longer than a pointer. */
static const struct item_head *item_at(const struct pointers *table, uint32_t index) {
    const struct item_head *item;
    memcpy(&item, (const char *)table->at + (size_t)index * table->size, sizeof item);
    return item;
}

/* Copies the struct itself: what this host knows of it. */
static int copy_item(const struct check *check, const struct item_head *from, size_t least, size_t bytes, void **out) {
    if (from->size < least || from->size > ROW_BYTES_MOST)
        return wrong(check, "its struct has %u bytes: %zu to %d are possible", from->size, least, ROW_BYTES_MOST);
    *out = arena_new(check->arena, bytes);
    if (!*out) return FLOW_ERROR_MEMORY;
    memcpy(*out, from, from->size < bytes ? from->size : bytes);
    ((struct item_head *)*out)->size = (uint32_t)bytes;
    return FLOW_OK;
}

static void text_given(const char **text) {
    if (!*text) *text = "";
}

static int check_operator(const struct check *check, const struct item_head *from, const void **out) {
    void *copy;
    int status = copy_item(check, from, OPERATOR_LEAST, sizeof(struct flow_operator), &copy);
    if (status < 0) return status;
    struct flow_operator *op = copy;
    text_given(&op->summary), text_given(&op->equation), text_given(&op->reference), text_given(&op->example);
    if (op->attrs_size > STRUCT_BYTES_MOST || op->priv_size > STRUCT_BYTES_MOST)
        return wrong(check, "attributes of %u bytes and private data of %u: at most %d are believed", op->attrs_size, op->priv_size,
                     STRUCT_BYTES_MOST);
    const struct flow_operator given = *op;
    status = check_ports(check, "inputs", &given.inputs, &op->inputs);
    if (status == FLOW_OK) status = check_ports(check, "outputs", &given.outputs, &op->outputs);
    if (status == FLOW_OK) status = check_params(check, &given.params, &op->params);
    if (status == FLOW_OK) status = check_states(check, &given.states, &op->states);
    if (status == FLOW_OK) status = check_attrs(check, op->attrs_size, &given.attrs, &op->attrs);
    if (status == FLOW_OK) status = check_kernel_rows(check, &given.kernels, op->name, &op->kernels);
    if (status == FLOW_OK) status = check_whole(check, op);
    *out = op;
    return status;
}

static int check_optimizer(const struct check *check, const struct item_head *from, const void **out) {
    void *copy;
    int status = copy_item(check, from, OPTIMIZER_LEAST, sizeof(struct flow_optimizer), &copy);
    if (status < 0) return status;
    struct flow_optimizer *optimizer = copy;
    text_given(&optimizer->summary), text_given(&optimizer->equation);
    text_given(&optimizer->reference), text_given(&optimizer->example);
    const struct flow_optimizer given = *optimizer;
    status = check_states(check, &given.states, &optimizer->states);
    if (status == FLOW_OK) status = check_attrs(check, given.attrs_size, &given.attrs, &optimizer->attrs);
    if (status == FLOW_OK && !optimizer->step) status = wrong(check, "it has no function step");
    *out = optimizer;
    return status;
}

static int check_source(const struct check *check, const struct item_head *from, const void **out) {
    void *copy;
    int status = copy_item(check, from, SOURCE_LEAST, sizeof(struct flow_source), &copy);
    if (status < 0) return status;
    struct flow_source *source = copy;
    text_given(&source->summary), text_given(&source->reference), text_given(&source->example);
    const struct flow_source given = *source;
    status = check_ports(check, "outputs", &given.outputs, &source->outputs);
    if (status == FLOW_OK) status = check_attrs(check, given.attrs_size, &given.attrs, &source->attrs);
    if (status == FLOW_OK && (!source->open || !source->fill))
        status = wrong(check, "it has no function %s", source->open ? "fill" : "open");
    *out = source;
    return status;
}

int plugin_check_item(struct arena *arena, const struct flow_plugin *plugin, enum offer_kind kind, uint32_t index, const void **out,
                      struct text *why) {
    const struct pointers table = pointers_of(plugin, kind);
    const struct item_head *from = item_at(&table, index);
    const struct check check = {arena, why, plugin_offer_words[kind], from->name};
    const void *item = NULL;
    int status = kind == OFFER_OPERATOR    ? check_operator(&check, from, &item)
                 : kind == OFFER_OPTIMIZER ? check_optimizer(&check, from, &item)
                                           : check_source(&check, from, &item);
    if (status == FLOW_OK) *out = item;
    return status;
}

/* A plugin older than the member has no such table. */
static struct flow_kernels kernels_of(const struct flow_plugin *plugin) {
    const bool has = plugin->size >= offsetof(struct flow_plugin, kernels) + sizeof plugin->kernels;
    return has ? plugin->kernels : (struct flow_kernels){0, 0, NULL};
}

int plugin_check_kernels(struct arena *arena, const struct flow_plugin *plugin, struct flow_kernels *out, struct text *why) {
    const struct check check = {arena, why, NULL, NULL};
    const struct flow_kernels from = kernels_of(plugin);
    return check_kernel_rows(&check, &from, NULL, out);
}

/* The names in one table. */
static int list_names(const struct check *check, const struct flow_plugin *plugin, enum offer_kind kind, struct offer *offer) {
#define OFFER_ENTRY(name, word, table) table,
    static const char *const tables[OFFER_LISTS] = {OFFER_MAP(OFFER_ENTRY)};
#undef OFFER_ENTRY
    const struct pointers table = pointers_of(plugin, kind);
    const char *word = plugin_offer_words[kind];
    int status = check_shape_of(check, tables[kind], table.count, table.size, table.at, sizeof(void *));
    if (status < 0) return status;
    const char **names = arena_array(check->arena, table.count, sizeof *names);
    if (!names) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < table.count; i++) {
        const struct item_head *item = item_at(&table, i);
        if (!item) return wrong(check, "%s %u is NULL", word, i);
        if (!item->name) return wrong(check, "%s %u has no name", word, i);
        if (!name_good(item->name, false))
            return wrong(check, "%s %u is called '%s': names are 1 to %d of a-z, 0-9 and '_'", word, i, show(item->name).text, NAME_MOST);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(item->name, names[j]) == 0) return wrong(check, "two %s are called '%s'", tables[kind], item->name);
        names[i] = item->name;
    }
    offer->of[kind] = (struct offer_list){names, table.count};
    return FLOW_OK;
}

int plugin_check_head(struct arena *arena, const struct flow_plugin *plugin, struct offer *offer, struct text *why) {
    const struct check check = {arena, why, NULL, NULL};
    *offer = (struct offer){0};
    if (plugin->abi != FLOW_ABI) return wrong(&check, "built for plugin interface (abi) %u, this program has %u", plugin->abi, FLOW_ABI);
    if (plugin->size < PLUGIN_LEAST || plugin->size > ROW_BYTES_MOST)
        return wrong(&check, "its struct has %u bytes: %d to %d are possible", plugin->size, (int)PLUGIN_LEAST, ROW_BYTES_MOST);
    if (!plugin->name) return wrong(&check, "the plugin has no name");
    if (!name_good(plugin->name, false))
        return wrong(&check, "the plugin is called '%s': names are 1 to %d of a-z, 0-9 and '_'", show(plugin->name).text, NAME_MOST);
    offer->plugin = plugin->name;
    int status = FLOW_OK;
    for (enum offer_kind kind = 0; status == FLOW_OK && kind < OFFER_KINDS; kind++) status = list_names(&check, plugin, kind, offer);
    return status;
}
