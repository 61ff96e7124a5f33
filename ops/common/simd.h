/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vector code for several instruction sets from one source. A file named *_simd.c is compiled once for each set the processor family
 * has (FLOW_ISA_BASE, AVX2, AVX512); ISA(name) gives each copy names of its own. Loops are plain C, marked with `#pragma omp simd`
 * (with reduction(...) where needed), and the compiler makes the vectors; the functions below are branch-free so that it can.
 * The file ends in a table of its functions, `const struct x_table ISA(x_table)`; the operator picks one with ISA_PICK.
 */
#ifndef OPS_COMMON_SIMD_H
#define OPS_COMMON_SIMD_H

#include <flow/plugin.h>

#define ISA_JOIN_(name, suffix) name##suffix
#define ISA_JOIN(name, suffix) ISA_JOIN_(name, suffix)
#ifdef FLOW_ISA_SUFFIX
#define ISA(name) ISA_JOIN(name, FLOW_ISA_SUFFIX)
#endif

/* Declares the tables of every set that was built, and picks the best that the host allows:
 *   ISA_DECLARE(struct x_table, x_table);   ...   const struct x_table *t = ISA_PICK(x_table, call->host->isa); */
#ifdef FLOW_ISA_ALL
#define ISA_DECLARE(type, name) extern const type name##_base, name##_avx2, name##_avx512
#define ISA_PICK(name, isa) ((isa) >= FLOW_ISA_AVX512 ? &name##_avx512 : (isa) >= FLOW_ISA_AVX2 ? &name##_avx2 : &name##_base)
#else
#define ISA_DECLARE(type, name) extern const type name##_base
#define ISA_PICK(name, isa) ((void)(isa), &name##_base)
#endif

#endif
