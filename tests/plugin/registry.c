/* SPDX-License-Identifier: Apache-2.0 */
/* The registry over real plugin files: search, index, trust, names offered twice, files that fail, files that lie. */
#include "plugin/registry.h"

#include "harness/failing.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <fcntl.h>
#include <unistd.h>

static char folder[64];
static struct registry *registry;
static struct text why;

static const char *in_folder(const char *name) {
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static void copy_file(const char *from, const char *to) {
    static char bytes[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    cr_assert(in && out, "%s to %s", from, to);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;) cr_assert_eq(fwrite(bytes, 1, n, out), n);
    fclose(in), fclose(out);
}

/* Copies plugins into the test's own folder. */
static void have(const char *names) {
    for (char copy[256], *at = strcpy(copy, names), *name; (name = strtok_r(at, " ", &at));) {
        char from[512], file[64];
        snprintf(file, sizeof file, "%s.so", name);
        snprintf(from, sizeof from, BUILD_DIR "/test_plugins/%s", file);
        copy_file(from, in_folder(file));
    }
}

static void start(void) {
    strcpy(folder, "/tmp/flow-registry-XXXXXX");
    cr_assert(mkdtemp(folder));
    unsetenv("FLOW_PLUGIN_PATH"), unsetenv("FLOW_PLUGIN_TRUST");
    setenv("XDG_CACHE_HOME", folder, 1);
    text_init(&why, &memory_default);
}

static void open_with(const struct registry_options *options) {
    registry_free(registry);
    cr_assert_eq(registry_new(&memory_default, options, &registry), 0);
}
static void open_registry(void) {
    open_with(&(struct registry_options){.path = folder, .installed = "/nowhere", .index = in_folder("index")});
}

static void stop(void) {
    char command[128];
    registry_free(registry);
    registry = NULL;
    text_free(&why);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

static const struct registry_entry *find(const char *name) {
    text_free(&why);
    return registry_find(registry, name, &why);
}
static bool said(const char *words) { return why.at && strstr(why.at, words); }
static bool loaded(const char *file) {
    void *handle = dlopen(in_folder(file), RTLD_NOW | RTLD_NOLOAD);
    if (handle) dlclose(handle);
    return handle;
}

TestSuite(registry, .init = start, .fini = stop, .timeout = 60);

Test(registry, finds_an_operator_and_its_rows) {
    have("good");
    open_registry();
    const struct registry_entry *entry = find("good_one");
    cr_assert(entry, "%s", why.at);
    cr_expect_str_eq(entry->plugin, "good");
    cr_expect_str_eq(entry->file, in_folder("good.so"));
    cr_expect_eq(entry->op->attrs.count, 8);
    cr_expect_str_eq(entry->op->attrs.at[4].name, "mode");
    cr_expect_str_eq(entry->op->kernels.at[0].op, "good_one");
    cr_expect_str_eq(entry->op->equation, "", "what a plugin leaves out is empty text");
    cr_expect_eq(find("good/good_one"), entry);
    cr_expect_eq(find("good_one"), entry, "asked again: the same");
    cr_expect(find("good_two"));
    cr_expect_not(find("bad/good_one"));
}

Test(registry, names_the_nearest) {
    have("good");
    open_registry();
    cr_expect_not(find("good_onee"));
    cr_expect(said(" (did you mean 'good_one'?)"), "%s", why.at);
    cr_expect_not(find("goood/good_tow"));
    cr_expect(said("(did you mean 'good/good_two'?)"), "%s", why.at);
    cr_expect_not(find("zzzzzzzzzzzzzz"));
    cr_expect_not(said("did you mean"));
}

Test(registry, optimizers_and_sources_have_names_of_their_own) {
    have("good many_1");
    open_registry();
    for (int again = 0; again < 2; again++) { /* from the file; then from the index */
        text_free(&why);
        const struct registry_entry *entry = registry_optimizer(registry, "good_one", &why);
        cr_assert(entry, "%s", why.at);
        cr_expect(entry->optimizer && !entry->op && !entry->source);
        cr_expect_str_eq(entry->optimizer->name, "good_one");
        cr_expect_str_eq(entry->optimizer->equation, "");
        cr_expect_eq(registry_optimizer(registry, "good/good_one", &why), entry);
        const struct registry_entry *source = registry_source(registry, "good_rows", &why);
        cr_assert(source && source->source);
        cr_expect_str_eq(source->file, in_folder("good.so"));
        cr_expect(find("good_one") && find("good_one")->op);
        cr_expect_not(find("good_rows"));
        cr_expect_not(registry_source(registry, "good_row", &why));
        cr_expect(said("(did you mean 'good_rows'?)"), "%s", why.at);
        if (!again) open_registry();
        if (!again) cr_expect_not(loaded("good.so"));
    }
    const struct registry_entry **all;
    size_t count;
    cr_assert_eq(registry_sources(registry, &all, &count, NULL), 0);
    cr_assert_eq(count, 1);
    cr_expect_str_eq(all[0]->source->name, "good_rows");
    cr_assert_eq(registry_optimizers(registry, &all, &count, NULL), 0);
    bool there = false;
    for (size_t i = 0; i < count; i++) there |= strcmp(all[i]->optimizer->name, "good_one") == 0;
    cr_expect(there);
}

Test(registry, opens_only_what_is_needed) {
    have("good many_1 many_2 many_3 many_4 many_5 many_6 many_7 many_8 many_9");
    open_registry();
    cr_assert(find("many_op_1"));
    cr_expect_eq(access(in_folder("index"), R_OK), 0, "the index is written");
    open_registry();
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from); /* others may be busy on it */
    open_registry();
    cr_assert(find("many_op_5"));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) * 1e-6;
    fprintf(stderr, "one operator of ten plugins: %.3f ms\n", ms);
    cr_expect(ms < 50);
    cr_expect(loaded("many_5.so"));
    cr_expect_not(loaded("many_1.so"));
    cr_expect_not(loaded("good.so"));
    cr_expect_not(find("nonesuch"), "in vain: all are asked");
    cr_expect(loaded("many_1.so"));
    registry_free(registry);
    registry = NULL;
    cr_expect_not(loaded("many_5.so"), "closed with the registry");
}

Test(registry, index_is_never_believed) {
    have("good twin_a");
    open_registry();
    cr_assert(find("good_one"));
    /* another plugin under the old name, of the old time: only its size differs */
    struct stat about;
    cr_assert_eq(stat(in_folder("twin_a.so"), &about), 0);
    registry_free(registry), registry = NULL;
    unlink(in_folder("twin_a.so"));
    copy_file(BUILD_DIR "/test_plugins/many_1.so", in_folder("twin_a.so"));
    struct timespec times[2] = {about.st_atim, about.st_mtim};
    cr_assert_eq(truncate(in_folder("twin_a.so"), about.st_size), 0);
    cr_assert_eq(utimensat(AT_FDCWD, in_folder("twin_a.so"), times, 0), 0);
    open_registry();
    cr_expect_not(find("twin"), "the file no longer offers it");
    cr_expect(find("many_op_1"), "%s", why.at);
    open_registry();
    cr_expect(find("many_op_1"), "%s", why.at);
    cr_expect_not(loaded("good.so"), "the index was corrected");
}

Test(registry, damaged_index_is_rebuilt) {
    have("good many_1");
    open_registry();
    cr_assert(find("good_one"));
    char bytes[4096];
    FILE *file = fopen(in_folder("index"), "rb");
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (size_t i = 0; i < size; i++) { /* every byte once, and every length */
        file = fopen(in_folder("index"), "wb");
        bytes[i] = (char)(bytes[i] ^ 0x11);
        fwrite(bytes, 1, i % 2 ? size : i, file);
        bytes[i] = (char)(bytes[i] ^ 0x11);
        fclose(file);
        open_registry();
        cr_assert(find("good_one"), "byte %zu", i);
        registry_free(registry), registry = NULL;
        char again[4096];
        file = fopen(in_folder("index"), "rb");
        cr_assert_eq(fread(again, 1, sizeof again, file), size, "byte %zu", i);
        fclose(file);
        cr_assert_arr_eq(bytes, again, size, "byte %zu", i);
    }
}

Test(registry, no_index_and_no_place_for_one) {
    have("good many_1");
    open_with(&(struct registry_options){.path = folder, .installed = "/nowhere", .index = ""});
    cr_expect(find("good_one"));
    open_with(&(struct registry_options){.path = folder, .installed = "/nowhere", .index = "/proc/nowhere/index"});
    cr_expect(find("good_one"));
    open_with(&(struct registry_options){.path = folder, .installed = "/nowhere"});
    cr_expect(find("good_one"));
    cr_expect_eq(access(in_folder("flow/plugins.index"), R_OK), 0, "in the user's cache folder");
}

Test(registry, two_files_offer_one_name) {
    have("twin_a twin_b");
    open_registry();
    cr_expect_not(find("twin"));
    cr_expect(said(in_folder("twin_a.so")) && said(in_folder("twin_b.so")), "%s", why.at);
    cr_expect(said("write 'twin_a/twin' or 'twin_b/twin'"), "%s", why.at);
    const struct registry_entry *a = find("twin_a/twin"), *b = find("twin_b/twin");
    cr_assert(a && b);
    cr_expect_str_eq(a->plugin, "twin_a");
    cr_expect_str_eq(b->plugin, "twin_b");
    copy_file(in_folder("twin_a.so"), in_folder("twin_c.so"));
    open_registry();
    cr_expect_not(find("twin_a/twin"));
    cr_expect(said("one of the two must go"), "%s", why.at);
}

/* The one just built, though another copy is installed. */
Test(registry, a_plugin_in_two_folders_is_the_first) {
    char both[256], inside[128];
    have("good");
    snprintf(inside, sizeof inside, "%s/built", folder);
    cr_assert_eq(mkdir(inside, 0700), 0);
    copy_file(in_folder("good.so"), in_folder("built/good.so"));
    snprintf(both, sizeof both, "%s/built:%s", folder, folder);
    open_with(&(struct registry_options){.path = both, .installed = "/nowhere", .index = ""});
    const struct registry_entry *entry = find("good_one"), **all;
    cr_assert(entry, "%s", why.at);
    cr_expect_str_eq(entry->file, in_folder("built/good.so"));
    size_t count, seen = 0;
    cr_assert_eq(registry_all(registry, &all, &count, &why), 0);
    for (size_t i = 0; i < count; i++) seen += strcmp(all[i]->op->name, "good_one") == 0;
    cr_expect_eq(seen, 1, "listed once");
    open_with(&(struct registry_options){.path = in_folder("built/good.so"), .only = true, .index = ""});
    cr_expect(find("good_one"), "a file in place of a folder: %s", why.at);
}

Test(registry, one_file_through_two_folders) {
    char both[256];
    have("good");
    cr_assert_eq(symlink(folder, in_folder("again")), 0);
    snprintf(both, sizeof both, "%s:%s/again", folder, folder);
    open_with(&(struct registry_options){.path = both, .installed = folder, .index = ""});
    cr_expect(find("good_one"), "%s", why.at);
}

Test(registry, a_built_in_name) {
    have("clash");
    open_registry();
    cr_expect_not(find("add"));
    cr_expect(said("(built in)") && said(in_folder("clash.so")), "%s", why.at);
    const struct registry_entry *mine = find("clash/add");
    cr_assert(mine);
    cr_expect_str_eq(mine->file, in_folder("clash.so"));
}

Test(registry, files_that_fail_say_so_each_time) {
    have("good wrong_abi no_entry undefined liar");
    FILE *file = fopen(in_folder("text.so"), "w");
    fputs("not a shared object", file), fclose(file);
    copy_file(BUILD_DIR "/test_plugins/good.so", in_folder("short.so"));
    cr_assert_eq(truncate(in_folder("short.so"), 9000), 0);
    open_registry();
    cr_expect(find("good_one"), "the good one is not disturbed: %s", why.at);
    for (int i = 0; i < 2; i++) {
        cr_expect_not(find("wrong"));
        cr_expect(said("wrong_abi.so: built for plugin interface (abi) 7, this program has 1"), "%s", why.at);
        cr_expect(said("no_entry.so: is not a plugin: it exports no function flow_plugin_entry"), "%s", why.at);
        cr_expect(said("undefined.so: cannot be opened: ") && said("nobody_has_this_function"), "%s", why.at);
        cr_expect(said("liar.so: operator 'lying': table 'inputs' has rows of 8 bytes"), "%s", why.at);
        cr_expect(said("text.so: is not a shared object"), "%s", why.at);
        cr_expect(said("short.so: is cut short"), "%s", why.at);
    }
    /* repaired meanwhile: found without a new registry */
    copy_file(BUILD_DIR "/test_plugins/many_3.so", in_folder("undefined2.so"));
    cr_expect(find("many_op_3"));
    open_registry();
    cr_expect_not(find("wrong"), "failures are not in the index");
    cr_expect(said("wrong_abi.so: built for"), "%s", why.at);
}

Test(registry, older_and_newer_rows) {
    have("older newer");
    open_registry();
    const char *names[] = {"older_op", "newer_op"};
    for (int i = 0; i < 2; i++) {
        const struct registry_entry *entry = find(names[i]);
        cr_assert(entry, "%s", why.at);
        const struct flow_operator *op = entry->op;
        cr_expect_eq(op->inputs.size, sizeof(struct flow_port));
        cr_expect_str_eq(op->inputs.at[1].name, "y");
        cr_expect_eq(op->inputs.at[1].flags, FLOW_OPTIONAL);
        cr_expect_str_eq(op->states.at[1].init, "constant(1)");
        cr_expect_eq(op->states.at[1].axis, 0);
        cr_expect(op->infer && !op->prepare && !op->describe);
        const struct flow_kernel *kernel = registry_kernel(entry, FLOW_DEVICE_CPU, FLOW_F64, FLOW_ISA_BASE, NULL);
        cr_assert(kernel);
        cr_expect_eq(kernel->forward(&(struct flow_call){0}), 22);
        cr_expect_null(kernel->backward);
    }
}

Test(registry, folders_of_others) {
    have("good");
    cr_assert_eq(chmod(folder, 0757), 0);
    open_registry();
    cr_expect_not(find("good_one"));
    cr_expect(said(folder) && said("others may write to it"), "%s", why.at);
    open_with(&(struct registry_options){.path = folder, .installed = "/nowhere", .index = "", .trust = true});
    cr_expect(find("good_one"));
    setenv("FLOW_PLUGIN_TRUST", "1", 1);
    open_registry();
    cr_expect(find("good_one"));
    unsetenv("FLOW_PLUGIN_TRUST");
    chmod(folder, 0755), chmod(in_folder("good.so"), 0666);
    open_registry();
    cr_expect_not(find("good_one"));
    cr_expect(said("good.so: not used, because others may write to it"), "%s", why.at);
    if (geteuid() == 0) {
        cr_assert_eq(chmod(in_folder("good.so"), 0644) + chown(folder, 12345, 0), 0);
        open_registry();
        cr_expect_not(find("good_one"));
        cr_expect(said("it belongs to user 12345"), "%s", why.at);
    }
}

Test(registry, only_regular_files_ending_in_so) {
    have("good");
    cr_assert_eq(rename(in_folder("good.so"), in_folder("good.so.1")), 0);
    cr_assert_eq(mkfifo(in_folder("pipe.so"), 0600) + mkdir(in_folder("folder.so"), 0700), 0);
    open_registry();
    cr_expect_not(find("good_one"));
    cr_expect_not(said(".so"), "%s", why.at);
}

Test(registry, search_path) {
    have("good many_1 many_2 many_3");
    const char *moved[] = {"env", "graphs", "graphs/plugins", "installed"};
    for (int i = 0; i < 4; i++) cr_assert_eq(mkdir(in_folder(moved[i]), 0755), 0);
    rename(in_folder("many_1.so"), in_folder("env/many_1.so"));
    rename(in_folder("many_2.so"), in_folder("graphs/plugins/many_2.so"));
    rename(in_folder("many_3.so"), in_folder("installed/many_3.so"));
    setenv("FLOW_PLUGIN_PATH", in_folder("env"), 1);
    open_with(&(struct registry_options){.path = folder, .installed = in_folder("installed"), .index = ""});
    cr_expect(find("good_one") && find("many_op_1") && find("many_op_3"));
    cr_expect_not(find("many_op_2"));
    cr_expect_eq(registry_beside(registry, in_folder("graphs/a.yaml")), 0);
    cr_expect(find("many_op_2"));
    cr_expect_eq(registry_beside(registry, in_folder("env/a.yaml")), 0, "no plugins there: nothing happens");
    open_with(&(struct registry_options){.path = "/nowhere/at/all", .installed = "/nowhere", .index = ""});
    cr_expect_not(find("good_one"));
    cr_expect(said("/nowhere/at/all: No such file or directory"), "%s", why.at);
}

Test(registry, kernels_of_other_plugins) {
    have("good kernels many_1");
    for (int i = 0; i < 2; i++) { /* without and with an index */
        open_registry();
        const struct registry_entry *entry = find("good_one");
        cr_assert(entry);
        cr_expect_eq(entry->kernel_count, 6);
        cr_expect_eq(registry_kernel(entry, FLOW_DEVICE_CPU, FLOW_F32, FLOW_ISA_BASE, NULL)->priority, 20);
        cr_expect(registry_kernel(entry, FLOW_DEVICE_CUDA, FLOW_F32, FLOW_ISA_BASE, NULL));
        cr_expect_eq(loaded("many_1.so"), i == 0);
    }
}

Test(registry, chooses_a_kernel) {
    have("good");
    open_registry();
    const struct registry_entry *entry = find("good_one");
    const struct flow_kernel *at = entry->kernels;
    struct flow_infer infer = {.in_count = 1};
    cr_expect_eq(registry_kernel(entry, 0, FLOW_F64, FLOW_ISA_AVX512, &infer), &at[0]);
    cr_expect_eq(registry_kernel(entry, 0, FLOW_F32, FLOW_ISA_BASE, &infer), &at[2], "avx2 is more than there is");
    cr_expect_eq(registry_kernel(entry, 0, FLOW_F32, FLOW_ISA_AVX2, &infer), &at[1], "the first of equal ones");
    cr_expect_eq(registry_kernel(entry, 0, FLOW_F32, FLOW_ISA_AVX512, &infer), &at[1], "the best one refuses");
    infer.in_count = 7;
    cr_expect_eq(registry_kernel(entry, 0, FLOW_F32, FLOW_ISA_AVX512, &infer), &at[3]);
    cr_expect_eq(registry_kernel(entry, 0, FLOW_BF16, FLOW_ISA_AVX2, &infer), &at[1], "f32 stands in");
    cr_expect_null(registry_kernel(entry, 0, FLOW_I32, FLOW_ISA_AVX512, &infer));
    cr_expect_null(registry_kernel(entry, 1, FLOW_F32, FLOW_ISA_AVX512, &infer));
    cr_expect_null(registry_kernel(entry, 0, 77, FLOW_ISA_AVX512, &infer));
}

Test(registry, lists_all) {
    have("good twin_a twin_b undefined");
    open_registry();
    const struct registry_entry **all, **again;
    size_t count, count_again, twins = 0;
    cr_assert_eq(registry_all(registry, &all, &count, &why), 0);
    for (size_t i = 0; i < count; i++) {
        cr_expect(i == 0 || strcmp(all[i - 1]->op->name, all[i]->op->name) <= 0);
        twins += strcmp(all[i]->op->name, "twin") == 0;
    }
    cr_expect_eq(twins, 2);
    cr_expect(said("undefined.so: cannot be opened"), "%s", why.at);
    for (const char *line = why.at; line && *line; line = strchr(line, '\n') + 1)
        cr_expect(strstr(line, "undefined.so"), "built in: %s", line);
    cr_assert_eq(registry_all(registry, &again, &count_again, NULL), 0);
    cr_expect(again == all && count_again == count);
}

/* Every request for memory fails once: no crash, nothing left over, and what is found is whole. */
Test(registry, memory_runs_out) {
    have("good twin_a kernels undefined liar");
    long failures = 0;
    for (long at = 1;; at++) {
        struct failing counted = FAILING_INIT;
        counted.fail_at = at;
        const struct allocator from = failing_allocator(&counted);
        struct text words;
        text_init(&words, &from);
        struct registry *mine = NULL;
        const bool with_index = at % 2;
        int status = registry_new(
            &from, &(struct registry_options){.path = folder, .installed = "/nowhere", .index = with_index ? in_folder("index") : ""},
            &mine);
        if (status == 0) {
            const struct registry_entry *entry = registry_find(mine, "good_one", &words);
            cr_expect(!entry || entry->kernel_count == 6);
            cr_expect(entry || counted.requests >= at);
            cr_expect_not(registry_find(mine, "gone", &words));
            const struct registry_entry **all;
            size_t count;
            status = registry_all(mine, &all, &count, &words);
            cr_expect(status == 0 || status == FLOW_ERROR_MEMORY);
        } else cr_expect_eq(status, FLOW_ERROR_MEMORY);
        registry_free(mine);
        text_free(&words);
        cr_assert_eq(counted.blocks, 0, "request %ld: %ld blocks left", at, counted.blocks);
        cr_assert_not(counted.wrong_size);
        if (counted.requests < at) break;
        failures++;
    }
    cr_expect(failures > 20);
}

static void *many_finds(void *context) {
    const int n = *(int *)context;
    for (int i = 0; i < 200; i++) {
        char name[32];
        struct text words;
        text_init(&words, &memory_default);
        snprintf(name, sizeof name, "many_op_%d", (n + i) % 9 + 1);
        const struct registry_entry *entry = registry_find(registry, name, &words);
        if (!entry || strcmp(entry->op->name, name) != 0) *(int *)context = -1000;
        if (i % 50 == 0 && registry_find(registry, "missing", &words)) *(int *)context = -1000;
        text_free(&words);
    }
    return NULL;
}

Test(registry, from_many_threads) {
    have("many_1 many_2 many_3 many_4 many_5 many_6 many_7 many_8 many_9");
    open_registry();
    pthread_t threads[4];
    int context[4] = {0, 1, 2, 3};
    for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&threads[i], NULL, many_finds, &context[i]), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) cr_expect_eq(context[i], i);
}
