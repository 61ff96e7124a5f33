/* SPDX-License-Identifier: Apache-2.0 */
/* A shared object that is no plugin. */
int just_a_library(void);
__attribute__((visibility("default"))) int just_a_library(void) { return 1; }
