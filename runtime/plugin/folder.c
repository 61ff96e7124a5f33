/* SPDX-License-Identifier: Apache-2.0 */
/* Which plugin files there are, and whose word they are. Code from a folder that others may write to is not run unless told so. */
#include "plugin/source.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MOST = 4096 };

/* Why something of this owner and mode is not to be trusted; NULL: it is. */
static const char *stranger(struct arena *arena, const struct stat *about) {
    if (about->st_mode & S_IWOTH) return "not used, because others may write to it";
    if (about->st_uid == 0 || about->st_uid == geteuid()) return NULL;
    const char *why = arena_format(arena, "not used, because it belongs to user %lu", (unsigned long)about->st_uid);
    return why ? why : "not used, because it belongs to another user";
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const struct folder_file *)a)->path, ((const struct folder_file *)b)->path);
}

/* Fills in a file that has the right name; false when it is nothing to open (a folder, gone since). */
static bool look_at(struct arena *arena, bool trust, struct folder_file *file) {
    struct stat about;
    if (stat(file->path, &about) < 0 || !S_ISREG(about.st_mode)) return false;
    file->refused = trust ? NULL : stranger(arena, &about);
    file->key.size = about.st_size;
    file->key.modified = (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec;
    file->key.device = (uint64_t)about.st_dev, file->key.inode = (uint64_t)about.st_ino;
    return true;
}

/* A file that stands in the list of folders. */
static int list_file(struct arena *arena, struct folder *folder, bool trust, struct folder_file **files, size_t *count) {
    struct folder_file file = {.path = arena_text(arena, folder->path)};
    if (!file.path) return FLOW_ERROR_MEMORY;
    if (!look_at(arena, trust, &file)) {
        folder->refused = "is neither a folder nor a regular file";
        return FLOW_OK;
    }
    *files = arena_copy(arena, &file, sizeof file);
    *count = *files != NULL;
    return *files ? FLOW_OK : FLOW_ERROR_MEMORY;
}

int plugin_folder_list(struct arena *arena, struct folder *folder, bool trust, struct folder_file **files, size_t *count) {
    size_t room = 0;
    int status = FLOW_OK;
    *files = NULL, *count = 0, folder->refused = NULL;
    DIR *stream = opendir(folder->path);
    if (!stream && errno == ENOTDIR && folder->named) return list_file(arena, folder, trust, files, count);
    if (!stream) {
        if (folder->named || (errno != ENOENT && errno != ENOTDIR)) folder->refused = arena_text(arena, strerror(errno));
        return FLOW_OK;
    }
    struct stat about;
    if (!trust && fstat(dirfd(stream), &about) == 0) folder->refused = stranger(arena, &about);
    for (struct dirent *row; !folder->refused && status == FLOW_OK && *count < FILES_MOST && (row = readdir(stream));) {
        const size_t length = strlen(row->d_name);
        if (row->d_name[0] == '.' || length < 4 || strcmp(row->d_name + length - 3, ".so") != 0) continue;
        struct folder_file file = {.path = arena_format(arena, "%s/%s", folder->path, row->d_name)};
        if (!file.path || memory_grow(arena->from, (void **)files, &room, *count + 1, sizeof **files) < 0) status = FLOW_ERROR_MEMORY;
        else if (look_at(arena, trust, &file)) (*files)[(*count)++] = file;
    }
    closedir(stream);
    /* From the growing array into the arena, so that the caller has nothing to free. */
    struct folder_file *listed = status == FLOW_OK ? arena_copy(arena, *files, *count * sizeof **files) : NULL;
    memory_free(arena->from, *files, room * sizeof **files);
    *files = listed;
    if (!listed) {
        *count = 0;
        return FLOW_ERROR_MEMORY;
    }
    qsort(listed, *count, sizeof *listed, compare_files);
    return FLOW_OK;
}

/* The file whose code this is: the shared library, or the program when linked into it. */
static bool own_file(char path[PATH_MAX]) {
    static const char here = 0;
    Dl_info about;
    if (dladdr(&here, &about) && about.dli_fname && strchr(about.dli_fname, '/') && strstr(about.dli_fname, ".so") &&
        realpath(about.dli_fname, path))
        return true;
    const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (length <= 0) return false;
    path[length] = 0;
    return true;
}

static bool folder_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* An installed tree may be moved: what lies beside the library (LIB/flow/plugins), or where a program in BIN finds the library's folder,
 * comes before the folder that the build was told of. Only one is taken, since a tree and its copy offer the same operators. */
char *plugin_folder_installed(struct arena *arena) {
    static const char *const places[] = {"flow/plugins", FLOW_BIN_TO_LIB "/flow/plugins"};
    char path[PATH_MAX];
    char *slash = own_file(path) ? strrchr(path, '/') : NULL;
    if (slash) *slash = 0;
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        char *place = arena_format(arena, "%s/%s", path, places[i]);
        if (!place || folder_exists(place)) return place;
    }
    return arena_text(arena, FLOW_INSTALLED_PLUGINS);
}

char *plugin_folder_index(struct arena *arena) {
    const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
    if (cache && *cache == '/') return arena_format(arena, "%s/flow/plugins.index", cache);
    return home && *home == '/' ? arena_format(arena, "%s/.cache/flow/plugins.index", home) : NULL;
}
