/* What one open file reads at the moment: `Reader`, the hand-over point between Python and the path without the GIL.
 *
 *     WITHDRAWN  nothing is published: Python answers everything
 *     HELD       SQLite holds SHARED on the published snapshot
 *     IDLE       SQLite has let go of it, Python has not been told, and the next SHARED may take it again
 *
 * What is published may lack its pages, until somebody reads one: then Python answers, and provides them.
 *
 * Invariants: a snapshot is set in HELD and IDLE alone. SQLite calls a file under its connection's mutex, and Python
 * publishes and withdraws from within such calls, so that one thread at a time is in here. From IDLE nothing goes on
 * unless the counters that all processes share still say that the published version is the newest.
 */
#ifndef GRAFT_READER_H
#define GRAFT_READER_H

#include "forks.h"
#include "overlay.h"
#include "section.h"
#include "snapshot.h"

/* Where the counters of graft/disk/shared_counters.py are, in words. */
enum { WORD_GENERATION = 1, WORD_LOCAL_LSN = 2, WORD_APPENDING = 3, WORD_IN_DOUBT = 4, WORDS_NEEDED = 5 };

enum { CACHE_LINE_BYTES = 64, PROBE_OFFSET = 24, PROBE_BYTES = 16 };

typedef enum { READER_WITHDRAWN, READER_HELD, READER_IDLE } reader_state;

typedef struct {
    PyObject_HEAD
    native_snapshot *snapshot; /* NULL: whatever it has, Python reads */
    int64_t file_bytes;
    reader_state state;
    bool fixed;    /* a version of the past, which never becomes stale */
    bool keepable; /* generation and local_lsn are those of the snapshot */
    bool has_probe;
    uint8_t probe[PROBE_BYTES]; /* how SQLite is to see bytes 24...39 of page 1 */
    Py_buffer counters;         /* graft.shared: u64 words */
    uint32_t forks;             /* when it was made */
    uint64_t generation;
    uint64_t local_lsn;
    graft_overlay overlay; /* what was committed from here since; local_lsn, file_bytes and probe go along */
    uint64_t hits;
    uint64_t misses;
    uint8_t before[CACHE_LINE_BYTES]; /* no two readers' sections share a cache line */
    read_section section;
    uint8_t after[CACHE_LINE_BYTES];
} graft_reader;

extern PyTypeObject graft_reader_type;

/* Without the GIL. False: Python has to do it. */
bool reader_read(graft_reader *reader, void *out, int amount, int64_t offset);
bool reader_lock_shared(graft_reader *reader);
bool reader_unlock(graft_reader *reader);

/* Keep what a read that Python answered has made known. With the GIL. */
int reader_learn(graft_reader *reader, const void *read, int amount, int64_t offset);

/* With the GIL. */
void reader_withdraw(graft_reader *reader);

#endif
