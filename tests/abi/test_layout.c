/* SPDX-License-Identifier: Apache-2.0 */
/* What was released stays where it was: members of public structs, sizes of those that cannot grow, constants, and the types and names of
 * functions. The headers of today are held against the pins of each release. */
#include <flow/flow.h>

#include <criterion/criterion.h>
#include <ctype.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* Offsets are those of the LP64 machines (x86-64, arm64); elsewhere another number holds, and the rule is the same. */
#ifdef __LP64__
#define PIN_OFFSET(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type " " #member " has moved")
#define PIN_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has another size: it says none, so it cannot grow")
#else
#define PIN_OFFSET(type, member, offset) _Static_assert(offsetof(type, member) < sizeof(type), #type " " #member " is gone")
#define PIN_SIZE(type, bytes) _Static_assert(sizeof(type) > 0, #type " is gone")
#endif
#define PIN_VALUE(name, value) _Static_assert((long long)(name) == (value), #name " has another value")
#include "generated/abi_releases.h" /* pins.h and functions.h of each: a function whose type changed does not compile */

/* The names in a functions.h: words before '(' that begin with flow_. */
static void look_for_functions(const char *release, void *library, int *found) {
    char path[512], line[2048];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/abi/%s/functions.h", release);
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    while (fgets(line, sizeof line, file)) {
        char *end = strchr(line, '(');
        if (!end) continue;
        char *name = end;
        while (name > line && (isalnum((unsigned char)name[-1]) || name[-1] == '_')) name--;
        *end = 0;
        if (strncmp(name, "flow_", 5) != 0) continue;
        cr_expect(dlsym(library, name), "%s of %s is not in the library", name, release);
        ++*found;
    }
    fclose(file);
}

Test(abi, functions_of_each_release_are_exported) {
    static const char *const releases[] = {ABI_RELEASES};
    void *library = dlopen(BUILD_DIR "/libflow.so", RTLD_NOW | RTLD_LOCAL);
    cr_assert(library, "%s", dlerror());
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++) {
        int found = 0;
        look_for_functions(releases[i], library, &found);
        cr_expect_gt(found, 80, "%s: %d functions", releases[i], found);
    }
    dlclose(library);
}
