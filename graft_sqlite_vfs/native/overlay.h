/* Pages that C has committed on top of a published snapshot, until Python publishes the next one.
 *
 * Their bodies are read from the mapped journal file that they were appended to. Page 1 is stored as SQLite wrote it,
 * which is how SQLite must see it.
 *
 * Invariants: there is a mapped file from `overlay_begin` to `overlay_end`; without one there are no pages. One thread
 * at a time uses an overlay, as for its reader.
 */
#ifndef GRAFT_OVERLAY_H
#define GRAFT_OVERLAY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

enum { OVERLAY_SLOTS = 1024, OVERLAY_PAGES_MAX = OVERLAY_SLOTS / 2 };

typedef struct {
    Py_buffer journal;
    uint32_t page_shift;
    unsigned count;
    bool has_page_one;
    uint8_t *page_one;
    uint32_t pages[OVERLAY_SLOTS]; /* 0: a free slot */
    uint64_t places[OVERLAY_SLOTS];
} graft_overlay;

/* Start overlaying pages found in `journal`. With the GIL; -1 with an exception set. */
int overlay_begin(graft_overlay *overlay, PyObject *journal, uint32_t page_shift);

/* Drop all pages. With the GIL. */
void overlay_end(graft_overlay *overlay);

static inline bool overlay_has_journal(const graft_overlay *overlay)
{
    return overlay->journal.obj != NULL;
}

/* Whether there is room for `count` more pages. */
static inline bool overlay_has_room(const graft_overlay *overlay, unsigned count)
{
    return overlay->count + count <= OVERLAY_PAGES_MAX;
}

/* Overlay a page whose body is at byte `place` of the journal file; there must be room, and it must lie in the file. */
void overlay_put(graft_overlay *overlay, uint32_t page, uint64_t place);

/* Overlay page 1, as SQLite wrote it. */
void overlay_put_page_one(graft_overlay *overlay, const uint8_t *body);

/* Copy `amount` bytes from `offset` and return true if they are within one overlaid page. */
bool overlay_read(const graft_overlay *overlay, uint8_t *out, uint32_t amount, uint64_t offset);

#endif
