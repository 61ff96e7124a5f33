/* SPDX-License-Identifier: Apache-2.0 */
/* What a source may ask of its host, on the loop's workers: memory, files read at any place, tensors, folders. Files are opened in open
 * alone, so that the list of them is read later without a lock. A program may have about a thousand descriptors: the first 256 files stay
 * open, others are opened anew for each read. */
#include "io/batches_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FOLDER_DEPTH_MOST = 32, THROTTLED_BYTES = 1 << 16, READ_BYTES_MOST = 1 << 30, FILES_HELD_MOST = 256 };

double batches_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void batches_call_init(struct source_call *call, struct batches *batches, bool opening) {
    *call = (struct source_call){.batches = batches, .opening = opening};
    text_init(&call->words, batches->from);
}

void batches_call_free(struct source_call *call) {
    if (call->batches) text_free(&call->words);
}

static int fail(void *owner, int code, const char *format, ...) {
    struct source_call *call = owner;
    if (code >= 0) code = FLOW_ERROR_INTERNAL;
    if (call->code < 0) return code;
    call->code = code;
    va_list arguments;
    va_start(arguments, format);
    text_vformat(&call->words, format, arguments);
    va_end(arguments);
    return code;
}

static int no_memory(void *owner) { return fail(owner, FLOW_ERROR_MEMORY, "out of memory"); }

static int open_only(void *owner, const char *what) {
    struct source_call *call = owner;
    return call->opening ? FLOW_OK : fail(owner, FLOW_ERROR_PLUGIN, "%s is for open alone", what);
}

static void *memory(void *owner, size_t bytes) {
    struct source_call *call = owner;
    if (open_only(owner, "memory") < 0) return NULL;
    void *block = arena_new(&call->batches->arena, bytes);
    if (!block) no_memory(owner);
    return block;
}

/* ---- Files ----------------------------------------------------------------------------------------------------- */

/* The path from where this program stands. */
static int resolve(struct source_call *call, const char *path, char *to) {
    const char *base = call->batches->options.base;
    if (!path || !*path) return fail(call, FLOW_ERROR_USAGE, "a path is needed, and none is given");
    const bool relative = *path != '/' && base && *base;
    if (snprintf(to, PATH_MAX, "%s%s%s", relative ? base : "", relative ? "/" : "", path) >= PATH_MAX)
        return fail(call, FLOW_ERROR_USAGE, "the path '%.60s...' is longer than %d characters", path, PATH_MAX - 1);
    return FLOW_OK;
}

static int file_add(struct source_call *call, const char *path, int descriptor, int64_t bytes, struct source_file **out) {
    struct source_file *file = arena_new(&call->batches->arena, sizeof *file);
    char *name = file ? arena_text(&call->batches->arena, path) : NULL;
    if (!name) {
        close(descriptor);
        return no_memory(call);
    }
    *file = (struct source_file){call->batches->files, name, descriptor, bytes, NULL};
    call->batches->files = *out = file;
    if (call->batches->file_count++ >= FILES_HELD_MOST) {
        close(descriptor);
        file->file = -1;
    }
    return FLOW_OK;
}

static int open_path(struct source_call *call, const char *path, struct source_file **out) {
    char whole[PATH_MAX];
    struct stat about;
    int status = resolve(call, path, whole);
    if (status < 0) return status;
    const int descriptor = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) return fail(call, FLOW_ERROR_IO, "%s cannot be opened: %s", path, strerror(errno));
    const char *wrong = NULL;
    if (fstat(descriptor, &about) < 0) wrong = strerror(errno);
    else if (S_ISDIR(about.st_mode)) wrong = "is a folder, not a file";
    else if (!S_ISREG(about.st_mode)) wrong = "is not a regular file";
    if (wrong) {
        close(descriptor);
        return fail(call, FLOW_ERROR_IO, "%s %s", path, wrong);
    }
    return file_add(call, path, descriptor, about.st_size, out);
}

static int file_open(void *owner, const char *path, void **file, int64_t *bytes) {
    struct source_file *opened;
    int status = open_only(owner, "file_open");
    if (status == FLOW_OK) status = open_path(owner, path, &opened);
    if (status < 0) return status;
    *file = opened, *bytes = opened->bytes;
    return FLOW_OK;
}

void batches_files_close(struct batches *batches) {
    for (struct source_file *file = batches->files; file; file = file->next) {
        if (file->file >= 0) close(file->file);
        tensor_file_close(file->tensors);
    }
    batches->files = NULL;
}

static bool cancelled(void *owner) {
    const struct source_call *call = owner;
    return atomic_load(&call->batches->cancelled) || atomic_load(&call->batches->closing);
}

/* A slow device: waits until `bytes` more may have come. All files of the source share the rate. */
static int throttle(struct source_call *call, int64_t bytes) {
    struct batches *batches = call->batches;
    if (!(batches->options.rate > 0)) return FLOW_OK;
    pthread_mutex_lock(&batches->lock);
    const double now = batches_now();
    if (batches->read_due < now) batches->read_due = now;
    batches->read_due += (double)bytes / batches->options.rate;
    const double due = batches->read_due;
    while (!cancelled(call) && batches_now() < due) {
        struct timespec until;
        until.tv_sec = (time_t)due, until.tv_nsec = (long)((due - (double)until.tv_sec) * 1e9);
        pthread_cond_timedwait(&batches->changed, &batches->lock, &until);
    }
    pthread_mutex_unlock(&batches->lock);
    return cancelled(call) ? fail(call, FLOW_ERROR_CANCELLED, "reading was ended") : FLOW_OK;
}

static int read_from(struct source_call *call, const struct source_file *file, int descriptor, int64_t offset, int64_t bytes, void *into) {
    const bool slow = call->batches->options.rate > 0;
    char *to = into;
    if (offset < 0 || bytes < 0) return fail(call, FLOW_ERROR_PLUGIN, "%s is asked for bytes before its beginning", file->path);
    for (int64_t done = 0; done < bytes;) {
        int64_t piece = bytes - done, most = slow ? THROTTLED_BYTES : READ_BYTES_MOST;
        if (piece > most) piece = most;
        int status = throttle(call, piece);
        if (status < 0) return status;
        const ssize_t got = pread(descriptor, to + done, (size_t)piece, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return fail(call, FLOW_ERROR_IO, "%s cannot be read at byte %lld: %s", file->path, (long long)(offset + done), strerror(errno));
        if (got == 0)
            return fail(call, FLOW_ERROR_FORMAT,
                        "%s is cut short: it ends at byte %lld, bytes %lld to %lld are needed (it had %lld bytes when it was opened)",
                        file->path, (long long)(offset + done), (long long)offset, (long long)(offset + bytes), (long long)file->bytes);
        done += got;
    }
    return FLOW_OK;
}

static int read_at(struct source_call *call, const struct source_file *file, int64_t offset, int64_t bytes, void *into) {
    char whole[PATH_MAX];
    if (file->file >= 0) return read_from(call, file, file->file, offset, bytes, into);
    int status = resolve(call, file->path, whole);
    if (status < 0) return status;
    const int descriptor = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) return fail(call, FLOW_ERROR_IO, "%s cannot be opened any more: %s", file->path, strerror(errno));
    status = read_from(call, file, descriptor, offset, bytes, into);
    close(descriptor);
    return status;
}

static int file_read(void *owner, void *file, int64_t offset, int64_t bytes, void *into) {
    return read_at(owner, file, offset, bytes, into);
}

/* ---- Tensors --------------------------------------------------------------------------------------------------- */

/* The reader's first message becomes the source's. */
static int tensors_open(struct source_call *call, const char *path, struct source_file *file) {
    char whole[PATH_MAX];
    struct report report;
    int status = resolve(call, path, whole);
    if (status < 0) return status;
    report_init(&report, call->batches->from);
    status = tensor_file_map(call->batches->from, whole, &report, &file->tensors);
    if (status == FLOW_ERROR_MEMORY) no_memory(call);
    else if (status < 0) {
        const struct report_message *first = report.first;
        if (first && first->at.line) fail(call, status, "%s:%d: %s", path, first->at.line, first->text);
        else fail(call, status, "%s: %s", path, first ? first->text : status_text(status));
    }
    report_free(&report);
    return status;
}

static int tell_names(struct source_call *call, const char *path, const char *name, const struct tensor_file *file) {
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (size_t i = 0; i < file->count; i++) nearest_offer(&nearest, file->entries[i].name);
    const char *best = nearest_name(&nearest);
    if (!*name) return fail(call, FLOW_ERROR_USAGE, "%s holds %zu tensors: one must be named", path, file->count);
    return fail(call, FLOW_ERROR_USAGE, "%s has no tensor '%s'%s%s%s", path, name, best ? " (did you mean '" : "", best ? best : "",
                best ? "'?)" : "");
}

/* Names of a csv file's columns, or of a file's tensors where `name` asks for the list, joined by newlines. */
static const char *joined(struct source_call *call, const struct tensor_file *file, bool columns) {
    struct text text;
    text_init(&text, call->batches->from);
    for (size_t i = 0; i < (columns ? file->metadata_count : file->count); i++) {
        char key[32];
        snprintf(key, sizeof key, "%zu", i);
        const char *name = columns ? tensor_file_metadata(file, key) : file->entries[i].name;
        text_format(&text, "%s%s", i ? "\n" : "", name ? name : "");
    }
    const char *all = text.failed ? NULL : arena_text(&call->batches->arena, text.at ? text.at : "");
    text_free(&text);
    if (!all) no_memory(call);
    return all;
}

static int tensor(void *owner, const char *path, const char *name, struct flow_tensor *out, const char **metadata) {
    struct source_call *call = owner;
    struct source_file *file;
    int status = open_only(owner, "tensor");
    for (file = call->batches->files; file; file = file->next)
        if (file->tensors && path && strcmp(file->path, path) == 0) break;
    if (status == FLOW_OK && !file) {
        status = open_path(call, path, &file);
        if (status == FLOW_OK) status = tensors_open(call, path, file);
    }
    if (status < 0) return status;
    const struct tensor_file *tensors = file->tensors;
    const bool csv = tensors->metadata_count && strlen(path) > 4 && strcmp(path + strlen(path) - 4, ".csv") == 0;
    if (metadata && !(*metadata = joined(call, tensors, csv))) return FLOW_ERROR_MEMORY;
    if (!name) name = "";
    const struct flow_tensor *found = tensor_file_get(tensors, name);
    if (!found && !*name && tensors->count == 1) found = &tensors->entries[0].tensor;
    if (!found && !*name && metadata) { /* asked for the names alone */
        *out = (struct flow_tensor){.rank = -1};
        return FLOW_OK;
    }
    if (!found) return tell_names(call, path, name, tensors);
    *out = *found;
    return FLOW_OK;
}

/* The mapping was not looked at, and the file may have changed since: other bytes must never be read as bool. */
static int check_bools(struct source_call *call, const struct source_file *file, const uint8_t *at, int64_t offset, int64_t bytes) {
    const int64_t wrong = io_bool_wrong(at, bytes);
    if (wrong < 0) return FLOW_OK;
    return fail(call, FLOW_ERROR_FORMAT, "%s holds %u as a tensor's element %lld: a bool is 0 or 1", file->path, at[wrong],
                (long long)(offset + wrong));
}

static int tensor_read(void *owner, const struct flow_tensor *from, int64_t offset, int64_t bytes, void *into) {
    struct source_call *call = owner;
    const uint8_t *at = from->data;
    for (const struct source_file *file = call->batches->files; file; file = file->next) {
        const uint8_t *mapping = file->tensors ? file->tensors->mapping : NULL;
        if (mapping && at >= mapping && at < mapping + file->tensors->mapping_size) {
            int status = read_at(call, file, (int64_t)(at - mapping) + offset, bytes, into);
            return status == FLOW_OK && from->dtype == FLOW_BOOL ? check_bools(call, file, into, offset, bytes) : status;
        }
    }
    if (bytes > 0) memcpy(into, at + offset, (size_t)bytes); /* converted when it was opened: in memory */
    return FLOW_OK;
}

/* ---- Folders --------------------------------------------------------------------------------------------------- */

struct listing {
    struct source_call *call;
    const char *suffix;
    const char **paths;
    size_t count, capacity;
};

static int list_add(struct listing *list, const char *path) {
    const size_t length = strlen(path), ending = strlen(list->suffix);
    if (length < ending || strcmp(path + length - ending, list->suffix) != 0) return FLOW_OK;
    if (list->count >= SOURCE_FILES_MOST)
        return fail(list->call, FLOW_ERROR_RANGE, "more than %d files, the latest %s", SOURCE_FILES_MOST, path);
    if (memory_grow(list->call->batches->from, (void **)&list->paths, &list->capacity, list->count + 1, sizeof *list->paths) < 0)
        return no_memory(list->call);
    char *copy = arena_text(&list->call->batches->arena, path);
    if (!copy) return no_memory(list->call);
    list->paths[list->count++] = copy;
    return FLOW_OK;
}

/* Links to folders below the first are not followed: they could go round. */
static int list_folder(struct listing *list, const char *path, int depth) {
    char whole[PATH_MAX], below[PATH_MAX];
    int status = resolve(list->call, path, whole);
    if (status < 0) return status;
    DIR *folder = opendir(whole);
    if (!folder) return fail(list->call, FLOW_ERROR_IO, "the folder %s cannot be read: %s", path, strerror(errno));
    if (depth > FOLDER_DEPTH_MOST)
        status = fail(list->call, FLOW_ERROR_RANGE, "the folder %s lies more than %d folders deep", path, FOLDER_DEPTH_MOST);
    for (struct dirent *entry; status == FLOW_OK && (entry = readdir(folder));) {
        struct stat about;
        if (entry->d_name[0] == '.') continue;
        if (snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= (int)sizeof below)
            status = fail(list->call, FLOW_ERROR_RANGE, "a path in the folder %s is too long", path);
        else if (fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0) continue;
        else if (S_ISDIR(about.st_mode)) status = list_folder(list, below, depth + 1);
        else if (S_ISREG(about.st_mode)) status = list_add(list, below);
        else if (S_ISLNK(about.st_mode) && fstatat(dirfd(folder), entry->d_name, &about, 0) == 0 && S_ISREG(about.st_mode))
            status = list_add(list, below);
    }
    closedir(folder);
    return status;
}

static int compare_paths(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int folder(void *owner, const char *path, const char *suffix, const char *const **paths, int64_t *count) {
    struct source_call *call = owner;
    struct listing list = {.call = call, .suffix = suffix ? suffix : ""};
    char whole[PATH_MAX];
    struct stat about;
    int status = open_only(owner, "folder");
    if (status == FLOW_OK) status = resolve(call, path, whole);
    if (status < 0) return status;
    if (stat(whole, &about) < 0) return fail(call, FLOW_ERROR_IO, "%s cannot be read: %s", path, strerror(errno));
    if (!S_ISDIR(about.st_mode)) list.suffix = "", status = list_add(&list, path);
    else status = list_folder(&list, path, 0);
    if (status == FLOW_OK && list.count) qsort(list.paths, list.count, sizeof *list.paths, compare_paths);
    const char **sorted = status == FLOW_OK ? arena_copy(&call->batches->arena, list.paths, list.count * sizeof *list.paths) : NULL;
    if (status == FLOW_OK && !sorted) status = no_memory(owner);
    memory_free(call->batches->from, list.paths, list.capacity * sizeof *list.paths);
    if (status == FLOW_OK) *paths = sorted, *count = (int64_t)list.count;
    return status;
}

/* ---- Outputs --------------------------------------------------------------------------------------------------- */

static int output(void *owner, const char *name, int32_t dtype, int32_t rank, const int64_t *shape, bool whole) {
    struct source_call *call = owner;
    struct batches *batches = call->batches;
    int64_t bytes;
    int status = open_only(owner, "output");
    if (status < 0) return status;
    if (!name || !*name) return fail(owner, FLOW_ERROR_PLUGIN, "an output without a name");
    if (dtype < 0 || dtype >= FLOW_TYPE_COUNT) return fail(owner, FLOW_ERROR_PLUGIN, "output '%s' is of type %d", name, dtype);
    if (rank < 0 || rank + !whole > FLOW_RANK_MAX)
        return fail(owner, FLOW_ERROR_SHAPE, "output '%s' has rows of %d axes: at most %d are possible", name, rank,
                    FLOW_RANK_MAX - !whole);
    if (!io_bytes(dtype, rank, shape, &bytes)) return fail(owner, FLOW_ERROR_SHAPE, "output '%s' has impossible extents", name);
    for (uint32_t i = 0; i < batches->output_count; i++)
        if (strcmp(batches->outputs[i].name, name) == 0) return fail(owner, FLOW_ERROR_USAGE, "two outputs are called '%s'", name);
    if (batches->output_count >= OUTPUTS_MOST) return fail(owner, FLOW_ERROR_RANGE, "more than %d outputs", OUTPUTS_MOST);
    if (!batches->outputs) batches->outputs = arena_array(&batches->arena, OUTPUTS_MOST, sizeof *batches->outputs);
    char *copy = batches->outputs ? arena_text(&batches->arena, name) : NULL;
    if (!copy) return no_memory(owner);
    struct output *added = &batches->outputs[batches->output_count++];
    *added = (struct output){.name = copy, .whole = whole};
    added->type = (struct flow_tensor){.dtype = dtype, .device = FLOW_DEVICE_CPU, .rank = rank + !whole};
    for (int32_t i = 0; i < rank; i++) added->type.shape[i + !whole] = shape[i]; /* shape[0] of the others: when the batch is known */
    return FLOW_OK;
}

const struct flow_source_host batches_host = {
    .size = sizeof batches_host,
    .fail = fail,
    .memory = memory,
    .file_open = file_open,
    .file_read = file_read,
    .folder = folder,
    .tensor = tensor,
    .output = output,
    .cancelled = cancelled,
    .tensor_read = tensor_read,
};
