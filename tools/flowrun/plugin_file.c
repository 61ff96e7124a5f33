/* SPDX-License-Identifier: Apache-2.0 */
#include "flowrun/plugin_file.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_BYTES = 1 << 28 };

/* Ending the program, printing, threads and processes of its own: things that only the host does. */
static const char *const forbidden[] = {
    "abort",          "exit",        "_exit",   "_Exit",    "quick_exit",    "__assert_fail", "raise",  "kill",         "printf",
    "fprintf",        "vprintf",     "puts",    "putchar",  "fputs",         "fwrite",        "perror", "__printf_chk", "fork",
    "vfork",          "system",      "popen",   "execv",    "execve",        "execvp",        "setenv", "putenv",       "signal",
    "sigaction",      "dlopen",      "usleep",  "sleep",    "chdir",         "__fprintf_chk", "stdout", "stderr",       "setlocale",
    "pthread_create", "thrd_create", "longjmp", "_longjmp", "__longjmp_chk",
};

struct bytes {
    unsigned char *at;
    size_t count;
};

static const void *part(const struct bytes *file, uint64_t offset, uint64_t size) {
    return offset <= file->count && size <= file->count - offset ? file->at + offset : NULL;
}

static bool read_file(const char *path, struct bytes *out, char *why, size_t size) {
    struct stat about;
    FILE *file = fopen(path, "rb");
    *out = (struct bytes){0};
    if (!file || fstat(fileno(file), &about) != 0) snprintf(why, size, "cannot be read: %s", strerror(errno));
    else if (!S_ISREG(about.st_mode)) snprintf(why, size, "is not a regular file");
    else if (about.st_size > MOST_BYTES) snprintf(why, size, "has more than %d bytes", MOST_BYTES);
    else if (!(out->at = malloc((size_t)about.st_size + 1))) snprintf(why, size, "is too large for memory");
    else if ((out->count = fread(out->at, 1, (size_t)about.st_size, file)) != (size_t)about.st_size) snprintf(why, size, "cannot be read");
    else {
        fclose(file);
        return true;
    }
    if (file) fclose(file);
    free(out->at);
    return false;
}

static void add(char *list, size_t size, const char *name, size_t most) {
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%.*s", used ? ", " : "", (int)most, name);
}

static void take_symbol(struct plugin_file *out, const char *name, size_t most, const ElfW(Sym) * symbol) {
    static const char *const own[] = {"flow_plugin_entry", "_init", "_fini", "_edata", "_end", "__bss_start"};
    bool defined = symbol->st_shndx != SHN_UNDEF;
    if (strnlen(name, most) == most || !*name) return;
    if (!defined) {
        if (strncmp(name, "__asan", 6) == 0 || strncmp(name, "__ubsan", 7) == 0 || strncmp(name, "__tsan", 6) == 0) out->sanitized = true;
        for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
            if (strcmp(name, forbidden[i]) == 0) add(out->forbidden, sizeof out->forbidden, name, most);
        return;
    }
    if (strcmp(name, "flow_plugin_entry") == 0) out->has_entry = true;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(name, own[i]) == 0) return;
    unsigned char visibility = symbol->st_other & 3;
    if (visibility == STV_DEFAULT || visibility == STV_PROTECTED) add(out->exports, sizeof out->exports, name, most);
}

/* Sections name what is needed; all that they claim is compared with the file's length. */
static bool read_sections(const struct bytes *file, struct plugin_file *out, char *why, size_t size) {
    const ElfW(Ehdr) *head = part(file, 0, sizeof *head);
    const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    if (!head || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0) return snprintf(why, size, "is not a shared object (no ELF header)"), false;
    if (head->e_ident[EI_CLASS] != class || head->e_type != ET_DYN || head->e_shentsize != sizeof(ElfW(Shdr)))
        return snprintf(why, size, "is not a shared object for this machine"), false;
    const ElfW(Shdr) *sections = part(file, head->e_shoff, (uint64_t)head->e_shnum * sizeof *sections);
    if (!sections || head->e_shoff % _Alignof(ElfW(Shdr))) return snprintf(why, size, "is cut short: its sections end behind it"), false;
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const ElfW(Shdr) *section = &sections[i];
        if (section->sh_type == SHT_INIT_ARRAY) out->constructors = (int)(section->sh_size / sizeof(void *)) - 1;
        if (section->sh_type != SHT_DYNSYM || section->sh_link >= head->e_shnum) continue;
        const ElfW(Shdr) *names = &sections[section->sh_link];
        const char *text = part(file, names->sh_offset, names->sh_size);
        const char *symbols = part(file, section->sh_offset, section->sh_size);
        if (!text || !symbols) return snprintf(why, size, "is cut short: its symbols end behind it"), false;
        for (uint64_t at = 0; at + sizeof(ElfW(Sym)) <= section->sh_size; at += sizeof(ElfW(Sym))) {
            ElfW(Sym) symbol;
            memcpy(&symbol, symbols + at, sizeof symbol);
            if (symbol.st_name < names->sh_size) take_symbol(out, text + symbol.st_name, names->sh_size - symbol.st_name, &symbol);
        }
    }
    return true;
}

bool plugin_file_read(const char *path, struct plugin_file *out, char *why, size_t size) {
    struct bytes file;
    *out = (struct plugin_file){0};
    if (!read_file(path, &file, why, size)) return false;
    bool good = read_sections(&file, out, why, size);
    if (out->constructors < 0) out->constructors = 0;
    free(file.at);
    return good;
}
