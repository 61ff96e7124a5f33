/* SPDX-License-Identifier: Apache-2.0 */
#include "graph/schema.h"

#include "graph/schema_private.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- What does not depend on operators ---- */

static const char head[] =
    "{\n"
    "\"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
    "\"title\": \"flow graph, version 1\",\n"
    "\"type\": \"object\",\n"
    "\"required\": [\"flow\"],\n"
    "\"additionalProperties\": false,\n"
    "\"properties\": {\n"
    "\"flow\": {\"const\": 1, \"description\": \"version of the language\"},\n"
    "\"name\": {\"type\": \"string\"},\n"
    "\"doc\": {\"type\": \"string\"},\n"
    "\"vars\": {\"$ref\": \"#/$defs/vars\", \"description\": \"${name} anywhere below; --set name=value overrides\"},\n"
    "\"inputs\": {\"$ref\": \"#/$defs/inputs\"},\n"
    "\"graphs\": {\"type\": \"object\", \"description\": \"subgraphs\", \"additionalProperties\": {\"$ref\": \"#/$defs/subgraph\"}},\n"
    "\"nodes\": {\"$ref\": \"#/$defs/nodes\"},\n"
    "\"outputs\": {\"$ref\": \"#/$defs/outputs\"},\n"
    "\"weights\": {\"description\": \"a file of parameters; without it they are drawn from `seed`\", \"anyOf\": [{\"type\": \"string\"}, "
    "{\"type\": \"object\", \"required\": [\"file\"], \"additionalProperties\": false, \"properties\": {\"file\": {\"type\": \"string\"}, "
    "\"rename\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}}}}]},\n"
    "\"seed\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]},\n"
    "\"data\": {\"$ref\": \"#/$defs/data\"},\n"
    "\"train\": {\"$ref\": \"#/$defs/train\"},\n"
    "\"run\": {\"type\": \"object\", \"description\": \"what the command line's options say otherwise\"}\n"
    "},\n"
    "\"$defs\": {\n"
    "\"variable\": {\"type\": \"string\", \"pattern\": \"[$][{].*[}]\"},\n"
    "\"vars\": {\"type\": \"object\", \"propertyNames\": {\"pattern\": \"^[A-Za-z_][A-Za-z0-9_]*$\"}, "
    "\"additionalProperties\": {\"type\": [\"string\", \"number\", \"boolean\", \"array\"]}},\n"
    "\"inputs\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"object\", \"required\": [\"shape\"], "
    "\"additionalProperties\": false, \"properties\": {\"dtype\": {\"anyOf\": [{\"$ref\": \"#/$defs/dtype\"}, {\"$ref\": "
    "\"#/$defs/variable\"}]}, "
    "\"shape\": {\"anyOf\": [{\"type\": \"array\", \"maxItems\": 8, \"items\": {\"type\": [\"integer\", \"string\"]}}, "
    "{\"$ref\": \"#/$defs/variable\"}], \"description\": \"extents: numbers, symbols, expressions of symbols\"}, "
    "\"doc\": {\"type\": \"string\"}}}},\n"
    "\"outputs\": {\"type\": \"object\", \"additionalProperties\": {\"$ref\": \"#/$defs/reference\"}},\n"
    "\"reference\": {\"type\": \"string\", \"description\": \"an input, a node (its first output), or NODE.PORT\"},\n"
    "\"subgraph\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"doc\": {\"type\": \"string\"}, "
    "\"file\": {\"type\": \"string\"}, \"vars\": {\"$ref\": \"#/$defs/vars\"}, \"inputs\": {\"$ref\": \"#/$defs/inputs\"}, "
    "\"nodes\": {\"$ref\": \"#/$defs/nodes\"}, \"outputs\": {\"$ref\": \"#/$defs/outputs\"}}},\n"
    "\"nodes\": {\"type\": \"object\", \"additionalProperties\": {\"$ref\": \"#/$defs/node\"}},\n"
    "\"feeds\": {\"anyOf\": [{\"$ref\": \"#/$defs/reference\"}, {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/reference\"}}, "
    "{\"type\": \"object\"}]},\n"
    "\"count\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]},\n"
    "\"axes\": {\"type\": \"object\", \"additionalProperties\": {\"type\": [\"integer\", \"string\"]}},\n"
    "\"words\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"string\"}},\n"
    "\"loop\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"max\": {\"$ref\": \"#/$defs/count\"}, "
    "\"until\": {\"type\": \"string\", \"description\": \"an output, a bool: ends the loop\"}, "
    "\"carry\": {\"$ref\": \"#/$defs/words\", \"description\": \"input: output fed back to it\"}, "
    "\"over\": {\"$ref\": \"#/$defs/axes\", \"description\": \"input: axis it is cut along\"}, "
    "\"index\": {\"type\": \"string\", \"description\": \"an input, i64: counts from 0\"}, "
    "\"collect\": {\"$ref\": \"#/$defs/axes\", \"description\": \"output: new axis to stack it along\"}, "
    "\"recompute\": {\"type\": \"boolean\"}}},\n";

static const char node[] =
    "\"node\": {\"type\": \"object\", \"additionalProperties\": false, \"oneOf\": [{\"required\": [\"op\"]}, {\"required\": "
    "[\"graph\"]}],\n"
    "\"properties\": {\n"
    "\"op\": {\"anyOf\": [{\"$ref\": \"#/$defs/operator\"}, {\"type\": \"string\", \"pattern\": \"[/$]\"}]},\n"
    "\"graph\": {\"type\": \"string\", \"description\": \"a subgraph's name\"},\n"
    "\"in\": {\"$ref\": \"#/$defs/feeds\"},\n"
    "\"with\": {\"type\": \"object\", \"description\": \"attributes; a subgraph's variables\"},\n"
    "\"tie\": {\"description\": \"parameters stored elsewhere: NODE, or {param: NODE.PARAM or value}\", "
    "\"anyOf\": [{\"type\": \"string\"}, {\"$ref\": \"#/$defs/words\"}]},\n"
    "\"state\": {\"$ref\": \"#/$defs/words\", \"description\": \"port: reference whose value of the run before it is fed\"},\n"
    "\"init\": {\"type\": \"object\", \"additionalProperties\": {\"type\": [\"string\", \"number\"]}},\n"
    "\"repeat\": {\"$ref\": \"#/$defs/count\", \"description\": \"copies in a chain\"},\n"
    "\"share\": {\"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": \"#/$defs/variable\"}]},\n"
    "\"carry\": {\"$ref\": \"#/$defs/words\"},\n"
    "\"loop\": {\"$ref\": \"#/$defs/loop\"},\n"
    "\"recompute\": {\"description\": \"computed again for the gradient, not kept\", \"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": "
    "\"#/$defs/variable\"}]},\n"
    "\"doc\": {\"type\": \"string\"}\n"
    "},\n\"allOf\": [\n";

/* ---- Attributes ---- */

/* Numbers in JSON have a point whatever the locale: limits are written as integers where they are, else not at all. */
static void write_limits(struct text *out, const struct flow_attr *attr) {
    const double limits[] = {attr->min, attr->max};
    static const char *const names[] = {"minimum", "maximum"};
    for (int i = 0; i < 2; i++)
        if (fabs(limits[i]) < 1e15 && floor(limits[i]) == limits[i]) text_format(out, ", \"%s\": %" PRId64, names[i], (int64_t)limits[i]);
}

static void write_words(struct text *out, const char *choices) {
    text_put(out, "{\"enum\": [");
    for (const char *at = choices; at;) {
        const char *bar = strchr(at, '|');
        char word[128];
        size_t length = bar ? (size_t)(bar - at) : strlen(at);
        if (length >= sizeof word) length = sizeof word - 1;
        memcpy(word, at, length);
        word[length] = 0;
        text_json(out, word);
        at = bar ? bar + 1 : NULL;
        if (at) text_put(out, ", ");
    }
    text_put(out, "]}");
}

static void write_number(struct text *out, const struct flow_attr *attr, const char *type) {
    text_format(out, "{\"type\": \"%s\"", type);
    write_limits(out, attr);
    text_put(out, "}");
}

static void write_type(struct text *out, const struct flow_attr *attr) {
    switch (attr->type) {
    case FLOW_ATTR_INT: write_number(out, attr, "integer"); break;
    case FLOW_ATTR_REAL: write_number(out, attr, "number"); break;
    case FLOW_ATTR_BOOL: text_put(out, "{\"type\": \"boolean\"}"); break;
    case FLOW_ATTR_DTYPE: text_put(out, "{\"$ref\": \"#/$defs/dtype\"}"); break;
    case FLOW_ATTR_VALUES: text_put(out, "{\"type\": [\"number\", \"array\"]}"); break;
    case FLOW_ATTR_CHOICE: write_words(out, attr->choices ? attr->choices : ""); break;
    case FLOW_ATTR_INTS:
        if (attr->choices) {
            write_words(out, attr->choices);
            text_put(out, ", ");
        }
        if (attr->flags & FLOW_SYMBOLS)
            text_put(out, "{\"type\": [\"integer\", \"string\"]}, {\"type\": \"array\", \"items\": {\"type\": "
                          "[\"integer\", \"string\"]}}");
        else {
            write_number(out, attr, "integer");
            text_put(out, ", {\"type\": \"array\", \"items\": {\"anyOf\": [");
            write_number(out, attr, "integer");
            text_put(out, ", {\"$ref\": \"#/$defs/variable\"}]}}");
        }
        break;
    default: text_put(out, "{\"type\": [\"string\", \"number\", \"boolean\"]}"); break;
    }
}

static void write_attr(struct text *out, const struct flow_attr *attr) {
    struct text words;
    text_init(&words, out->from);
    text_put(&words, attr->summary ? attr->summary : "");
    if (!attr->fallback) text_put(&words, " (required)");
    else if (*attr->fallback) text_format(&words, " (default %s)", attr->fallback);
    text_json(out, attr->name);
    text_put(out, ": {\"description\": ");
    text_json(out, words.at ? words.at : "");
    text_put(out, ", \"anyOf\": [");
    write_type(out, attr);
    text_put(out, ", {\"$ref\": \"#/$defs/variable\"}]}");
    out->failed |= words.failed;
    text_free(&words);
}

static void write_required(struct text *out, const char *const *names, size_t count) {
    if (!count) return;
    text_put(out, ", \"required\": [");
    for (size_t i = 0; i < count; i++) {
        if (i) text_put(out, ", ");
        text_json(out, names[i]);
    }
    text_put(out, "]");
}

/* ---- Operators ---- */

size_t schema_with(struct text *out, const struct flow_attrs *rows, const char *also) {
    const char *required[64];
    size_t count = 0;
    text_put(out, "\"with\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {");
    for (uint32_t i = 0; i < rows->count; i++) {
        if (i) text_put(out, ", ");
        write_attr(out, &rows->at[i]);
        if (!rows->at[i].fallback && count < 64) required[count++] = rows->at[i].name;
    }
    if (*also && rows->count) text_put(out, ", ");
    text_put(out, also);
    text_put(out, "}");
    write_required(out, required, count);
    text_put(out, "}");
    return count;
}

/* One reference, a list in order, or a mapping by port. */
static void write_in(struct text *out, const struct flow_operator *op) {
    const struct flow_ports *rows = &op->inputs;
    bool variadic = rows->count && (rows->at[rows->count - 1].flags & FLOW_VARIADIC);
    text_put(
        out,
        ", \"in\": {\"anyOf\": [{\"$ref\": \"#/$defs/reference\"}, {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/reference\"}");
    if (!variadic) text_format(out, ", \"maxItems\": %u", rows->count);
    text_put(out, "}, {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {");
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct flow_port *row = &rows->at[i];
        if (i) text_put(out, ", ");
        text_json(out, row->name);
        text_put(out, ": {\"description\": ");
        text_json(out, row->summary ? row->summary : "");
        text_put(out, ", \"anyOf\": [{\"$ref\": \"#/$defs/reference\"}");
        if (row->flags & FLOW_VARIADIC) text_put(out, ", {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/reference\"}}");
        text_put(out, "]}");
    }
    text_put(out, "}}]}"); /* none is required: `state` may feed it instead */
}

static void write_operator(struct text *out, const struct flow_operator *op) {
    text_put(out, "{\"if\": {\"properties\": {\"op\": {\"const\": ");
    text_json(out, op->name);
    text_put(out, "}}, \"required\": [\"op\"]}, \"then\": {\"properties\": {");
    size_t required = schema_with(out, &op->attrs, "");
    write_in(out, op);
    text_put(out, "}");
    if (required) text_put(out, ", \"required\": [\"with\"]");
    text_put(out, "}}");
}

static void write_names(struct text *out, const struct registry_entry *const *entries, size_t count) {
    text_put(out, "\"operator\": {\"oneOf\": [\n");
    for (size_t i = 0; i < count; i++) {
        const struct flow_operator *op = entries[i]->op;
        if (i && strcmp(entries[i - 1]->op->name, op->name) == 0) continue;
        text_put(out, "{\"const\": ");
        text_json(out, op->name);
        text_put(out, ", \"description\": ");
        text_json(out, op->summary ? op->summary : "");
        text_put(out, "},\n");
    }
    text_put(out, "{\"const\": \"gradient\", \"description\": \"the derivative of one value by another, or by parameters\"},\n"
                  "{\"const\": \"parameters\", \"description\": \"all parameters that match a pattern, as one vector\"}]},\n");
}

int schema_write(struct registry *registry, struct text *out) {
    const struct registry_entry **entries;
    size_t count;
    int status = registry_all(registry, &entries, &count, NULL);
    if (status < 0) return status;
    text_put(out, head);
    status = schema_training(registry, out);
    if (status < 0) return status;
    text_put(out, "\"dtype\": {\"enum\": [");
    for (int32_t i = 0; i < FLOW_TYPE_COUNT; i++) text_format(out, "%s\"%s\"", i ? ", " : "", dtype_name(i));
    text_put(out, "]},\n");
    write_names(out, entries, count);
    text_put(out, node);
    for (size_t i = 0; i < count; i++) {
        if (i && strcmp(entries[i - 1]->op->name, entries[i]->op->name) == 0) continue; /* two plugins offer it: the graph must say which */
        write_operator(out, entries[i]->op);
        text_put(out, ",\n");
    }
    text_put(out,
             "{\"if\": {\"properties\": {\"op\": {\"const\": \"gradient\"}}, \"required\": [\"op\"]}, \"then\": {\"properties\": "
             "{\"with\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"params\": {\"type\": \"string\"}}}}, "
             "\"required\": [\"in\"]}},\n");
    text_put(out, "{\"if\": {\"properties\": {\"op\": {\"const\": \"parameters\"}}, \"required\": [\"op\"]}, \"then\": {\"properties\": "
                  "{\"with\": {\"type\": \"object\", \"required\": [\"match\"], \"additionalProperties\": false, \"properties\": "
                  "{\"match\": {\"type\": \"string\"}}}}, \"required\": [\"with\"]}}\n]}\n}\n}\n");
    return out->failed ? FLOW_ERROR_MEMORY : FLOW_OK;
}
