/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, optimisers and sources, from their own tables. */
#include "flowrun/ops.h"

#include "flowrun/table.h"
#include "flowrun/terminal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A table of names and summaries; a summary that is too long for the line ends in dots. */
static void print_list(const struct entry *entries, size_t count) {
    enum { GAP = 2 };
    static const char *const kinds[] = {"", "optimiser: ", "source: "};
    size_t widest = 0, width = terminal_width(stdout, 1 << 16); /* a file or a pipe gets whole lines */
    const char *plugin = NULL;
    for (size_t i = 0; i < count; i++)
        if (terminal_columns(entries[i].name) > widest) widest = terminal_columns(entries[i].name);
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i];
        if (!plugin || strcmp(plugin, entry->plugin) != 0)
            printf("%s%s%s%s%s\n", plugin ? "\n" : "", DIM, entry->plugin, entry->file ? ", a plugin" : "", PLAIN);
        plugin = entry->plugin;
        size_t used = 2 + widest + GAP + strlen(kinds[entry->kind]), room = width > used ? width - used : 20;
        printf("  %s%s%s", BOLD, entry->name, PLAIN);
        terminal_spaces(stdout, widest + GAP - terminal_columns(entry->name));
        size_t length = strcspn(entry->summary, "\n");
        bool cut = terminal_columns_of(entry->summary, length) > room;
        while (cut && length > 0 && (terminal_columns_of(entry->summary, length) > room - 3 || (entry->summary[length] & 0xc0) == 0x80))
            length--;
        printf("%s%.*s%s\n", kinds[entry->kind], (int)length, entry->summary, cut ? "..." : "");
    }
}

static bool holds(const char *text, const char *word) {
    size_t length = strlen(word);
    for (; text && *text; text++) {
        size_t i = 0;
        while (i < length && text[i] && tolower((unsigned char)text[i]) == tolower((unsigned char)word[i])) i++;
        if (i == length) return true;
    }
    return false;
}

static bool holds_word(const struct entry *entry, const char *word) {
    bool found = holds(entry->name, word) || holds(entry->plugin, word) || holds(entry->summary, word) || holds(entry->equation, word) ||
                 holds(entry->reference, word);
    for (uint32_t i = 0; i < entry->attrs.count; i++)
        found = found || holds(entry->attrs.at[i].name, word) || holds(entry->attrs.at[i].summary, word) ||
                holds(entry->attrs.at[i].choices, word);
    return found;
}

/* Those that hold the word come first in the list; how many. */
static size_t search(struct entries *entries, const char *word) {
    size_t kept = 0;
    for (size_t i = 0; i < entries->count; i++)
        if (holds_word(&entries->at[i], word)) entries->at[kept++] = entries->at[i];
    return kept;
}

/* `NAME` or `PLUGIN/NAME`: an operator, an optimiser and a source may share it. */
static bool is_called(const struct entry *entry, const char *name) {
    const char *slash = strchr(name, '/');
    size_t length = slash ? (size_t)(slash - name) : 0;
    if (slash && (strlen(entry->plugin) != length || strncmp(entry->plugin, name, length) != 0)) return false;
    return strcmp(entry->name, slash ? slash + 1 : name) == 0;
}

static int show_named(const struct entries *entries, const char *name, bool json) {
    int shown = 0;
    struct nearest nearest = {.word = name};
    for (size_t i = 0; i < entries->count; i++) {
        nearest_offer(&nearest, entries->at[i].name);
        if (!is_called(&entries->at[i], name)) continue;
        if (shown++) putchar('\n');
        if (json) ops_json_one(&entries->at[i]), putchar('\n');
        else ops_page(&entries->at[i]);
    }
    if (shown) return EXIT_DONE;
    if (nearest.best) return command_say(EXIT_USAGE, "there is no operator '%s' (did you mean '%s'?)", name, nearest.best);
    return command_say(EXIT_USAGE, "there is no operator '%s'; flowrun ops --search %s looks in their descriptions", name, name);
}

static int list(const struct command *command, flow_runtime *runtime) {
    struct entries entries;
    int rc = entries_read(runtime, &entries);
    size_t count = entries.count;
    if (rc == 0 && entries.failures) fputs(entries.failures, stderr);
    if (rc == 0 && command->search) {
        count = search(&entries, command->search);
        if (!count) rc = command_say(EXIT_FAILED, "no operator's description holds '%s'", command->search);
    }
    if (rc == 0 && command->graph) rc = show_named(&entries, command->graph, command->json);
    else if (rc == 0 && command->markdown) rc = ops_markdown(runtime, &entries, command->markdown);
    else if (rc == 0 && command->names)
        for (size_t i = 0; i < count; i++) puts(entries.at[i].name);
    else if (rc == 0 && command->json) ops_json(entries.at, count);
    else if (rc == 0) print_list(entries.at, count);
    entries_free(&entries);
    return rc;
}

int command_ops(struct command *command) {
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    int rc = command_runtime(command, &runtime);
    if (rc) return rc;
    char *schema;
    if (!command->schema) rc = list(command, runtime);
    else if (flow_runtime_schema(runtime, &errors, &schema) < 0) rc = command_fail(errors);
    else fputs(schema, stdout), flow_text_free(schema);
    flow_runtime_free(runtime);
    return rc;
}
