/* An opened volume as SQLite sees it. C reads pages of the published snapshot and makes small commits; the Python file
 * behind it does everything else. */
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
    file_writing writing;     /* which side holds RESERVED */
    int sector_size;
    int characteristics;
} graft_file;

/* Initialize `file` for the opened volume. With the GIL; on failure, takes no reference and sets an exception. */
int file_init(graft_file *file, const sqlite_host *host, PyObject *opened);

/* Create the strings of method names; once, with the GIL. */
int file_prepare(void);

#endif
