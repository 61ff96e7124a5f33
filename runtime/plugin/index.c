/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: what each plugin file offered when it was last opened, so that a start opens only the files it needs. It holds successes only
 * and is never believed against a file: opening decides. A file of lines,
 *
 *     flow-plugins 2 1 x86_64            format, abi, architecture
 *     file 18520 1700000000123456789 attention /path/of/the/file.so        size, modified (ns), plugin's name, path
 *     operator attention                 what it offers: also "optimizer NAME", "source NAME"
 *     kernels relu
 *     end 0123456789abcdef               FNV-1a of all bytes before this line
 *
 * Whatever deviates makes the whole index empty; it is then written anew.
 */
#include "plugin/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { INDEX_BYTES_MOST = 4 << 20, INDEX_FORMAT = 2 };

static uint64_t hash_of(const char *bytes, size_t size) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (uint8_t)bytes[i]) * 0x100000001B3u;
    return hash;
}

static void put_head(struct text *text) {
    struct utsname machine;
    const char *name = uname(&machine) == 0 ? machine.machine : "unknown";
    text_format(text, "flow-plugins %d %u %s-%zu\n", INDEX_FORMAT, FLOW_ABI, name, 8 * sizeof(void *));
}

/* The whole file, zero-terminated, or NULL (none, too large, not regular; *status negative when memory ran out). */
static char *read_all(struct arena *arena, const char *path, size_t *size, int *status) {
    char *bytes = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    *size = 0, *status = FLOW_OK;
    if (file < 0) return NULL;
    if (fstat(file, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0 && about.st_size <= INDEX_BYTES_MOST) {
        bytes = arena_new(arena, (size_t)about.st_size + 1);
        if (!bytes) *status = FLOW_ERROR_MEMORY;
        ssize_t n = 1;
        while (bytes && n > 0 && *size < (size_t)about.st_size) {
            n = read(file, bytes + *size, (size_t)about.st_size - *size);
            if (n > 0) *size += (size_t)n;
            else if (n < 0 && errno == EINTR) n = 1;
        }
    }
    close(file);
    return bytes;
}

/* Checks first and last line; cuts the last off. */
static bool whole(const struct arena *arena, char *bytes, size_t size, char **body) {
    struct text head;
    bool good = false;
    text_init(&head, arena->from);
    put_head(&head);
    if (!head.failed && size > head.length + 21 && memcmp(bytes, head.at, head.length) == 0 && bytes[size - 1] == '\n') {
        char *end = bytes + size - 21; /* "end " 16 digits "\n" */
        char wanted[32];
        snprintf(wanted, sizeof wanted, "end %016llx\n", (unsigned long long)hash_of(bytes, size - 21));
        good = memcmp(end, wanted, 21) == 0 && end[-1] == '\n' && !memchr(bytes, 0, size);
        *end = 0;
        *body = bytes + head.length;
    }
    text_free(&head);
    return good;
}

/* "SIZE MODIFIED PLUGIN PATH" */
static bool parse_file(char *line, struct index_row *row) {
    char *at = line, *end;
    errno = 0;
    row->size = strtoll(at, &end, 10);
    if (end == at || *end != ' ') return false;
    at = end + 1;
    row->modified = strtoll(at, &end, 10);
    if (end == at || *end != ' ' || errno) return false;
    row->offer.plugin = end + 1;
    at = strchr(end + 1, ' ');
    if (!at || at[1] != '/') return false;
    *at = 0;
    row->path = at + 1;
    return true;
}

struct names {
    const char **at;
    size_t count, capacity;
};

/* "KIND NAME": the kind, OFFER_LISTS when it is none; *name. */
static enum offer_kind parse_kind(const char *line, const char **name) {
    enum offer_kind kind = 0;
    for (; kind < OFFER_LISTS; kind++) {
        const size_t length = strlen(plugin_offer_words[kind]);
        *name = line + length + 1;
        if (strncmp(line, plugin_offer_words[kind], length) == 0 && line[length] == ' ') break;
    }
    return kind;
}

/* Lines to rows. The names of all rows stand in an array a kind, in order. */
static int parse_rows(struct index *index, char *body, struct names names[OFFER_LISTS]) {
    for (char *line = body, *next; *line; line = next) {
        next = strchr(line, '\n');
        if (!next) return FLOW_ERROR_FORMAT;
        *next++ = 0;
        struct index_row *row = index->count ? &index->rows[index->count - 1] : NULL;
        if (strncmp(line, "file ", 5) == 0) {
            if (memory_grow(index->from, (void **)&index->rows, &index->capacity, index->count + 1, sizeof *index->rows) < 0)
                return FLOW_ERROR_MEMORY;
            row = &index->rows[index->count];
            *row = (struct index_row){0};
            if (!parse_file(line + 5, row)) return FLOW_ERROR_FORMAT;
            index->count++;
            continue;
        }
        const char *name;
        const enum offer_kind kind = parse_kind(line, &name);
        if (!row || kind == OFFER_LISTS) return FLOW_ERROR_FORMAT;
        struct names *to = &names[kind];
        if (row->offer.of[kind].count >= ROWS_MOST) return FLOW_ERROR_FORMAT;
        if (memory_grow(index->from, (void **)&to->at, &to->capacity, to->count + 1, sizeof *to->at) < 0) return FLOW_ERROR_MEMORY;
        to->at[to->count++] = name;
        row->offer.of[kind].count++;
    }
    return FLOW_OK;
}

int plugin_index_read(struct arena *arena, const char *path, struct index *index) {
    size_t size;
    int status;
    char *body;
    *index = (struct index){.from = arena->from};
    char *bytes = read_all(arena, path, &size, &status);
    if (!bytes || !whole(arena, bytes, size, &body)) return status;
    struct names names[OFFER_LISTS] = {{0}};
    status = parse_rows(index, body, names);
    for (enum offer_kind kind = 0; kind < OFFER_LISTS; kind++) {
        const char **first = status == FLOW_OK ? arena_copy(arena, names[kind].at, names[kind].count * sizeof *names[kind].at) : NULL;
        if (status == FLOW_OK && !first) status = FLOW_ERROR_MEMORY;
        for (size_t i = 0; status == FLOW_OK && i < index->count; i++) {
            struct offer_list *list = &index->rows[i].offer.of[kind];
            list->at = first, first += list->count;
        }
        memory_free(arena->from, names[kind].at, names[kind].capacity * sizeof *names[kind].at);
    }
    if (status < 0) plugin_index_free(index);
    return status == FLOW_ERROR_MEMORY ? status : FLOW_OK;
}

void plugin_index_free(struct index *index) {
    if (index->from) memory_free(index->from, index->rows, index->capacity * sizeof *index->rows);
    *index = (struct index){.from = index->from};
}

static struct index_row *row_of(const struct index *index, const char *path) {
    for (size_t i = 0; i < index->count; i++)
        if (strcmp(index->rows[i].path, path) == 0) return &index->rows[i];
    return NULL;
}

const struct index_row *plugin_index_find(const struct index *index, const char *path, const struct file_key *key) {
    const struct index_row *row = row_of(index, path);
    return row && row->size == key->size && row->modified == key->modified ? row : NULL;
}

int plugin_index_set(struct index *index, const char *path, const struct file_key *key, const struct offer *offer) {
    struct index_row *row = row_of(index, path);
    if (*path != '/' || strchr(path, '\n')) return FLOW_OK; /* cannot be written down: such a file is opened at each start */
    if (!row) {
        if (memory_grow(index->from, (void **)&index->rows, &index->capacity, index->count + 1, sizeof *index->rows) < 0)
            return FLOW_ERROR_MEMORY;
        row = &index->rows[index->count++];
    }
    *row = (struct index_row){path, key->size, key->modified, *offer};
    return FLOW_OK;
}

static void put_rows(struct text *text, const struct index *index) {
    put_head(text);
    for (size_t i = 0; i < index->count; i++) {
        const struct index_row *row = &index->rows[i];
        struct stat about;
        if (stat(row->path, &about) < 0) continue;
        text_format(text, "file %lld %lld %s %s\n", (long long)row->size, (long long)row->modified, row->offer.plugin, row->path);
        for (enum offer_kind kind = 0; kind < OFFER_LISTS; kind++)
            for (uint32_t j = 0; j < row->offer.of[kind].count; j++)
                text_format(text, "%s %s\n", plugin_offer_words[kind], row->offer.of[kind].at[j]);
    }
    if (!text->failed) text_format(text, "end %016llx\n", (unsigned long long)hash_of(text->at, text->length));
}

/* Makes the last two folders of the path where they are missing. */
static void make_folders(char *path) {
    char *last = strrchr(path, '/'), *before;
    if (!last || last == path) return;
    *last = 0;
    before = strrchr(path, '/');
    if (before && before != path) {
        *before = 0;
        mkdir(path, 0700);
        *before = '/';
    }
    mkdir(path, 0700);
    *last = '/';
}

static bool write_all(int file, const char *bytes, size_t size) {
    while (size) {
        ssize_t n = write(file, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n, size -= (size_t)n;
    }
    return true;
}

void plugin_index_write(const struct index *index, const char *path) {
    struct text rows, temporary;
    text_init(&rows, index->from), text_init(&temporary, index->from);
    put_rows(&rows, index);
    text_format(&temporary, "%s.XXXXXX", path);
    if (!rows.failed && !temporary.failed && rows.length <= INDEX_BYTES_MOST) {
        make_folders(temporary.at);
        int file = mkostemp(temporary.at, O_CLOEXEC);
        if (file >= 0) {
            bool good = write_all(file, rows.at, rows.length);
            if (close(file) < 0) good = false;
            if (!good || rename(temporary.at, path) < 0) unlink(temporary.at);
        }
    }
    text_free(&rows), text_free(&temporary);
}
