/* An opened volume as SQLite sees it: hits of the published snapshot and small commits here, all
 * else in the Python file behind it. */
#ifndef GRAFT_FILE_H
#define GRAFT_FILE_H

#include "appender.h"
#include "host.h"
#include "reader.h"

typedef enum { NOT_WRITING, WRITING_HERE, WRITING_IN_PYTHON } file_writing;

typedef struct {
    abi_file base; /* must be first */
    const sqlite_host *host;
    PyObject *file; /* graft_sqlite_vfs.accelerator.AcceleratedFile */
    graft_reader *reader;
    graft_appender *appender; /* NULL: Python writes */
    file_writing writing;     /* who was asked for RESERVED, and not yet for its end */
    int sector_size;
    int characteristics;
} graft_file;

/* Make `file` the opened volume. With the GIL; takes over no reference on failure, and sets an exception. */
int file_init(graft_file *file, const sqlite_host *host, PyObject *opened);

/* Make the names of methods; once, with the GIL. */
int file_prepare(void);

#endif
