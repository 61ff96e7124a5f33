/* SPDX-License-Identifier: Apache-2.0 */
#include "data.h"

#include <stdlib.h>
#include <string.h>

void *data_memory(const struct flow_source_open *open, int64_t count, size_t size) {
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes)) {
        data_wrong(open, FLOW_ERROR_RANGE, "%lld elements of %zu bytes are more than can be held", (long long)count, size);
        return NULL;
    }
    return open->host->memory(open->owner, bytes ? bytes : 1);
}

char *data_copy(const struct flow_source_open *open, const char *text, size_t length) {
    char *copy = open->host->memory(open->owner, length + 1);
    if (copy) memcpy(copy, text, length), copy[length] = 0;
    return copy;
}

int data_check_packed(const struct flow_source_open *open, const char *path, const uint8_t *start, int64_t size) {
    if (size >= 2 && start[0] == 0x1F && start[1] == 0x8B)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s is compressed with gzip: unpack it first (gunzip -k)", path);
    if (size >= 4 && start[0] == 'P' && start[1] == 'K' && start[2] == 3 && start[3] == 4)
        return data_wrong(open, FLOW_ERROR_FORMAT, "%s is a zip archive: unpack it first", path);
    return FLOW_OK;
}

int data_read_whole(const struct flow_source_open *open, const char *path, char **bytes, int64_t *size) {
    void *file;
    *bytes = NULL;
    int status = open->host->file_open(open->owner, path, &file, size);
    if (status < 0) return status;
    if (*size > DATA_WHOLE_MOST)
        return data_wrong(open, FLOW_ERROR_RANGE, "%s has %lld bytes: at most %d are read into memory", path, (long long)*size,
                          DATA_WHOLE_MOST);
    char *whole = malloc((size_t)*size + 1);
    if (!whole) return data_wrong(open, FLOW_ERROR_MEMORY, "out of memory");
    status = open->host->file_read(open->owner, file, 0, *size, whole);
    if (status == FLOW_OK) status = data_check_packed(open, path, (const uint8_t *)whole, *size);
    if (status < 0) free(whole);
    else whole[*size] = 0, *bytes = whole;
    return status;
}

/* One pattern of `length` characters; backtracks to the last star only. */
static bool matches_one(const char *pattern, size_t length, const char *text) {
    const char *end = pattern + length, *star = NULL, *mark = NULL;
    while (*text) {
        if (pattern < end && *pattern == '*') star = ++pattern, mark = text;
        else if (pattern < end && *pattern == *text) pattern++, text++;
        else if (star) pattern = star, text = ++mark;
        else return false;
    }
    while (pattern < end && *pattern == '*') pattern++;
    return pattern == end;
}

bool data_matches(const char *patterns, const char *text, bool otherwise) {
    if (!patterns || !*patterns) return otherwise;
    for (const char *at = patterns;; at++) {
        const size_t length = strcspn(at, "|");
        if (matches_one(at, length, text)) return true;
        at += length;
        if (!*at) return false;
    }
}

const char *data_base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

int64_t data_run(const int64_t *rows, int64_t i, int64_t count) {
    int64_t n = 1;
    while (i + n < count && rows[i + n] == rows[i] + n) n++;
    return n;
}

double data_uniform(uint64_t seed, int64_t row, uint64_t draw) {
    uint32_t words[4];
    flow_philox(seed, (uint64_t)row, draw, words);
    return flow_uniform_f64(words[0], words[1]);
}

const char *data_word(const char **list, size_t *length) {
    const char *at = *list + strspn(*list, " ,");
    *length = strcspn(at, " ,");
    *list = at + *length;
    return *length ? at : NULL;
}

int data_output(const struct flow_source_open *open, const char *name, int32_t dtype, int32_t rank, const int64_t *shape) {
    return open->host->output(open->owner, name, dtype, rank, shape, false);
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

int data_labels_of(const struct flow_source_open *open, const char *const *texts, int64_t count, struct data_labels *labels,
                   int64_t *numbers) {
    const char **sorted = data_memory(open, count, sizeof *sorted);
    if (!sorted) return FLOW_ERROR_MEMORY;
    if (count) memcpy(sorted, texts, (size_t)count * sizeof *sorted);
    if (count) qsort(sorted, (size_t)count, sizeof *sorted, compare_texts);
    int64_t different = 0;
    for (int64_t i = 0; i < count; i++)
        if (different == 0 || strcmp(sorted[different - 1], sorted[i]) != 0) sorted[different++] = sorted[i];
    *labels = (struct data_labels){sorted, different};
    for (int64_t i = 0; i < count; i++) {
        const char **found = bsearch(&texts[i], sorted, (size_t)different, sizeof *sorted, compare_texts);
        numbers[i] = found ? found - sorted : -1;
    }
    return FLOW_OK;
}
