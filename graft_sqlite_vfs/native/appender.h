/* Small write transactions without Python: the appender gathers their pages and appends them to the journal as one
 * record.
 *
 * After a commit of its own, Python lends the free space behind it in the journal file, with the values that a record
 * and page 1 need. Python handles every other transaction: one that is too large, truncates the volume, is rolled back,
 * finds no space, or finds that another writer has committed. Only the connection's own file knows that a commit was
 * made here. All others read it from the journal and the shared counters, like a commit of another process.
 *
 *     no room     Python writes
 *     room        lent; valid exactly as long as the reader's overlay has the journal file
 *     open        SQLite holds RESERVED, and the appender the writer lock, on the newest version; Python may take over
 *
 * Invariants: as for the reader, one thread at a time calls these functions. The lock is on the file that Python's
 * processes lock too, through a descriptor of its own. `gathered` holds page 1 as SQLite wrote it, except during the
 * append.
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
    named_file lock, counters, state; /* checked to be still the files that other processes open by name */
    bool sync; /* a commit waits for the disk */
    struct graft_appender *previous, *next;
    /* Room */
    PyObject *journal; /* the mapped file; NULL: none yet */
    int journal_descriptor;
    named_file journal_file;
    uint64_t end; /* where the next record goes */
    uint64_t limit;
    uint32_t counter_stored; /* of the newest version's page 1 */
    uint32_t counter_shown;
    bool tail_synced; /* everything before `end` is on the disk */
    uint32_t forks; /* `fork_count` at creation */
    /* The open transaction */
    bool open;
    bool committed;
    uint64_t file_bytes;
    unsigned count;
    uint32_t pages[APPENDER_PAGES_MAX];
    uint8_t *gathered; /* header and page list, then the bodies */
    uint64_t checksum;
    uint32_t counter_written, valid_for_written; /* in page 1, by SQLite */
    /* Not yet reported to Python */
    bool has_written;
    uint64_t local_lsn; /* of the newest commit; 0: there is none */
    uint32_t counter_top;
    uint32_t cookie_top;
} graft_appender;

extern PyTypeObject graft_appender_type;

/* Called instead of system calls, and at points where tests simulate a crash; NULL except in tests. */
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

/* Return whether the parent process created this appender; then it must not write, or touch a lock. */
static inline bool appender_is_inherited(const graft_appender *appender)
{
    return appender->forks != fork_count;
}

/* Without the GIL. False: the caller must use Python. */
bool appender_begin(graft_appender *appender);
bool appender_read(const graft_appender *appender, void *out, int amount, int64_t offset);
bool appender_write(graft_appender *appender, const void *data, int amount, int64_t offset);
bool appender_can_commit(const graft_appender *appender);

/* Compute the checksum of the record. With the GIL; -1 with an exception set. */
int appender_prepare(graft_appender *appender);

typedef enum { APPEND_DONE, APPEND_FAILED, APPEND_RAISED } append_outcome;

/* Append the prepared record and publish it. Without the GIL, unless it is watched.
 *
 * FAILED: nothing was published, and Python may try. RAISED: a watcher raised an exception, which is set.
 */
append_outcome appender_append(graft_appender *appender);

/* End the transaction and drop uncommitted pages. Without the GIL. */
void appender_end(graft_appender *appender);

/* Forget the transaction after Python has taken it over, with the lock. */
void appender_hand_over(graft_appender *appender);

/* After fork(), in the child: close the descriptors, whose locks belong to the parent. */
void appender_disown_all(void);

static inline uint8_t *appender_body(const graft_appender *appender, unsigned index)
{
    return appender->gathered + RECORD_HEADER_BYTES + 4 * APPENDER_PAGES_MAX + (size_t)index * appender->page_size;
}

#endif
