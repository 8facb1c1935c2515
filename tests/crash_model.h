/*
 * What the parts of the crash kit share among themselves: the witnesses (crash_model.c).
 */
#ifndef AG_TESTS_CRASH_MODEL_H
#define AG_TESTS_CRASH_MODEL_H

#include <stdatomic.h>

#include "tests/crash_kit.h"

/* How many times a model hung, a tool stalled; and whether they may, for somebody is there who ends it. */
extern atomic_int crash_hanging, crash_stalled;
extern atomic_bool crash_may_hang, crash_may_stall;

/* Tells why and ends the process. */
_Noreturn void crash_die(const char *what, const agent_error *err);

/* Adds a line to a file beside the database: whole or not at all, whenever we are killed. */
void crash_witness(const char *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
