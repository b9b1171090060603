/* How often this process is the child of a fork since the accelerator was loaded.
 *
 * What was made before a fork belongs to the parent: its locks, its room in the journal, and the version that it knows.
 * Each object notes the number when it is made, and leaves everything to Python, which refuses, once it has changed.
 */
#ifndef GRAFT_FORKS_H
#define GRAFT_FORKS_H

#include <Python.h> /* before what the system has */
#include <stdint.h>

extern uint32_t fork_count;

/* After fork(), in the child. */
void fork_counted(void);

#endif
