/* Checks that a path still names the file that was opened. A lock on a file that lost its name excludes no other
 * process, and a record written to one is lost. graft/disk/home.py does the same in Python, with error messages. */
#ifndef GRAFT_NAMED_H
#define GRAFT_NAMED_H

#include <Python.h> /* before the system's headers */
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char *path; /* NULL: no file */
    dev_t device;
    ino_t inode;
} named_file;

/* Record a path and the file that a descriptor has open. With the GIL; -1 with an exception set. */
int named_note(named_file *file, const char *path, int descriptor);

/* The same for a file that was opened elsewhere. */
int named_set(named_file *file, const char *path, dev_t device, ino_t inode);

/* Return whether the path still names that file. */
bool named_is_there(const named_file *file);

void named_forget(named_file *file);

#endif
