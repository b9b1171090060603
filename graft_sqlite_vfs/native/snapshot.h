/* One version of a volume where readers without the GIL find it: the native side of a `graft.reading.snapshot.Snapshot`.
 *
 * Invariants: everything but the chunk pointers is fixed at creation. A chunk pointer is NULL until its chunk was built
 * and then stays; chunks have LOCATION_CHUNK_PAGES locations. The snapshot keeps alive all that it points to: the
 * chunks, which keep their locations; the buffers of the journal's files; the frame slots.
 */
#ifndef GRAFT_SNAPSHOT_H
#define GRAFT_SNAPSHOT_H

#include "frames.h"
#include "section.h"

#include <stdbool.h>

typedef struct journal_views journal_views;

typedef struct {
    PyObject_HEAD
    uint32_t page_size;
    uint32_t page_shift;
    uint64_t page_count;
    size_t chunk_count;
    _Atomic(const uint64_t *) *chunk_locations;
    PyObject *chunks; /* tuple of graft.pagemap.MapChunk */
    journal_views *journal;
    frame_slots *slots;
} native_snapshot;

extern PyTypeObject native_snapshot_type;

/* Copy `amount` bytes from `offset` and return true; false when Python has to answer, `out` may be spoilt then.
 *
 * Answers ranges within one page that lies below the end, page 1 excepted: it is not shown as it is stored. Needs no
 * GIL. A false answer is always right, whatever the reason.
 */
bool snapshot_read(const native_snapshot *snapshot, read_section *section, uint8_t *out, uint32_t amount,
                   uint64_t offset);

/* Look whether the chunk of a page has been built meanwhile. With the GIL; returns -1 with an exception set. */
int snapshot_learn_chunk(native_snapshot *snapshot, uint64_t page_index);

#endif
