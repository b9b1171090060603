/* Files by name that must stay the ones that were opened: a lock on a file that lost its name keeps nobody out, and a
 * record in one is lost. graft/disk/home.py is the same in Python, and says what has changed. */
#ifndef GRAFT_NAMED_H
#define GRAFT_NAMED_H

#include <Python.h> /* before what the system has */
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    char *path; /* NULL: there is none */
    dev_t device;
    ino_t inode;
} named_file;

/* Note which file a descriptor is open on, and its name. With the GIL; -1 with an exception set. */
int named_note(named_file *file, const char *path, int descriptor);

/* The same for a file that somebody else has open. */
int named_set(named_file *file, const char *path, dev_t device, ino_t inode);

/* Tell whether the name still stands for that file. */
bool named_is_there(const named_file *file);

void named_forget(named_file *file);

#endif
