#include "section.h"

#include <sched.h>
#include <stddef.h>

static read_section all = {.previous = &all, .next = &all};

void section_add(read_section *section)
{
    section->previous = &all;
    section->next = all.next;
    all.next->previous = section;
    all.next = section;
}

void section_remove(read_section *section)
{
    section->previous->next = section->next;
    section->next->previous = section->previous;
    section->previous = section->next = NULL;
}

void section_wait_for_all(void)
{
    for (read_section *section = all.next; section != &all; section = section->next) {
        uint64_t turns = atomic_load_explicit(&section->turns, memory_order_seq_cst);
        if (turns % 2 == 0)
            continue;
        /* Waits at most for the memcpy of one page, or the disk read that it causes. */
        while (atomic_load_explicit(&section->turns, memory_order_seq_cst) == turns)
            sched_yield();
    }
}

void section_reset_all(void)
{
    for (read_section *section = all.next; section != &all; section = section->next) {
        uint64_t turns = atomic_load_explicit(&section->turns, memory_order_relaxed);
        atomic_store_explicit(&section->turns, turns + turns % 2, memory_order_relaxed);
    }
}
