/* An opened volume as SQLite sees it: hits of the published snapshot here, all else in the Python file behind it. */
#ifndef GRAFT_FILE_H
#define GRAFT_FILE_H

#include "host.h"
#include "reader.h"

typedef struct {
    abi_file base; /* must be first */
    const sqlite_host *host;
    PyObject *file; /* graft_sqlite_vfs.accelerator.AcceleratedFile */
    graft_reader *reader;
    bool writing; /* Python was asked for RESERVED, and not yet for its end */
    int sector_size;
    int characteristics;
} graft_file;

/* Make `file` the opened volume. With the GIL; takes over no reference on failure, and sets an exception. */
int file_init(graft_file *file, const sqlite_host *host, PyObject *opened);

/* Make the names of methods; once, with the GIL. */
int file_prepare(void);

#endif
