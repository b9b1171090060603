/* `Reader`: the version that one open file reads now, handed from Python to the path without the GIL.
 *
 *     WITHDRAWN  nothing is published: Python answers everything
 *     HELD       SQLite holds SHARED on the published snapshot
 *     IDLE       SQLite has released SHARED, Python does not know yet, and the next SHARED may take it again
 *
 * A version may be published without its pages. Python answers the first read, and then provides the pages.
 *
 * Invariants: a snapshot is set only in HELD and IDLE. SQLite calls a file under its connection's mutex, and Python
 * publishes and withdraws from within such calls, so one thread at a time uses a reader. IDLE becomes HELD only if the
 * counters that all processes share show that the published version is still the newest.
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
    native_snapshot *snapshot; /* NULL: Python reads its pages */
    int64_t file_bytes;
    reader_state state;
    bool fixed;    /* an old version, which never becomes stale */
    bool keepable; /* generation and local_lsn are those of the snapshot */
    bool has_probe;
    uint8_t probe[PROBE_BYTES]; /* bytes 24...39 of page 1 as SQLite must see them */
    Py_buffer counters;         /* graft.disk.shared_counters: u64 words */
    uint32_t forks;             /* `fork_count` at creation */
    uint64_t generation;
    uint64_t local_lsn;
    graft_overlay overlay; /* commits made in C since; local_lsn, file_bytes and probe are those of the last one */
    uint64_t hits;
    uint64_t misses;
    uint8_t before[CACHE_LINE_BYTES]; /* no two readers' sections share a cache line */
    read_section section;
    uint8_t after[CACHE_LINE_BYTES];
} graft_reader;

extern PyTypeObject graft_reader_type;

/* Without the GIL. False: the caller must use Python. */
bool reader_read(graft_reader *reader, void *out, int amount, int64_t offset);
bool reader_lock_shared(graft_reader *reader);
bool reader_unlock(graft_reader *reader);

/* Store what a read that Python answered has revealed. With the GIL. */
int reader_learn(graft_reader *reader, const void *read, int amount, int64_t offset);

/* With the GIL. */
void reader_withdraw(graft_reader *reader);

#endif
