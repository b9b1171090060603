/* The bodies of frames by number, for readers without the GIL: `FrameSlots`, which observes a `graft.pagemap.frame_table`.
 *
 * Invariants: a slot is empty or points to a body whose page list has `count` entries and whose data has at least
 * `count` pages, checked when it was attached; blocks of slots never move; a body is freed only after
 * `section_wait_for_all`. Changes are made with the GIL held. A body holds a reference to its Python object, whose
 * buffers live as long as the object.
 */
#ifndef GRAFT_FRAMES_H
#define GRAFT_FRAMES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdint.h>

typedef struct frame_body {
    const uint8_t *pages; /* u32 in the machine's order, the page at each slot */
    const uint8_t *data;
    uint32_t count;
    PyObject *owner;
    struct frame_body *next_retired;
} frame_body;

typedef struct frame_root frame_root;

typedef struct {
    PyObject_HEAD
    uint32_t page_size;
    _Atomic(frame_root *) root;
} frame_slots;

extern PyTypeObject frame_slots_type;

/* Return a frame's body, NULL if it is not attached. Call this, and use the result, inside a read section. */
const frame_body *frames_body(const frame_slots *slots, uint64_t number);

#endif
