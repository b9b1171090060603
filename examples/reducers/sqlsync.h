/* A small SDK for SQLSync reducers in C, for wasm32 without a C library.
 *
 * A reducer is a state machine: in each turn it reads the answers to its requests, sends more requests, or is done.
 * All memory that a mutation allocates is released when the mutation is done, so there is no free.
 */
#ifndef SQLSYNC_H
#define SQLSYNC_H

#include <stddef.h>
#include <stdint.h>

#define SQLSYNC_EXPORT(name) __attribute__((export_name(#name)))

typedef struct { const char *bytes; uint32_t length; } text;
#define TEXT(literal) ((text){literal, sizeof(literal) - 1})

/* Functions that the application defines. */
void on_mutation(text mutation);  /* a mutation begins */
void on_answers(int turn);        /* the requests of turn `turn` (0, 1 …) are answered */
uint32_t schema_version(void);
void on_migration(uint32_t version);

/* Requests, up to 16 in a turn; each function returns the number by which the answer is found. */
int ask_query(text sql, int count, const text *params);
int ask_exec(text sql, int count, const text *params);
void refuse(text reason);

/* Answers. */
int failed(int number);                        /* whether the statement failed */
uint64_t changes(int number);                  /* of an exec */
uint64_t row_count(int number);                /* of a query */
text cell(int number, int row, int column);    /* a text or blob; empty for anything else */

text joined(text first, text second);
void log_info(text message);

#endif
