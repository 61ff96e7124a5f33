/* SPDX-License-Identifier: Apache-2.0 */
#include "targets/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    fuzz_file(bytes, size, "fuzz.csv", io_csv_read);
    return 0;
}
