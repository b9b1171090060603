#include "named.h"

#include <string.h>
#include <sys/stat.h>

int named_note(named_file *file, const char *path, int descriptor)
{
    struct stat status;
    if (fstat(descriptor, &status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return named_set(file, path, status.st_dev, status.st_ino);
}

int named_set(named_file *file, const char *path, dev_t device, ino_t inode)
{
    char *copy = PyMem_RawMalloc(strlen(path) + 1);
    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    strcpy(copy, path);
    named_forget(file);
    *file = (named_file){.path = copy, .device = device, .inode = inode};
    return 0;
}

bool named_is_there(const named_file *file)
{
    struct stat status;
    return file->path != NULL && stat(file->path, &status) == 0 && status.st_dev == file->device &&
           status.st_ino == file->inode;
}

void named_forget(named_file *file)
{
    PyMem_RawFree(file->path);
    file->path = NULL;
}
