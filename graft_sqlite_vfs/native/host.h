/* An SQLite library that has loaded the accelerator, and how Python is called on its behalf.
 *
 * Several libraries may be in one process (apsw brings its own, the standard `sqlite3` uses the system's): nothing of
 * one is ever used for another, and there is no global "the" API.
 *
 * Exceptions: an error of Python becomes an SQLite result code. apsw raises an exception that is pending when it gets
 * the thread back, so for apsw it stays pending, with its message; the exceptions that a later callback raises in the
 * same statement (a rollback, say) get it as their context. Every other library is given the code alone, and the
 * exception goes to the `failed` hook.
 */
#ifndef GRAFT_HOST_H
#define GRAFT_HOST_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "sqlite_abi.h"

#include <stdbool.h>

typedef struct {
    abi_vfs vfs;
    abi_vfs *base;
    const abi_routines *api;
    bool raises_pending; /* apsw */
} sqlite_host;

/* What Python provides: graft_sqlite_vfs/accelerator.py. */
typedef struct {
    PyObject *open_file;     /* (name, flags, {parameter: value}) -> file */
    PyObject *full_pathname; /* (name) -> str */
    PyObject *failed;        /* (exception) -> None */
    PyObject *checksum;      /* (bytes-like) -> int: XXH3-64 */
} python_hooks;

extern python_hooks hooks;

typedef struct {
    const sqlite_host *host;
    PyGILState_STATE gil;
    PyObject *earlier; /* the exception that was pending before */
} python_scope;

/* Enter Python. False: the interpreter is not there any more, and nothing was entered. */
bool python_enter(python_scope *scope, const sqlite_host *host);

/* Leave it, with the earlier exception pending again, behind the one that this call left, if any. */
void python_leave(python_scope *scope);

/* Dispose of the pending exception as the host wants it, and return its result code; `otherwise` if it has none. */
int python_error_code(const sqlite_host *host, int otherwise);

/* The same, for a caller that expects BUSY as an answer: nobody is told of that one. */
int python_lock_error_code(const sqlite_host *host);

/* The same, for a caller that has given the message to SQLite itself. */
int python_told_error_code(const sqlite_host *host, int otherwise);

/* Copy the message of the pending exception, which stays pending, into memory of the host; NULL if there is none. */
char *python_error_message(const sqlite_host *host);

/* Copy text into memory that the host's SQLite will free. */
char *host_text(const sqlite_host *host, const char *text);

#endif
