/* SPDX-License-Identifier: Apache-2.0 */
/* flowrun check-plugin: what every operator must survive. Each operator is tried in a process of its own, so that one that crashes or
 * never returns is a failed check like another, and the next go on. The child tells by lines: B (a check begins), T (a trial of it
 * begins), then O, F or N. */
#include "flowrun/command.h"
#include "flowrun/plugin_file.h"
#include "flowrun/print.h"
#include "flowrun/trial.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_SECONDS = 30, LIMIT_MOST = 86400, LINE_MOST = 2048, NAMES_MOST = 512, SCAN_MILLISECONDS = 100 };

/* ---- The child's side ---- */

static void line(FILE *out, char kind, const char *text) {
    putc(kind, out);
    for (const char *c = text; *c; c++) putc(*c == '\n' ? ' ' : *c, out);
    putc('\n', out);
    fflush(out);
}

void tell_trial(struct teller *teller, const char *format, ...) {
    char text[LINE_MOST / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    line(teller->out, 'T', text);
}

/* Of a check that failed, the first word counts. */
void tell(struct teller *teller, enum tell_kind kind, const char *format, ...) {
    char text[LINE_MOST / 2];
    if (teller->failed) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    line(teller->out, (char)kind, text);
    teller->failed = kind == TELL_FAILS;
}

static const char optimizer_word[] = "optimizer ", source_word[] = "source ";

struct subject {
    const struct command *command;
    const char *path;   /* of the plugin; NULL: built in */
    const char *family; /* of the built-in operators; "": all */
    const char *name;   /* the operator; NULL: the file as a whole */
};

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void tell_file(struct teller *teller, const char *path) {
    struct plugin_file file;
    char why[256];
    line(teller->out, 'B', "file");
    teller->failed = false;
    if (!plugin_file_read(path, &file, why, sizeof why)) tell(teller, TELL_FAILS, "%s", why);
    else if (!file.has_entry) tell(teller, TELL_FAILS, "is not a plugin: it exports no function flow_plugin_entry");
    else if (file.exports[0])
        tell(teller, TELL_FAILS, "exports more than flow_plugin_entry: %s (make them static, or build with -fvisibility=hidden)",
             file.exports);
    else if (file.constructors && !file.sanitized)
        tell(teller, TELL_FAILS, "runs %d function%s when it is opened: opening must run no code", file.constructors,
             file.constructors > 1 ? "s" : "");
    else tell(teller, TELL_HOLDS, "exports flow_plugin_entry alone, runs nothing when it is opened");
    if (teller->failed && !file.has_entry) return;
    line(teller->out, 'B', "calls");
    teller->failed = false;
    if (file.forbidden[0])
        tell(teller, TELL_FAILS, "calls %s: operators neither end the program, print, nor start threads", file.forbidden);
    else tell(teller, TELL_HOLDS, "neither ends the program, prints, nor starts threads");
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool is_wanted(const struct subject *subject, const char *plugin, const char *file) {
    if (subject->path) return file != NULL;
    return !file && strcmp(plugin, "flow") != 0 && (!*subject->family || strcmp(plugin, subject->family) == 0);
}

/* Optimisers and sources, with the kind before the name: how many, told only where they are to be tried. */
static size_t tell_rules(struct teller *teller, const struct subject *subject, flow_runtime *runtime, bool named) {
    struct flow_optimizer_info *rules = NULL;
    struct flow_source_info *sources = NULL;
    size_t count = 0, found = 0;
    char text[LINE_MOST / 2];
    if (flow_runtime_optimizers(runtime, NULL, &rules, &count, NULL) < 0) count = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%s%s", optimizer_word, rules[i].optimizer->name);
        if (is_wanted(subject, rules[i].plugin, rules[i].file) && ++found && named) line(teller->out, 'I', text);
    }
    flow_runtime_optimizers_free(runtime, rules, count);
    if (flow_runtime_sources(runtime, NULL, &sources, &count, NULL) < 0) count = 0;
    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%s%s", source_word, sources[i].source->name);
        if (is_wanted(subject, sources[i].plugin, sources[i].file) && ++found && named) line(teller->out, 'I', text);
    }
    flow_runtime_sources_free(runtime, sources, count);
    return found;
}

/* Every operator's name as a line of its own, 'I', and how long opening took. */
static void tell_contents(struct teller *teller, const struct subject *subject) {
    struct flow_runtime_options options = {.size = sizeof options, .threads = 1, .plugin_path = subject->path, .plugin_only = true};
    struct flow_operator_info *list = NULL;
    flow_runtime *runtime = NULL;
    flow_errors *errors = NULL;
    char *failures = NULL, why[LINE_MOST / 2];
    const char *names[NAMES_MOST];
    size_t count = 0, shown = 0;
    line(teller->out, 'B', "tables");
    teller->failed = false;
    double before = cpu_seconds();
    int rc = flow_runtime_new(&options, &errors, &runtime);
    if (rc == 0) rc = flow_runtime_operators(runtime, &errors, &list, &count, &failures);
    double took = 1e3 * (cpu_seconds() - before);
    if (rc < 0) errors_text(errors, rc, why, sizeof why), tell(teller, TELL_FAILS, "%s", why);
    else if (failures && *failures) tell(teller, TELL_FAILS, "%s", failures);
    for (size_t i = 0; i < count && rc == 0 && shown < NAMES_MOST; i++) {
        if (is_wanted(subject, list[i].plugin, list[i].file) && strcmp(list[i].plugin, "flow") != 0) names[shown++] = list[i].op->name;
    }
    size_t others = rc == 0 ? tell_rules(teller, subject, runtime, false) : 0;
    if (!subject->path && shown + others == 0) tell(teller, TELL_FAILS, "nothing in the library is of the family '%s'", subject->family);
    tell(teller, TELL_HOLDS, "%zu operator%s, %zu other%s", shown, shown == 1 ? "" : "s", others, others == 1 ? "" : "s");
    line(teller->out, 'B', "time to open");
    teller->failed = false;
    if (took > SCAN_MILLISECONDS) tell(teller, TELL_FAILS, "%.0f ms: at most %d are allowed", took, SCAN_MILLISECONDS);
    else tell(teller, TELL_HOLDS, "%.1f ms", took);
    if (shown) qsort(names, shown, sizeof *names, by_name);
    for (size_t i = 0; i < shown; i++) line(teller->out, 'I', names[i]);
    if (rc == 0) tell_rules(teller, subject, runtime, true);
    flow_runtime_operators_free(runtime, list, count);
    flow_text_free(failures);
    flow_runtime_free(runtime);
}

/* Checks from the `first`-th on. */
static void try_operator(struct teller *teller, const struct subject *subject, int first) {
    struct flow_operator_info about;
    static struct trial trial;
    flow_errors *errors = NULL;
    char why[LINE_MOST / 2];
    trial = (struct trial){.teller = teller, .plugin_path = subject->path, .about = &about};
    teller->failed = false;
    if (first == 0) line(teller->out, 'B', trial_checks[0].name);
    int rc = trial_runtime(&trial, 1, &trial.runtime, why, sizeof why);
    if (rc == 0 && (rc = flow_runtime_operator(trial.runtime, subject->name, &errors, &about)) < 0)
        errors_text(errors, rc, why, sizeof why);
    if (rc == 0) trial.op = about.op, rc = trial_find(&trial, why, sizeof why);
    if (rc < 0) {
        tell(teller, TELL_FAILS, "it does not run: %s", why[0] ? why : flow_status_text(rc));
    } else {
        for (int i = first; trial_checks[i].name; i++) {
            if (i > 0) line(teller->out, 'B', trial_checks[i].name);
            teller->failed = false;
            trial_checks[i].run(&trial);
        }
    }
    flow_runtime_free(trial.runtime);
}

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

static void try_other(struct teller *teller, const struct subject *subject, void (*run)(struct trial *trial, const char *name),
                      const char *name) {
    struct trial trial = {.teller = teller, .plugin_path = subject->path};
    char why[LINE_MOST / 2];
    if (trial_runtime(&trial, 1, &trial.runtime, why, sizeof why) < 0) tell(teller, TELL_FAILS, "%s", why);
    else run(&trial, name);
    flow_runtime_free(trial.runtime);
}

/* ---- The parent's side ---- */

struct tally {
    const struct command *command;
    int passed, failed, begun; /* checks begun of this subject */
    bool empty;                /* nothing printed yet */
    char check[64], trial[LINE_MOST];
    bool told;    /* the check in hand has ended */
    double limit; /* seconds for one trial */
    char *names[NAMES_MOST];
    size_t name_count;
};

static void show(struct tally *tally, const char *item, char kind, const char *text) {
    bool quiet = tally->command->quiet && kind != 'F';
    kind == 'F' ? tally->failed++ : kind == 'O' ? tally->passed++ : 0;
    tally->told = true;
    if (tally->command->json) {
        printf("%s\n {\"item\": ", tally->empty ? "" : ",");
        print_string(stdout, item, strlen(item));
        printf(", \"check\": \"%s\", \"holds\": %s, \"text\": ", tally->check, kind == 'O' ? "true" : kind == 'F' ? "false" : "null");
        print_string(stdout, text, strlen(text));
        printf("}");
        tally->empty = false;
    } else if (!quiet && (kind != 'N' || tally->command->verbose)) {
        printf("%s%s%s %-20s %-14s %s\n",
               kind == 'F'   ? RED
               : kind == 'O' ? GREEN
                             : DIM,
               kind == 'F'   ? "FAIL"
               : kind == 'O' ? "ok  "
                             : "--  ",
               PLAIN, item, tally->check, text);
    }
    fflush(stdout);
}

static void take_line(struct tally *tally, const char *item, const char *text) {
    switch (text[0]) {
    case 'B':
        snprintf(tally->check, sizeof tally->check, "%.60s", text + 1);
        tally->trial[0] = 0, tally->told = false, tally->begun++;
        break;
    case 'T': snprintf(tally->trial, sizeof tally->trial, "%s", text + 1); break;
    case 'I':
        if (tally->name_count < NAMES_MOST && (tally->names[tally->name_count] = strdup(text + 1))) tally->name_count++;
        break;
    case 'O':
    case 'F':
    case 'N': show(tally, item, text[0], text + 1); break;
    default: break;
    }
}

/* Lines until the child ends; false: it had to be ended. */
static bool follow(struct tally *tally, const char *item, int from) {
    char text[LINE_MOST];
    size_t used = 0;
    for (;;) {
        struct pollfd wait = {.fd = from, .events = POLLIN};
        int ready = poll(&wait, 1, (int)(1e3 * tally->limit));
        if (ready < 0 && errno == EINTR) {
            if (interrupted()) return false;
            continue;
        }
        if (ready <= 0) return false;
        ssize_t got = read(from, text + used, sizeof text - 1 - used);
        if (got <= 0) return true;
        used += (size_t)got;
        for (char *end; (end = memchr(text, '\n', used));) {
            *end = 0;
            take_line(tally, item, text);
            used -= (size_t)(end + 1 - text);
            memmove(text, end + 1, used);
        }
        if (used == sizeof text - 1) used = 0; /* no line of ours is so long */
    }
}

/* One process. False: it crashed or did not return; what it was at has been told. */
static bool run_child(struct tally *tally, const struct subject *subject, int first) {
    const char *item = subject->name ? subject->name : subject->path ? "(file)" : "(built in)";
    int ends[2];
    if (pipe(ends) != 0) return show(tally, item, 'F', strerror(errno)), true;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) return close(ends[0]), close(ends[1]), show(tally, item, 'F', strerror(errno)), true;
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL);
        close(ends[0]);
        struct teller teller = {.out = fdopen(ends[1], "w"), .item = item};
        if (!teller.out) _exit(EXIT_FAILED);
        if (subject->name && starts(subject->name, optimizer_word)) {
            try_other(&teller, subject, try_optimizer, subject->name + strlen(optimizer_word));
        } else if (subject->name && starts(subject->name, source_word)) {
            try_other(&teller, subject, try_source, subject->name + strlen(source_word));
        } else if (subject->name) {
            try_operator(&teller, subject, first);
        } else {
            if (subject->path) tell_file(&teller, subject->path);
            tell_contents(&teller, subject);
        }
        fclose(teller.out);
        _exit(EXIT_DONE);
    }
    close(ends[1]);
    int status = 0;
    tally->begun = 0, tally->told = true, tally->trial[0] = 0;
    bool returned = follow(tally, item, ends[0]);
    if (!returned) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    close(ends[0]);
    if (returned && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE) return true;
    char how[128], text[LINE_MOST + 256];
    if (!returned) snprintf(how, sizeof how, "did not return within %g s", tally->limit);
    else if (WIFSIGNALED(status)) snprintf(how, sizeof how, "crashed (%s)", strsignal(WTERMSIG(status)));
    else snprintf(how, sizeof how, "ended the program with status %d", WEXITSTATUS(status));
    snprintf(text, sizeof text, "%s%s%s", how, tally->trial[0] ? ", in the trial: " : "", tally->trial);
    if (!tally->told) show(tally, item, 'F', text);
    else { /* between two checks: the next one would crash the same way */ snprintf(tally->check, sizeof tally->check, "end");
        show(tally, item, 'F', text);
        return true;
    }
    return false;
}

/* A child that crashes is followed by another that begins behind the check it crashed in. */
static void run_operator(struct tally *tally, struct subject subject) {
    int total = 0, first = 0;
    while (trial_checks[total].name) total++;
    if (starts(subject.name, optimizer_word) || starts(subject.name, source_word)) total = 1;
    while (first < total && !interrupted()) {
        if (run_child(tally, &subject, first)) return;
        if (first == 0 && tally->begun == 1) return; /* the example itself: nothing else can be tried */
        first += tally->begun;
    }
}

static void run_subject(struct tally *tally, struct subject subject) {
    run_child(tally, &subject, 0);
    for (size_t i = 0; i < tally->name_count && !interrupted(); i++) {
        subject.name = tally->names[i];
        run_operator(tally, subject);
    }
    for (size_t i = 0; i < tally->name_count; i++) free(tally->names[i]);
    tally->name_count = 0;
}

int command_check_plugin(struct command *command) {
    struct tally tally = {.command = command, .empty = true, .limit = LIMIT_SECONDS};
    if (command->limit > 0 && command->limit < LIMIT_MOST) tally.limit = command->limit;
    if (!command->graph && !command->builtin)
        return command_say(EXIT_USAGE, "check-plugin needs a plugin's file, or --builtin FAMILY (--builtin all)");
    if (command->json) printf("[");
    if (command->builtin)
        run_subject(&tally, (struct subject){.command = command, .family = strcmp(command->builtin, "all") == 0 ? "" : command->builtin});
    for (size_t i = 0; command->graph && i <= command->rest.count + (command->file ? 1 : 0); i++) {
        const char *path = i == 0 ? command->graph : i == 1 ? command->file : command->rest.at[i - 2];
        char *whole = realpath(path, NULL);
        if (!whole) {
            command_say(EXIT_USAGE, "%s: %s", path, strerror(errno));
            return EXIT_USAGE;
        }
        run_subject(&tally, (struct subject){.command = command, .path = whole});
        free(whole);
    }
    if (command->json) printf("\n]\n");
    else printf("%d passed, %d failed\n", tally.passed, tally.failed);
    if (tally.passed + tally.failed == 0) return command_say(EXIT_USAGE, "there is nothing of that name to check");
    return tally.failed ? EXIT_FAILED : EXIT_DONE;
}
