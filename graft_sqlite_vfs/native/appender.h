/* Small write transactions without Python: their pages are gathered here and appended to the journal as one record.
 *
 * Python lends the room behind a commit that it has written there itself, with all that a record and a page 1 need to
 * say. It does everything else: what is too large, cuts off pages, is put back by a rollback, finds no
 * room, or finds that somebody else wrote. To everybody but the connection's own file a commit from here is like one of
 * another process: it is in the journal and in the counters that all share, and is read from there.
 *
 *     no room     Python writes
 *     room        lent; holds exactly as long as the reader's overlay has the journal that it is in
 *     open        SQLite holds RESERVED, and this the writer lock, on the newest version; may be handed to Python
 *
 * Invariants: as for the reader, one thread at a time is in here. The lock is one on the file that Python's processes
 * lock too, through a descriptor of its own. Page 1 is here as SQLite wrote it, but for the moment of the append.
 */
#ifndef GRAFT_APPENDER_H
#define GRAFT_APPENDER_H

#include "forks.h"
#include "named.h"
#include "reader.h"
#include "record.h"

enum { APPENDER_PAGES_MAX = 32 };

typedef struct graft_appender {
    PyObject_HEAD
    graft_reader *reader;
    uint32_t page_size;
    uint32_t page_shift;
    int lock_descriptor;
    named_file lock, counters; /* whoever opens them by name must find these */
    bool sync; /* a commit waits for the disk */
    struct graft_appender *previous, *next;
    /* Room */
    PyObject *journal; /* the mapped file; NULL: there was never any */
    int journal_descriptor;
    named_file journal_file;
    uint64_t end; /* where the next record goes */
    uint64_t limit;
    uint32_t counter_stored; /* of the newest version's page 1 */
    uint32_t counter_shown;
    bool tail_synced; /* all before `end` is on the disk */
    uint32_t forks; /* when it was made */
    /* The open transaction */
    bool open;
    bool committed;
    uint64_t file_bytes;
    unsigned count;
    uint32_t pages[APPENDER_PAGES_MAX];
    uint8_t *gathered; /* header and page list, then the bodies */
    uint64_t checksum;
    uint32_t counter_written, valid_for_written; /* in page 1, by SQLite */
    /* Not told to Python yet */
    bool has_written;
    uint64_t local_lsn; /* of the newest commit; 0: there is none */
    uint32_t counter_top;
    uint32_t cookie_top;
} graft_appender;

extern PyTypeObject graft_appender_type;

/* Called instead of the system, and at points where a crash would be interesting; NULL but in tests. */
typedef struct {
    PyObject *failpoint; /* (name) */
    PyObject *pwritev;   /* (descriptor, parts, position) -> written */
    PyObject *fdatasync; /* (descriptor) */
} appender_watch;

extern appender_watch watch;

static inline bool appender_is_watched(void)
{
    return watch.failpoint != NULL || watch.pwritev != NULL || watch.fdatasync != NULL;
}

/* Tell whether a parent made this: then nothing is written from here, and no lock is touched. */
static inline bool appender_is_inherited(const graft_appender *appender)
{
    return appender->forks != fork_count;
}

/* Without the GIL. False: Python has to do it. */
bool appender_begin(graft_appender *appender);
bool appender_read(const graft_appender *appender, void *out, int amount, int64_t offset);
bool appender_write(graft_appender *appender, const void *data, int amount, int64_t offset);
bool appender_can_commit(const graft_appender *appender);

/* Make the checksum of the record. With the GIL; -1 with an exception set. */
int appender_prepare(graft_appender *appender);

typedef enum { APPEND_DONE, APPEND_FAILED, APPEND_RAISED } append_outcome;

/* Append what was prepared and publish it. Without the GIL, unless it is watched.
 *
 * FAILED: nothing was published, and Python may try. RAISED: so said a watcher, and its exception is set.
 */
append_outcome appender_append(graft_appender *appender);

/* End the transaction; what was not committed is dropped. Without the GIL. */
void appender_end(graft_appender *appender);

/* Forget the transaction, which Python has taken over with the lock. */
void appender_hand_over(graft_appender *appender);

/* After fork(), in the child: the locks are the parent's. */
void appender_disown_all(void);

static inline uint8_t *appender_body(const graft_appender *appender, unsigned index)
{
    return appender->gathered + RECORD_HEADER_BYTES + 4 * APPENDER_PAGES_MAX + (size_t)index * appender->page_size;
}

#endif
