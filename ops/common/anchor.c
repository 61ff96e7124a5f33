/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the library of shared helpers from being empty where every helper is inline. */
extern const int ops_common_anchor;
const int ops_common_anchor = 0;
