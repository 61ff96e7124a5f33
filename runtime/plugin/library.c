/* SPDX-License-Identifier: Apache-2.0 */
/* Opening one plugin file. The loader maps a file by what its headers claim and dies (SIGBUS) of one that was cut short, so the headers are
 * compared with the file's length first. */
#include "plugin/source.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_exactly(int file, void *to, size_t size, int64_t offset) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = pread(file, (char *)to + done, size - done, (off_t)offset + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* Does the file hold every byte that its segments claim? Anything else that is wrong with it the loader says itself. */
static int check_length(int file, int64_t size, struct text *why) {
    ElfW(Ehdr) head;
    if (!read_exactly(file, &head, sizeof head, 0) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) {
        text_put(why, "is not a shared object (no ELF header)");
        return FLOW_ERROR_PLUGIN;
    }
    const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    if (head.e_ident[EI_CLASS] != class || head.e_phentsize != sizeof(ElfW(Phdr))) return FLOW_OK;
    for (unsigned i = 0; i < head.e_phnum; i++) {
        ElfW(Phdr) segment;
        const bool there =
            head.e_phoff <= (uint64_t)size && read_exactly(file, &segment, sizeof segment, (int64_t)(head.e_phoff + i * sizeof segment));
        const bool inside = there && (segment.p_type != PT_LOAD ||
                                      (segment.p_offset <= (uint64_t)size && segment.p_filesz <= (uint64_t)size - segment.p_offset));
        if (inside) continue;
        text_format(why, "is cut short: segment %u ends behind the file's %lld bytes", i, (long long)size);
        return FLOW_ERROR_PLUGIN;
    }
    return FLOW_OK;
}

static int check_file(const char *path, struct text *why) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat about;
    int status = FLOW_OK;
    if (file < 0 || fstat(file, &about) < 0) {
        text_format(why, "cannot be read: %s", strerror(errno));
        status = FLOW_ERROR_PLUGIN;
    } else if (!S_ISREG(about.st_mode)) {
        text_put(why, "is not a regular file");
        status = FLOW_ERROR_PLUGIN;
    } else status = check_length(file, about.st_size, why);
    if (file >= 0) close(file);
    return status;
}

/* The loader's text without the file's name in front, which every message carries already. */
static const char *loader_text(const char *path) {
    const char *text = dlerror();
    const size_t length = strlen(path);
    if (!text) return "the loader does not say why";
    return strncmp(text, path, length) == 0 && strncmp(text + length, ": ", 2) == 0 ? text + length + 2 : text;
}

static int find_table(struct source *source, struct text *why) {
    dlerror();
    void *symbol = dlsym(source->handle, "flow_plugin_entry");
    if (!symbol) {
        text_put(why, "is not a plugin: it exports no function flow_plugin_entry");
        return FLOW_ERROR_PLUGIN;
    }
    flow_entry_function entry;
    memcpy(&entry, &symbol, sizeof entry);
    source->plugin = entry();
    if (source->plugin) return FLOW_OK;
    text_put(why, "flow_plugin_entry returned no table");
    return FLOW_ERROR_PLUGIN;
}

int plugin_source_tables(struct source *source, struct text *why) {
    struct arena *arena = &source->arena;
    struct offer *offer = &source->offer;
    int status = plugin_check_head(arena, source->plugin, offer, why);
    if (status == FLOW_OK) status = plugin_check_kernels(arena, source->plugin, &source->kernels, why);
    if (status < 0) return status;
    for (enum offer_kind kind = 0; kind < OFFER_KINDS; kind++) {
        source->tables[kind] = arena_array(arena, offer->of[kind].count, sizeof *source->tables[kind]);
        source->entries[kind] = arena_array(arena, offer->of[kind].count, sizeof *source->entries[kind]);
        if (!source->tables[kind] || !source->entries[kind]) return FLOW_ERROR_MEMORY;
    }
    struct offer_list *kernels = &offer->of[OFFER_KERNEL];
    *kernels = (struct offer_list){arena_array(arena, source->kernels.count, sizeof *kernels->at), source->kernels.count};
    if (!kernels->at) return FLOW_ERROR_MEMORY;
    for (uint32_t i = 0; i < kernels->count; i++) kernels->at[i] = source->kernels.at[i].op;
    return FLOW_OK;
}

/* All tables, checked and copied. */
static int read_tables(struct source *source, struct text *why) {
    int status = plugin_source_tables(source, why);
    for (enum offer_kind kind = 0; kind < OFFER_KINDS; kind++)
        for (uint32_t i = 0; status == FLOW_OK && i < source->offer.of[kind].count; i++)
            status = plugin_check_item(&source->arena, source->plugin, kind, i, &source->tables[kind][i], why);
    return status;
}

void plugin_source_close(struct source *source) {
    if (source->handle) dlclose(source->handle);
    source->handle = NULL;
    arena_free(&source->arena);
}

void plugin_source_reset(struct source *source) {
    plugin_source_close(source);
    source->offer = (struct offer){0};
    source->plugin = NULL, source->failure = NULL;
    memset(source->tables, 0, sizeof source->tables), memset(source->entries, 0, sizeof source->entries);
    source->kernels = (struct flow_kernels){0, 0, NULL};
    source->state = SOURCE_FAILED;
}

int plugin_source_open(struct source *source) {
    struct text why;
    plugin_source_reset(source);
    text_init(&why, source->arena.from);
    int status = check_file(source->path, &why);
    if (status == FLOW_OK) {
        source->handle = dlopen(source->path, RTLD_NOW | RTLD_LOCAL);
        if (!source->handle) {
            text_format(&why, "cannot be opened: %s", loader_text(source->path));
            status = FLOW_ERROR_PLUGIN;
        }
    }
    if (status == FLOW_OK) status = find_table(source, &why);
    if (status == FLOW_OK) status = read_tables(source, &why);
    if (status == FLOW_OK) source->state = SOURCE_OPEN;
    else {
        plugin_source_reset(source);
        source->failure = why.failed || !why.at ? NULL : arena_text(&source->arena, why.at);
        if (status == FLOW_ERROR_PLUGIN) status = source->failure ? FLOW_OK : FLOW_ERROR_MEMORY;
    }
    text_free(&why);
    return status;
}
