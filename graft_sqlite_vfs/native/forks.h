/* Counts the forks between the process that loaded the accelerator and this one.
 *
 * The parent owns whatever was created before a fork: locks, space in the journal, and the known version. Each object
 * stores the count at its creation. If the count has changed, the object leaves every call to Python, which refuses it.
 */
#ifndef GRAFT_FORKS_H
#define GRAFT_FORKS_H

#include <Python.h> /* before the system's headers */
#include <stdint.h>

extern uint32_t fork_count;

/* After fork(), in the child. */
void fork_counted(void);

#endif
