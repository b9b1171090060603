/* An SQLite library that has loaded the accelerator, and calls from it into Python.
 *
 * One process may contain several SQLite libraries (apsw brings its own, the standard `sqlite3` uses the system's).
 * Each has its own host, and there is no global API table.
 *
 * Exceptions: a Python error becomes an SQLite result code. apsw raises an exception that is still pending when its
 * call returns, so for apsw it stays pending, with its message; an exception that a later callback raises in the same
 * statement (a rollback, say) gets it as its context. Every other library receives only the code, and the exception
 * goes to the `failed` hook.
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

/* Enter Python. False: the interpreter has ended, and nothing was entered. */
bool python_enter(python_scope *scope, const sqlite_host *host);

/* Leave Python. The earlier exception is pending again, as the context of this call's exception if there is one. */
void python_leave(python_scope *scope);

/* Handle the pending exception as the host needs it, and return its result code; `otherwise` if it has none. */
int python_error_code(const sqlite_host *host, int otherwise);

/* The same, for a caller that expects BUSY: that exception is dropped without a report. */
int python_lock_error_code(const sqlite_host *host);

/* The same, for a caller that has already passed the message to SQLite. */
int python_reported_error_code(const sqlite_host *host, int otherwise);

/* Copy the message of the pending exception, which stays pending, into memory of the host; NULL if there is none. */
char *python_error_message(const sqlite_host *host);

/* Copy text into memory that the host's SQLite frees. */
char *host_text(const sqlite_host *host, const char *text);

#endif
