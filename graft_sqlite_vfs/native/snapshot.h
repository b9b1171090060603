/* One version of a volume for readers without the GIL: the native side of a `graft.reading.snapshot.Snapshot`.
 *
 * Invariants: everything but the chunk pointers is fixed at creation. A chunk pointer is NULL until its chunk is built
 * and then never changes; chunks have LOCATION_CHUNK_PAGES locations. The snapshot keeps alive all that it points to:
 * the chunks, which own their locations; the buffers of the journal's files; the frame slots.
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
    PyObject *chunks; /* tuple of graft.pagemap.chunks.MapChunk */
    journal_views *journal;
    frame_slots *slots;
} native_snapshot;

extern PyTypeObject native_snapshot_type;

/* Copy `amount` bytes from `offset` and return true. False: Python must answer, and `out` may have been overwritten.
 *
 * Answers ranges within one page below the end, except page 1, whose stored form differs from what SQLite sees. Needs
 * no GIL. Returning false is always safe.
 */
bool snapshot_read(const native_snapshot *snapshot, read_section *section, uint8_t *out, uint32_t amount,
                   uint64_t offset);

/* Check whether the chunk of a page has been built in the meantime. With the GIL; -1 with an exception set. */
int snapshot_learn_chunk(native_snapshot *snapshot, uint64_t page_index);

#endif
