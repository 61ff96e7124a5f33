/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine, the system and the environment offer. Files of /proc and /sys that are not there say nothing. */
#include "flowrun/doctor.h"
#include "flowrun/terminal.h"

#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
static const char sanitizer[] = ", address sanitizer: slow";
#elif defined(__SANITIZE_THREAD__)
static const char sanitizer[] = ", thread sanitizer: slow";
#else
static const char sanitizer[] = "";
#endif

void doctor_program(struct findings *findings) {
    static const char section[] = "Program";
    finding_add(findings, section, "version", FINDING_GOOD, "flowrun %s", flow_version());
#ifdef __OPTIMIZE__
    finding_add(findings, section, "build", *sanitizer ? FINDING_NOTE : FINDING_GOOD, "optimised%s, compiler %s", sanitizer, __VERSION__);
#else
    finding_add(findings, section, "build", FINDING_NOTE, "not optimised%s, compiler %s", sanitizer, __VERSION__);
    finding_advise(findings, "build with cmake --preset release for speed");
#endif
}

/* The first line of `path` that begins with `key`, without it, white space and colons; "" where there is none. */
static void read_line(const char *path, const char *key, char *text, size_t size) {
    char line[4096];
    FILE *file = fopen(path, "re");
    text[0] = 0;
    while (file && !text[0] && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *value = line + strlen(key) + strspn(line + strlen(key), " \t:");
        snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
    }
    if (file) fclose(file);
}

/* A file of this process's control group: version 2, or version 1 with its controller's folder. */
static void read_group(const char *name, const char *controller, const char *old_name, char *text, size_t size) {
    char path[4096], group[1024];
    read_line("/proc/self/cgroup", "0::", group, sizeof group);
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, name);
    read_line(path, "", text, size);
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s", name);
    if (!*text) read_line(path, "", text, size);
    snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controller, old_name);
    if (!*text) read_line(path, "", text, size);
}

/* Processors' worth of time that the control group allows; INFINITY: no limit. */
static double cores_allowed(void) {
    char text[128], period[64];
    read_group("cpu.max", "cpu", "cpu.cfs_quota_us", text, sizeof text);
    double quota = strtod(text, NULL), over = 100000;
    const char *space = strchr(text, ' ');
    read_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "", period, sizeof period);
    if (space) over = strtod(space, NULL);
    else if (*period) over = strtod(period, NULL);
    return quota > 0 && over > 0 ? quota / over : INFINITY;
}

static void add_sets(struct findings *findings, const struct flow_machine *machine) {
    static const char *const wanted[] = {"avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile"};
    static const char *const names[] = {"base", "avx2", "avx512"};
    char flags[4096], found[128] = "";
    read_line("/proc/cpuinfo", "flags", flags, sizeof flags);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const char *at = strstr(flags, wanted[i]);
        size_t used = strlen(found), length = strlen(wanted[i]);
        while (at && !((at == flags || at[-1] == ' ') && (at[length] == ' ' || !at[length]))) at = strstr(at + 1, wanted[i]);
        if (at) snprintf(found + used, sizeof found - used, "%s%s", used ? ", " : "", wanted[i]);
    }
    if (*flags) finding_add(findings, "Processor", "offers", FINDING_GOOD, "%s", *found ? found : "no vector set beyond the base");
    int32_t isa = machine->isa == FLOW_ISA_AVX512 ? 2 : machine->isa == FLOW_ISA_AVX2 ? 1 : 0;
    const char *limit = getenv("FLOW_ISA");
    bool known = false;
    for (size_t i = 0; limit && i < sizeof names / sizeof *names; i++) known = known || strcmp(limit, names[i]) == 0;
    if (!limit) {
        finding_add(findings, "Processor", "used", FINDING_GOOD, "%s", names[isa]);
    } else if (known) {
        finding_add(findings, "Processor", "used", FINDING_NOTE, "%s, since FLOW_ISA=%s", names[isa], limit);
    } else {
        finding_add(findings, "Processor", "used", FINDING_WRONG, "%s; FLOW_ISA=%s says nothing", names[isa], limit);
        finding_advise(findings, "FLOW_ISA is base, avx2 or avx512: unset it, or set it to one of them");
    }
}

void doctor_processor(struct findings *findings, const struct flow_machine *machine) {
    static const char section[] = "Processor";
    char model[256];
    cpu_set_t set;
    read_line("/proc/cpuinfo", "model name", model, sizeof model);
    if (*model) finding_add(findings, section, "model", FINDING_GOOD, "%s", model);
    add_sets(findings, machine);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)online;
    double quota = cores_allowed();
    finding_add(findings, section, "cores", FINDING_GOOD, "%ld, of which this process may use %d", online, allowed);
    if (isfinite(quota) && quota < machine->threads) {
        int threads = quota < 1 ? 1 : (int)quota;
        finding_add(findings, section, "threads", FINDING_WRONG, "%d, but the control group allows the time of %.3g cores",
                    machine->threads, quota);
        finding_advise(findings, "say --threads %d (in a graph: run: {threads: %d}): threads that are stopped in turn hold the others up",
                       threads, threads);
    } else {
        finding_add(findings, section, "threads", FINDING_GOOD, "%d by default (--threads)", machine->threads);
    }
}

void doctor_memory(struct findings *findings) {
    static const char section[] = "Memory";
    char total[64], available[64], limit[64], huge[128];
    read_line("/proc/meminfo", "MemTotal", total, sizeof total);
    read_line("/proc/meminfo", "MemAvailable", available, sizeof available);
    double free_gib = strtod(available, NULL) / (1 << 20);
    bool little = *available && free_gib < 0.25;
    if (*total)
        finding_add(findings, section, "of the machine", little ? FINDING_WRONG : FINDING_GOOD, "%.1f GiB, %.1f GiB of it available",
                    strtod(total, NULL) / (1 << 20), free_gib);
    if (*total && little) finding_advise(findings, "less than 256 MiB of memory are free: end other programs");
    read_group("memory.max", "memory", "memory.limit_in_bytes", limit, sizeof limit);
    double most = strtod(limit, NULL);
    if (most > 0 && most < 1e15) finding_add(findings, section, "allowed", FINDING_GOOD, "%.1f GiB by the control group", most / (1 << 30));
    read_line("/sys/kernel/mm/transparent_hugepage/enabled", "", huge, sizeof huge);
    const char *open = strchr(huge, '[');
    if (open) finding_add(findings, section, "huge pages", FINDING_GOOD, "%.*s", (int)strcspn(open + 1, "]"), open + 1);
}

/* The driver alone is asked, so that no toolkit is needed. */
void doctor_cuda(struct findings *findings) {
    static const char section[] = "CUDA";
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!driver) {
        finding_add(findings, section, "driver", FINDING_GOOD, "none (libcuda.so.1 is not here); nothing needs it");
        return;
    }
    int (*init)(unsigned) = NULL, (*version)(int *) = NULL, (*count)(int *) = NULL, (*name)(char *, int, int) = NULL;
    *(void **)&init = dlsym(driver, "cuInit"), *(void **)&version = dlsym(driver, "cuDriverGetVersion");
    *(void **)&count = dlsym(driver, "cuDeviceGetCount"), *(void **)&name = dlsym(driver, "cuDeviceGetName");
    int number = 0, devices = 0, status = init ? init(0) : -1;
    if (status == 0 && version && version(&number) == 0)
        finding_add(findings, section, "driver", FINDING_GOOD, "for CUDA %d.%d", number / 1000, number % 1000 / 10);
    else finding_add(findings, section, "driver", FINDING_NOTE, "libcuda.so.1 is here, but does not start (error %d)", status);
    if (status == 0 && count && count(&devices) == 0)
        for (int i = 0; i < devices && name; i++) {
            char text[128] = "";
            if (name(text, sizeof text, i) == 0) finding_add(findings, section, "device", FINDING_GOOD, "%s", text);
        }
    if (status == 0 && !devices) finding_add(findings, section, "device", FINDING_NOTE, "none");
    dlclose(driver);
}

void doctor_terminal(struct findings *findings) {
    static const char section[] = "Terminal";
    const char *locale = getenv("LC_ALL");
    if (!locale || !*locale) locale = getenv("LC_CTYPE");
    if (!locale || !*locale) locale = getenv("LANG");
    finding_add(findings, section, "locale", FINDING_GOOD, "%s", locale && *locale ? locale : "C");
    bool tty = isatty(STDOUT_FILENO);
    finding_add(findings, section, "output", FINDING_GOOD, "%s, %zu columns, colours %s", tty ? "a terminal" : "no terminal",
                terminal_width(stdout, 80), *color("x") ? "on" : "off");
}
