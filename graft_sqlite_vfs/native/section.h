/* Read sections: they let a thread without the GIL read frames that another thread, with the GIL, may detach.
 *
 * A reader enters its section, loads a slot, copies, and leaves. The detaching thread first empties the slot, then
 * waits until every section that was entered before has been left, and only then frees the bytes. A reader that enters
 * later finds the slot empty. Both sides use sequentially consistent operations on the section and on the slot, so
 * that either the reader sees the empty slot or the detaching thread sees the reader.
 *
 * Invariants: the list of sections changes and is walked with the GIL held; each section is entered by one thread at
 * a time; nothing inside a section waits for the GIL. A section costs a reader two stores to a cache line of its own.
 */
#ifndef GRAFT_SECTION_H
#define GRAFT_SECTION_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct read_section {
    _Atomic uint64_t turns; /* odd while a reader is inside */
    struct read_section *previous, *next;
} read_section;

void section_add(read_section *section);
void section_remove(read_section *section);

/* Return once every reader that was inside any section has left it. */
void section_wait_for_all(void);

/* After fork(), in the child: mark every section as left, since its thread does not exist here. */
void section_reset_all(void);

static inline void section_enter(read_section *section)
{
    uint64_t turns = atomic_load_explicit(&section->turns, memory_order_relaxed);
    atomic_store_explicit(&section->turns, turns + 1, memory_order_seq_cst);
}

static inline void section_leave(read_section *section)
{
    uint64_t turns = atomic_load_explicit(&section->turns, memory_order_relaxed);
    atomic_store_explicit(&section->turns, turns + 1, memory_order_release);
}

#endif
