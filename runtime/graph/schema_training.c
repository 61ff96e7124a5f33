/* SPDX-License-Identifier: Apache-2.0 */
/* The schema of `data` and `train`, with every source and optimiser that is known. */
#include "graph/schema_private.h"

#include <string.h>

struct member {
    const char *name, *type;
};

/* Of `train` and of each stage. */
static const struct member section[] = {
    {"stages", "{\"type\": \"array\", \"minItems\": 1, \"items\": {\"$ref\": \"#/$defs/stage\"}, \"description\": \"sections as "
               "this one, run in order\"}"},
    {"loss", "{\"description\": \"one reference, a list, or reference: weight\", \"anyOf\": [{\"$ref\": \"#/$defs/reference\"}, "
             "{\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/reference\"}}, {\"type\": \"object\", "
             "\"additionalProperties\": {\"anyOf\": [{\"type\": \"number\"}, {\"$ref\": \"#/$defs/variable\"}]}}]}"},
    {"data", "{\"type\": \"string\", \"description\": \"an entry of the section data\"}"},
    {"steps", "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}"},
    {"seconds", "{\"description\": \"the length in time, in place of steps\", \"anyOf\": [{\"type\": \"number\", \"minimum\": 0}, "
                "{\"$ref\": \"#/$defs/variable\"}]}"},
    {"update", "{\"description\": \"the first group whose pattern matches a parameter owns it\", \"anyOf\": [{\"$ref\": "
               "\"#/$defs/update\"}, {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/update\"}}]}"},
    {"schedule", "{\"anyOf\": [{\"anyOf\": [{\"enum\": [\"constant\", \"linear\", \"cosine\", \"step\", \"inverse_sqrt\"]}, "
                 "{\"$ref\": \"#/$defs/variable\"}]}, {\"type\": \"object\", \"additionalProperties\": false, \"properties\": "
                 "{\"kind\": {\"anyOf\": [{\"enum\": [\"constant\", \"linear\", \"cosine\", \"step\", \"inverse_sqrt\"]}, {\"$ref\": "
                 "\"#/$defs/variable\"}]}, \"warmup\": {\"description\": \"steps\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": "
                 "0}, {\"$ref\": \"#/$defs/variable\"}]}, \"final\": {\"description\": \"share of the rate at the end\", \"anyOf\": "
                 "[{\"type\": \"number\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}, \"every\": {\"description\": \"kind "
                 "step: steps\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]}, \"factor\": "
                 "{\"description\": \"kind step\", \"anyOf\": [{\"type\": \"number\", \"minimum\": 0}, {\"$ref\": "
                 "\"#/$defs/variable\"}]}}}]}"},
    {"clip_norm", "{\"anyOf\": [{\"type\": \"null\"}, {\"description\": \"most norm of all gradients together\", \"anyOf\": "
                  "[{\"type\": \"number\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}]}"},
    {"noise", "{\"anyOf\": [{\"type\": \"null\"}, {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"eta\"], "
              "\"properties\": {\"eta\": {\"description\": \"variance at the first step\", \"anyOf\": [{\"type\": \"number\", "
              "\"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}, \"gamma\": {\"anyOf\": [{\"type\": \"number\", \"minimum\": "
              "0}, {\"$ref\": \"#/$defs/variable\"}]}, \"after_clip\": {\"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": "
              "\"#/$defs/variable\"}]}}}]}"},
    {"micro_batches", "{\"description\": \"gradients of so many batches are averaged\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": "
                      "1}, {\"$ref\": \"#/$defs/variable\"}]}"},
    {"keep_state", "{\"description\": \"states of optimisers go on from the stage before\", \"anyOf\": [{\"type\": \"boolean\"}, "
                   "{\"$ref\": \"#/$defs/variable\"}]}"},
    {"feeds", "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"step\": {\"type\": \"string\", "
              "\"description\": \"an input, i64 scalar\"}, \"progress\": {\"type\": \"string\", \"description\": \"an input, f32 "
              "scalar, from 0 to 1\"}}}"},
    {"validate", "{\"anyOf\": [{\"type\": \"null\"}, {\"anyOf\": [{\"$ref\": \"#/$defs/validate\"}, {\"type\": \"array\", \"items\": "
                 "{\"$ref\": \"#/$defs/validate\"}}]}]}"},
    {"copy", "{\"anyOf\": [{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"from\", \"to\"], "
             "\"properties\": {\"from\": {\"type\": \"string\"}, \"to\": {\"type\": \"string\"}}}, {\"type\": \"array\", "
             "\"items\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"from\", \"to\"], "
             "\"properties\": {\"from\": {\"type\": \"string\"}, \"to\": {\"type\": \"string\"}}}}]}"},
    {"reset", "{\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"array\", \"items\": {\"type\": \"string\"}}]}"},
    {"early_stop", "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"metric\", \"patience\"], \"properties\": "
                   "{\"metric\": {\"type\": \"string\", \"description\": \"VALIDATE.METRIC\"}, \"best\": {\"anyOf\": [{\"enum\": "
                   "[\"min\", \"max\"]}, {\"$ref\": \"#/$defs/variable\"}]}, \"patience\": {\"anyOf\": [{\"type\": \"integer\", "
                   "\"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]}, \"restore\": {\"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": "
                   "\"#/$defs/variable\"}]}}}"},
    {"checkpoint", "{\"anyOf\": [{\"type\": \"null\"}, {\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"object\", "
                   "\"additionalProperties\": false, \"required\": [\"dir\"], \"properties\": {\"dir\": {\"type\": \"string\"}, "
                   "\"every\": {\"description\": \"steps; 0: at the end\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, "
                   "{\"$ref\": \"#/$defs/variable\"}]}, \"keep\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"$ref\": "
                   "\"#/$defs/variable\"}]}}}]}]}"},
    {"samples", "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"file\"], \"properties\": {\"file\": "
                "{\"type\": \"string\"}, \"every\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"$ref\": "
                "\"#/$defs/variable\"}]}, \"after\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": "
                "\"#/$defs/variable\"}]}}}"},
    {"doc", "{\"type\": \"string\"}"}};

/* Of a stage alone. */
static const struct member stage_alone[] = {
    {"name", "{\"type\": \"string\", \"description\": \"in metrics and messages\"}"},
    {"vars", "{\"$ref\": \"#/$defs/vars\", \"description\": \"the graph is read anew with these\"}"},
    {"foreach", "{\"$ref\": \"#/$defs/foreach\"}"}};

/* Every source has these, unless it has one of its own of that name. */
static const struct member common[] = {
    {"batch", "{\"description\": \"rows, or all\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": 1}, {\"const\": \"all\"}, "
              "{\"$ref\": \"#/$defs/variable\"}]}"},
    {"shuffle", "{\"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": \"#/$defs/variable\"}]}"},
    {"keep_last", "{\"description\": \"also a last batch of fewer rows\", \"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": "
                  "\"#/$defs/variable\"}]}"},
    {"split", "{\"description\": \"[from, to): shares of the rows\", \"anyOf\": [{\"type\": \"array\", \"minItems\": 2, "
              "\"maxItems\": 2}, {\"$ref\": \"#/$defs/variable\"}]}"},
    {"workers", "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}"},
    {"ahead", "{\"description\": \"batches read ahead\", \"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": "
              "\"#/$defs/variable\"}]}"},
    {"rate", "{\"description\": \"most bytes a second\", \"anyOf\": [{\"type\": \"number\", \"minimum\": 0}, {\"$ref\": "
             "\"#/$defs/variable\"}]}"},
    {"seed", "{\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}"}};

static const char validate[] =
    "\"foreach\": {\"type\": \"object\", \"minProperties\": 1, \"maxProperties\": 1, \"description\": \"variable: how "
    "many values, or a list of them\"}, \"validate\": {\"type\": \"object\", \"additionalProperties\": false, "
    "\"required\": [\"metrics\"], \"properties\": {\"name\": {\"type\": \"string\"}, \"data\": {\"type\": \"string\", "
    "\"description\": \"which data; none: as in training\"}, \"vars\": {\"$ref\": \"#/$defs/vars\"}, \"foreach\": "
    "{\"$ref\": \"#/$defs/foreach\"}, \"every\": {\"description\": \"steps\", \"anyOf\": [{\"type\": \"integer\", "
    "\"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]}, \"at\": {\"anyOf\": [{\"anyOf\": [{\"enum\": [\"start\", "
    "\"end\"]}, {\"$ref\": \"#/$defs/variable\"}]}, {\"type\": \"array\", \"items\": {\"anyOf\": [{\"enum\": [\"start\", "
    "\"end\"]}, {\"$ref\": \"#/$defs/variable\"}]}}]}, \"metrics\": {\"type\": \"object\", \"description\": \"name: a "
    "node, whose mean over the data is taken, or a subgraph run once on all of it\", \"additionalProperties\": "
    "{\"anyOf\": [{\"$ref\": \"#/$defs/reference\"}, {\"type\": \"object\", \"additionalProperties\": false, "
    "\"required\": [\"graph\", \"in\"], \"properties\": {\"graph\": {\"type\": \"string\"}, \"in\": {\"$ref\": "
    "\"#/$defs/words\"}}}]}}, \"state\": {\"description\": \"states go on from those of training, and: are thrown away "
    "after, are not written, stay\", \"anyOf\": [{\"enum\": [\"copy\", \"read\", \"keep\"]}, {\"$ref\": "
    "\"#/$defs/variable\"}]}, \"doc\": {\"type\": \"string\"}}}, ";

static const char update_head[] =
    "\"update\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"params\", \"optimizer\"], "
    "\"properties\": {\"params\": {\"type\": \"string\", \"description\": \"pattern of parameters\"}, \"with\": "
    "{\"type\": \"object\"}, \"loss\": {\"$ref\": \"#/$defs/reference\", \"description\": \"this group follows this loss "
    "alone\"}, \"every\": {\"description\": \"acts every so many steps\", \"anyOf\": [{\"type\": \"integer\", "
    "\"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]}, \"clip_norm\": {\"anyOf\": [{\"type\": \"number\", "
    "\"minimum\": 0}, {\"$ref\": \"#/$defs/variable\"}]}, \"centralize\": {\"description\": \"takes the mean of each "
    "gradient over all axes but the first away\", \"anyOf\": [{\"type\": \"boolean\"}, {\"$ref\": "
    "\"#/$defs/variable\"}]}, \"doc\": {\"type\": \"string\"}, \"optimizer\": {\"anyOf\": [{\"type\": \"string\", "
    "\"pattern\": \"[/$]\"}";

static const char data_head[] =
    "\"data\": {\"type\": \"object\", \"additionalProperties\": {\"type\": \"object\", \"additionalProperties\": false, "
    "\"required\": [\"source\"], \"properties\": {\"path\": {\"type\": \"string\"}, \"with\": {\"type\": \"object\"}, "
    "\"feeds\": {\"$ref\": \"#/$defs/words\", \"description\": \"input of the graph: output of the source\"}, "
    "\"weights\": {\"type\": \"string\", \"description\": \"source graph: its parameters; else those in training\"}, "
    "\"rename\": {\"$ref\": \"#/$defs/words\"}, \"lag\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": 0}, "
    "{\"$ref\": \"#/$defs/variable\"}]}, \"reuse\": {\"type\": \"object\", \"additionalProperties\": false, "
    "\"required\": [\"epochs\", \"batch\"], \"properties\": {\"epochs\": {\"anyOf\": [{\"type\": \"integer\", "
    "\"minimum\": 1}, {\"$ref\": \"#/$defs/variable\"}]}, \"batch\": {\"anyOf\": [{\"type\": \"integer\", \"minimum\": "
    "1}, {\"$ref\": \"#/$defs/variable\"}]}}}, \"doc\": {\"type\": \"string\"}, \"source\": {\"anyOf\": [{\"type\": "
    "\"string\", \"pattern\": \"[/$]\"}, {\"const\": \"graph\", \"description\": \"outputs of another graph\"}";

static void write_name(struct text *out, const char *name, const char *summary) {
    text_put(out, ", {\"const\": ");
    text_json(out, name);
    text_put(out, ", \"description\": ");
    text_json(out, summary ? summary : "");
    text_put(out, "}");
}

static void write_rule(struct text *out, const char *key, const char *name, const struct flow_attrs *rows, const char *also, bool first) {
    text_format(out, "%s{\"if\": {\"properties\": {\"%s\": {\"const\": ", first ? "" : ",\n", key);
    text_json(out, name);
    text_format(out, "}}, \"required\": [\"%s\"]}, \"then\": {\"properties\": {", key);
    size_t required = schema_with(out, rows, also);
    text_put(out, "}");
    if (required) text_put(out, ", \"required\": [\"with\"]");
    text_put(out, "}}");
}

static const char *optimizer_name(const struct registry_entry *entry) { return entry->optimizer->name; }
static const char *source_name(const struct registry_entry *entry) { return entry->source->name; }

/* Of two plugins that offer a name the graph must say which. */
static bool again(const struct registry_entry *const *entries, size_t i, const char *(*name)(const struct registry_entry *)) {
    return i && strcmp(name(entries[i - 1]), name(entries[i])) == 0;
}

static int write_updates(struct registry *registry, struct text *out) {
    const struct registry_entry **entries;
    size_t count;
    int status = registry_optimizers(registry, &entries, &count, NULL);
    if (status < 0) return status;
    text_put(out, update_head);
    for (size_t i = 0; i < count; i++)
        if (!again(entries, i, optimizer_name)) write_name(out, optimizer_name(entries[i]), entries[i]->optimizer->summary);
    text_put(out, "]}}, \"allOf\": [\n");
    for (size_t i = 0; i < count; i++)
        if (!again(entries, i, optimizer_name))
            write_rule(out, "optimizer", optimizer_name(entries[i]), &entries[i]->optimizer->attrs, "", i == 0);
    text_put(out, "]},\n");
    return FLOW_OK;
}

static bool has_attr(const struct flow_attrs *rows, const char *name) {
    for (uint32_t i = 0; i < rows->count; i++)
        if (strcmp(rows->at[i].name, name) == 0) return true;
    return false;
}

static void write_source(struct text *out, const struct flow_source *source, bool first) {
    struct text also;
    text_init(&also, out->from);
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (!has_attr(&source->attrs, common[i].name))
            text_format(&also, "%s\"%s\": %s", also.length ? ", " : "", common[i].name, common[i].type);
    write_rule(out, "source", source->name, &source->attrs, also.at ? also.at : "", first);
    out->failed |= also.failed;
    text_free(&also);
}

static int write_data(struct registry *registry, struct text *out) {
    const struct registry_entry **entries;
    size_t count;
    int status = registry_sources(registry, &entries, &count, NULL);
    if (status < 0) return status;
    text_put(out, data_head);
    for (size_t i = 0; i < count; i++)
        if (!again(entries, i, source_name)) write_name(out, source_name(entries[i]), entries[i]->source->summary);
    text_put(out, "]}}, \"allOf\": [\n");
    for (size_t i = 0; i < count; i++)
        if (!again(entries, i, source_name)) write_source(out, entries[i]->source, i == 0);
    text_put(out, "]}},\n");
    return FLOW_OK;
}

static void write_members(struct text *out, const struct member *members, size_t count, bool first) {
    for (size_t i = 0; i < count; i++) text_format(out, "%s\"%s\": %s", i || !first ? ", " : "", members[i].name, members[i].type);
}

static void write_section(struct text *out, const char *name, bool stage) {
    text_format(out, "\"%s\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {", name);
    if (stage) write_members(out, stage_alone, sizeof stage_alone / sizeof *stage_alone, true);
    write_members(out, section, sizeof section / sizeof *section, !stage);
    text_put(out, "}},\n");
}

int schema_training(struct registry *registry, struct text *out) {
    write_section(out, "train", false);
    write_section(out, "stage", true);
    text_put(out, validate);
    int status = write_updates(registry, out);
    return status < 0 ? status : write_data(registry, out);
}
