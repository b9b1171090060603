/* A small SDK for SQLSync reducers in C, for wasm32 without any C library.
 *
 * A reducer is a state machine: each turn it looks at the answers to what it asked for, asks for more, or is done.
 * What is allocated for a mutation is gone when the mutation is done, so there is no free.
 */
#ifndef SQLSYNC_H
#define SQLSYNC_H

#include <stddef.h>
#include <stdint.h>

#define SQLSYNC_EXPORT(name) __attribute__((export_name(#name)))

typedef struct { const char *bytes; uint32_t length; } text;
#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

/* What the application provides. */
void on_mutation(text mutation);  /* a mutation begins */
void on_answers(int turn);        /* what was asked for in turn `turn` (0, 1 …) is answered */
uint32_t schema_version(void);
void on_migration(uint32_t version);

/* What it may do in a turn: ask for up to 16 things; each returns the number by which it finds its answer. */
int ask_query(text sql, int count, const text *params);
int ask_exec(text sql, int count, const text *params);
void refuse(text reason);

/* What came of it. */
int failed(int number);                        /* whether the statement failed */
uint64_t changes(int number);                  /* of an exec */
uint64_t row_count(int number);                /* of a query */
text cell(int number, int row, int column);    /* a text or blob; empty for anything else */

text joined(text first, text second);
void log_info(text message);

#endif
