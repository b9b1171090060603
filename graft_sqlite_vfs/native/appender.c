#include "appender.h"

#include "exceptions.h"
#include "host.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <structmember.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Offsets in page 1; see graft_sqlite_vfs/header.py. */
enum { PAGE_SIZE_AT = 16, FORMAT_AT = 18, COUNTER_AT = 24, PAGE_COUNT_AT = 28, COOKIE_AT = 40, VALID_FOR_AT = 92 };

appender_watch watch;

static graft_appender all = {.previous = &all, .next = &all}; /* walked and changed with the GIL, or after fork() */

static uint32_t big_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void put_big_endian(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static _Atomic uint64_t *words_of(const graft_appender *appender)
{
    return appender->reader->counters.buf;
}

static bool has_room(const graft_appender *appender)
{
    return overlay_has_journal(&appender->reader->overlay);
}

static int find(const graft_appender *appender, uint32_t page)
{
    for (unsigned i = 0; i < appender->count; i++)
        if (appender->pages[i] == page)
            return (int)i;
    return -1;
}

/* The transaction */

/* Return whether the lock, the counters, the state and the journal file are still those that other processes open. */
static bool is_unmoved(const graft_appender *appender)
{
    return named_is_there(&appender->lock) && named_is_there(&appender->counters) &&
           (appender->state.path == NULL || named_is_there(&appender->state)) &&
           named_is_there(&appender->journal_file);
}

/* Return whether the published version is still the newest, so that the lent room follows it; needs the writer lock. */
static bool is_newest(const graft_appender *appender)
{
    const _Atomic uint64_t *words = words_of(appender);
    const graft_reader *reader = appender->reader;
    return atomic_load_explicit(&words[WORD_GENERATION], memory_order_acquire) == reader->generation &&
           atomic_load_explicit(&words[WORD_LOCAL_LSN], memory_order_acquire) == reader->local_lsn &&
           atomic_load_explicit(&words[WORD_APPENDING], memory_order_acquire) == 0 &&
           atomic_load_explicit(&words[WORD_IN_DOUBT], memory_order_acquire) == 0 &&
           is_unmoved(appender);
}

bool appender_begin(graft_appender *appender)
{
    const graft_reader *reader = appender->reader;
    if (!has_room(appender) || reader->state != READER_HELD || !reader->keepable || appender_is_inherited(appender))
        return false;
    if (flock(appender->lock_descriptor, LOCK_EX | LOCK_NB) < 0)
        return false;
    if (!is_newest(appender)) {
        flock(appender->lock_descriptor, LOCK_UN);
        return false;
    }
    appender->open = true;
    appender->committed = false;
    appender->file_bytes = (uint64_t)reader->file_bytes;
    return true;
}

bool appender_read(const graft_appender *appender, void *out, int amount, int64_t offset)
{
    if (amount <= 0 || offset < 0)
        return false;
    uint64_t index = (uint64_t)offset >> appender->page_shift;
    uint64_t start = (uint64_t)offset & (appender->page_size - 1);
    int found = index < UINT32_MAX && start + (uint64_t)amount <= appender->page_size
                    ? find(appender, (uint32_t)index + 1)
                    : -1;
    if (found < 0)
        return false;
    memcpy(out, appender_body(appender, (unsigned)found) + start, (size_t)amount);
    return true;
}

bool appender_write(graft_appender *appender, const void *data, int amount, int64_t offset)
{
    uint64_t index = (uint64_t)offset >> appender->page_shift;
    if (amount != (int)appender->page_size || offset < 0 || (uint64_t)offset & (appender->page_size - 1) ||
        index >= UINT32_MAX - 1)
        return false;
    if (index == 0) {
        const uint8_t *page = data;
        uint32_t page_size = (uint32_t)page[PAGE_SIZE_AT] << 8 | page[PAGE_SIZE_AT + 1];
        if ((page_size == 1 ? UINT32_C(65536) : page_size) != appender->page_size || page[FORMAT_AT] != 1)
            return false; /* Format 2: a backup of a database in WAL mode, which Python handles. */
        uint32_t counter = big_endian(page + COUNTER_AT), cookie = big_endian(page + COOKIE_AT);
        appender->counter_top = !appender->has_written || counter > appender->counter_top ? counter : appender->counter_top;
        appender->cookie_top = !appender->has_written || cookie > appender->cookie_top ? cookie : appender->cookie_top;
        appender->has_written = true;
    }
    int found = find(appender, (uint32_t)index + 1);
    if (found < 0) {
        if (appender->count == APPENDER_PAGES_MAX)
            return false;
        found = (int)appender->count++;
        appender->pages[found] = (uint32_t)index + 1;
    }
    memcpy(appender_body(appender, (unsigned)found), data, appender->page_size);
    uint64_t end = (index + 1) << appender->page_shift;
    if (end > appender->file_bytes)
        appender->file_bytes = end;
    return true;
}

void appender_hand_over(graft_appender *appender)
{
    appender->open = false;
    appender->count = 0;
}

static void unlock(graft_appender *appender)
{
    if (!appender_is_inherited(appender))
        flock(appender->lock_descriptor, LOCK_UN);
}

void appender_end(graft_appender *appender)
{
    if (!appender->open)
        return;
    appender_hand_over(appender);
    unlock(appender);
}

/* The commit */

bool appender_can_commit(const graft_appender *appender)
{
    int one = find(appender, 1);
    if (one < 0 || appender_is_inherited(appender) || !named_is_there(&appender->lock) ||
        !has_room(appender) || !overlay_has_room(&appender->reader->overlay, appender->count) ||
        appender->end + record_bytes(appender->count, appender->page_size) > appender->limit)
        return false;
    const uint8_t *page_one = appender_body(appender, (unsigned)one);
    uint32_t page_count = big_endian(page_one + PAGE_COUNT_AT);
    /* Not for a rollback, which restores the shown counter, nor for a volume that shrinks. */
    return big_endian(page_one + COUNTER_AT) != appender->counter_shown &&
           (page_count == 0 || page_count >= appender->file_bytes >> appender->page_shift);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Where the header and page list start so that they end at the bodies; there is no space for the checksum in it. */
static uint8_t *record_start(const graft_appender *appender)
{
    return appender_body(appender, 0) - RECORD_UNSUMMED_BYTES - 4 * (size_t)appender->count;
}

static uint8_t *page_one_of(const graft_appender *appender)
{
    return appender_body(appender, (unsigned)find(appender, 1));
}

/* Put the next stored counter into page 1. */
static void store_counter(graft_appender *appender)
{
    uint8_t *page_one = page_one_of(appender);
    appender->counter_written = big_endian(page_one + COUNTER_AT);
    appender->valid_for_written = big_endian(page_one + VALID_FOR_AT);
    put_big_endian(page_one + COUNTER_AT, appender->counter_stored + 1);
    put_big_endian(page_one + VALID_FOR_AT, appender->counter_stored + 1);
}

/* Put the counter that SQLite wrote back into page 1. */
static void restore_counter(graft_appender *appender)
{
    uint8_t *page_one = page_one_of(appender);
    put_big_endian(page_one + COUNTER_AT, appender->counter_written);
    put_big_endian(page_one + VALID_FOR_AT, appender->valid_for_written);
}

int appender_prepare(graft_appender *appender)
{
    const graft_reader *reader = appender->reader;
    const record_header header = {
        .page_size = appender->page_size,
        .local_lsn = reader->local_lsn + 1,
        .slots = appender->count,
        .byte_size = appender->file_bytes,
        .min_page_count = (uint64_t)reader->file_bytes >> appender->page_shift,
        .timestamp_us = now_us(),
        .synced = appender->sync,
        .after_synced = appender->tail_synced,
    };
    uint8_t *start = record_start(appender);
    record_encode(&header, start);
    for (unsigned i = 0; i < appender->count; i++)
        record_put_u32(start + RECORD_UNSUMMED_BYTES + 4 * i, appender->pages[i]);
    store_counter(appender);
    PyObject *view = PyMemoryView_FromMemory((char *)start, appender_body(appender, appender->count) - start, PyBUF_READ);
    PyObject *sum = view == NULL ? NULL : PyObject_CallOneArg(hooks.checksum, view);
    appender->checksum = sum == NULL ? 0 : PyLong_AsUnsignedLongLong(sum);
    Py_XDECREF(sum);
    Py_XDECREF(view);
    if (PyErr_Occurred()) {
        restore_counter(appender);
        return -1;
    }
    return 0;
}

static bool reached(const char *point)
{
    if (watch.failpoint == NULL)
        return true;
    PyObject *done = PyObject_CallFunction(watch.failpoint, "s", point);
    Py_XDECREF(done);
    return done != NULL;
}

/* Clear an OSError raised by a watcher, which stands for a failed system call: the result already reports it. */
static void drop_system_error(void)
{
    if (PyErr_ExceptionMatches(PyExc_OSError))
        PyErr_Clear();
}

static PyObject *as_list(const struct iovec *parts, int count)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *part = PyBytes_FromStringAndSize(parts[i].iov_base, (Py_ssize_t)parts[i].iov_len);
        if (part == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, part);
    }
    return list;
}

static ssize_t write_parts(const graft_appender *appender, const struct iovec *parts, int count, uint64_t position)
{
    if (watch.pwritev == NULL)
        return pwritev(appender->journal_descriptor, parts, count, (off_t)position);
    PyObject *list = as_list(parts, count);
    PyObject *written = list == NULL ? NULL
                                     : PyObject_CallFunction(watch.pwritev, "iOK", appender->journal_descriptor, list,
                                                             (unsigned long long)position);
    ssize_t bytes = written == NULL ? -1 : PyLong_AsSsize_t(written);
    if (bytes < 0)
        drop_system_error();
    Py_XDECREF(written);
    Py_XDECREF(list);
    return bytes;
}

static bool synced(const graft_appender *appender)
{
    if (watch.fdatasync == NULL)
        return fdatasync(appender->journal_descriptor) == 0;
    PyObject *done = PyObject_CallFunction(watch.fdatasync, "i", appender->journal_descriptor);
    if (done == NULL)
        drop_system_error();
    Py_XDECREF(done);
    return done != NULL;
}

static bool write_record(const graft_appender *appender)
{
    static uint8_t zeros[RECORD_ALIGNMENT];
    uint8_t checksum[8];
    record_put_u64(checksum, appender->checksum);
    uint8_t *start = record_start(appender), *bodies = appender_body(appender, 0);
    size_t list_bytes = 4 * (size_t)appender->count;
    struct iovec parts[] = {
        {start, RECORD_UNSUMMED_BYTES},
        {checksum, sizeof checksum},
        {start + RECORD_UNSUMMED_BYTES, list_bytes},
        {zeros, record_bodies_offset(appender->count) - RECORD_HEADER_BYTES - list_bytes},
        {bodies, (size_t)appender->count * appender->page_size},
    };
    ssize_t written = write_parts(appender, parts, sizeof parts / sizeof parts[0], appender->end);
    return written == (ssize_t)record_bytes(appender->count, appender->page_size) && (!appender->sync || synced(appender));
}

/* Overwrite the record with zeros so that no reader ever finds it; return whether that certainly succeeded. */
static bool take_back(const graft_appender *appender)
{
    PyObject *why = appender_is_watched() ? exception_take() : NULL;
    uint64_t bytes = record_bytes(appender->count, appender->page_size);
    uint8_t *zeros = PyMem_RawCalloc(1, bytes);
    struct iovec part = {zeros, bytes};
    bool done = zeros != NULL && write_parts(appender, &part, 1, appender->end) == (ssize_t)bytes &&
                (!appender->sync || synced(appender));
    PyMem_RawFree(zeros);
    if (why != NULL)
        exception_put(why);
    return done;
}

/* Make the appended commit visible to all processes. */
static void publish(graft_appender *appender)
{
    _Atomic uint64_t *words = words_of(appender);
    graft_reader *reader = appender->reader;
    uint64_t place = appender->end + record_bodies_offset(appender->count);
    for (unsigned i = 0; i < appender->count; i++, place += appender->page_size)
        if (appender->pages[i] != 1)
            overlay_put(&reader->overlay, appender->pages[i], place);
    const uint8_t *page_one = page_one_of(appender);
    overlay_put_page_one(&reader->overlay, page_one);
    memcpy(reader->probe, page_one + PROBE_OFFSET, PROBE_BYTES);
    reader->has_probe = true;
    reader->local_lsn++;
    reader->file_bytes = (int64_t)appender->file_bytes;
    appender->end += record_bytes(appender->count, appender->page_size);
    appender->tail_synced = appender->sync;
    appender->counter_stored++;
    appender->counter_shown = appender->counter_written;
    appender->committed = true;
    appender->local_lsn = reader->local_lsn;
    appender->count = 0;
    atomic_store_explicit(&words[WORD_LOCAL_LSN], reader->local_lsn, memory_order_release);
    atomic_store_explicit(&words[WORD_APPENDING], 0, memory_order_release);
}

append_outcome appender_append(graft_appender *appender)
{
    _Atomic uint64_t *words = words_of(appender);
    bool going = reached("commit: before journal"), written = false;
    if (going) {
        atomic_store_explicit(&words[WORD_APPENDING], 1, memory_order_release);
        written = write_record(appender);
        going = written && reached("commit: after journal");
    }
    restore_counter(appender);
    if (!going) {
        if (take_back(appender))
            atomic_store_explicit(&words[WORD_APPENDING], 0, memory_order_release);
        return appender_is_watched() && PyErr_Occurred() ? APPEND_RAISED : APPEND_FAILED;
    }
    publish(appender);
    return reached("commit: after publish") ? APPEND_DONE : APPEND_RAISED;
}

void appender_disown_all(void)
{
    for (graft_appender *appender = all.next; appender != &all; appender = appender->next) {
        close(appender->lock_descriptor);
        appender->lock_descriptor = -1;
    }
}

/* For Python */

static void forget_journal(graft_appender *appender)
{
    if (appender->journal == NULL)
        return;
    close(appender->journal_descriptor);
    named_forget(&appender->journal_file);
    Py_CLEAR(appender->journal);
}

static PyObject *aim(graft_appender *appender, PyObject *args)
{
    PyObject *journal;
    const char *path;
    int descriptor, tail_synced;
    unsigned long long end, limit;
    if (!PyArg_ParseTuple(args, "OyiKKp:aim", &journal, &path, &descriptor, &end, &limit, &tail_synced))
        return NULL;
    overlay_end(&appender->reader->overlay);
    if (journal != appender->journal) {
        int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
        if (own < 0)
            return PyErr_SetFromErrno(PyExc_OSError);
        forget_journal(appender);
        if (named_note(&appender->journal_file, path, own) < 0) {
            close(own);
            return NULL;
        }
        appender->journal_descriptor = own;
        appender->journal = Py_NewRef(journal);
    }
    appender->end = end;
    appender->limit = limit;
    appender->tail_synced = tail_synced;
    Py_RETURN_NONE;
}

static PyObject *lend(graft_appender *appender, PyObject *args)
{
    unsigned long stored, shown;
    if (!PyArg_ParseTuple(args, "kk:lend", &stored, &shown))
        return NULL;
    graft_reader *reader = appender->reader;
    if (reader->state != READER_HELD || !reader->keepable || appender->open || appender->journal == NULL) {
        PyErr_SetString(PyExc_ValueError, "only room behind the published version can be lent, if that is the newest");
        return NULL;
    }
    if (appender->gathered == NULL)
        appender->gathered = PyMem_RawMalloc(RECORD_HEADER_BYTES +
                                             APPENDER_PAGES_MAX * (4 + (size_t)appender->page_size));
    if (appender->gathered == NULL)
        return PyErr_NoMemory();
    if (overlay_begin(&reader->overlay, appender->journal, appender->page_shift) < 0)
        return NULL;
    uint64_t end = appender->end, limit = appender->limit;
    if (limit > (uint64_t)reader->overlay.journal.len || end > limit || end % RECORD_ALIGNMENT != 0) {
        overlay_end(&reader->overlay);
        return PyErr_Format(PyExc_ValueError, "there is no room from %llu to %llu", (unsigned long long)end,
                            (unsigned long long)limit);
    }
    appender->counter_stored = (uint32_t)stored;
    appender->counter_shown = (uint32_t)shown;
    Py_RETURN_NONE;
}

static PyObject *told(const graft_appender *appender, PyObject *Py_UNUSED(ignored))
{
    if (!appender->has_written)
        Py_RETURN_NONE;
    return Py_BuildValue("(KkkkO)", (unsigned long long)appender->local_lsn, (unsigned long)appender->counter_shown,
                         (unsigned long)appender->counter_top, (unsigned long)appender->cookie_top,
                         appender->committed ? Py_True : Py_False);
}

static PyObject *forget(graft_appender *appender, PyObject *Py_UNUSED(ignored))
{
    appender->has_written = false;
    appender->local_lsn = 0;
    Py_RETURN_NONE;
}

static PyObject *release(graft_appender *appender, PyObject *Py_UNUSED(ignored))
{
    unlock(appender);
    Py_RETURN_NONE;
}

static int reader_of(PyObject *found, void *reader)
{
    if (!Py_IS_TYPE(found, &graft_reader_type) || ((graft_reader *)found)->counters.len < WORDS_NEEDED * 8) {
        PyErr_SetString(PyExc_TypeError, "a reader of a version that can become stale is needed");
        return 0;
    }
    *(graft_reader **)reader = (graft_reader *)found;
    return 1;
}

static PyObject *appender_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"reader", "page_size", "lock", "lock_descriptor", "counters", "counters_id", "sync",
                            "state", "state_id", NULL};
    graft_reader *reader;
    unsigned page_size;
    const char *lock, *counters, *state = NULL;
    int sync, lock_descriptor;
    unsigned long long device, inode, state_device = 0, state_inode = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&Iyiy(KK)p|y(KK):Appender", names, reader_of, &reader, &page_size,
                                     &lock, &lock_descriptor, &counters, &device, &inode, &sync, &state,
                                     &state_device, &state_inode))
        return NULL;
    graft_appender *appender = NULL;
    int descriptor = -1;
    if (page_size < 512 || page_size > 65536 || page_size & (page_size - 1))
        PyErr_Format(PyExc_ValueError, "no page has %u bytes", page_size);
    else if ((descriptor = fcntl(lock_descriptor, F_DUPFD_CLOEXEC, 0)) < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    else
        appender = (graft_appender *)type->tp_alloc(type, 0);
    if (appender != NULL && (named_note(&appender->lock, lock, descriptor) < 0 ||
                             named_set(&appender->counters, counters, (dev_t)device, (ino_t)inode) < 0 ||
                             (state != NULL && named_set(&appender->state, state, (dev_t)state_device,
                                                         (ino_t)state_inode) < 0))) {
        named_forget(&appender->lock);
        named_forget(&appender->counters);
        type->tp_free((PyObject *)appender);
        appender = NULL;
    }
    if (appender == NULL) {
        if (descriptor >= 0)
            close(descriptor);
        return NULL;
    }
    appender->reader = (graft_reader *)Py_NewRef((PyObject *)reader);
    appender->page_size = page_size;
    appender->page_shift = (uint32_t)__builtin_ctz(page_size);
    appender->lock_descriptor = descriptor;
    appender->sync = sync;
    appender->forks = fork_count;
    appender->previous = &all;
    appender->next = all.next;
    all.next->previous = appender;
    all.next = appender;
    return (PyObject *)appender;
}

static PyObject *close_appender(graft_appender *appender, PyObject *Py_UNUSED(ignored))
{
    appender_end(appender);
    overlay_end(&appender->reader->overlay);
    forget_journal(appender);
    Py_RETURN_NONE;
}

static void appender_dealloc(graft_appender *appender)
{
    appender->previous->next = appender->next;
    appender->next->previous = appender->previous;
    Py_DECREF(close_appender(appender, NULL));
    if (appender->lock_descriptor >= 0)
        close(appender->lock_descriptor);
    named_forget(&appender->lock);
    named_forget(&appender->counters);
    named_forget(&appender->state);
    PyMem_RawFree(appender->gathered);
    Py_DECREF((PyObject *)appender->reader);
    Py_TYPE(appender)->tp_free((PyObject *)appender);
}

static PyMethodDef appender_methods[] = {
    {"aim", (PyCFunction)(void (*)(void))aim, METH_VARARGS,
     "Set, while Python holds the writer lock, where the next record goes: aim(journal, path, descriptor, end, limit, "
     "tail_synced)."},
    {"lend", (PyCFunction)(void (*)(void))lend, METH_VARARGS,
     "Allow commits to be appended there, after the published version, until another version is published: "
     "lend(counter_stored, counter_shown)."},
    {"told", (PyCFunction)(void (*)(void))told, METH_NOARGS,
     "Report what has happened since `forget`: None, or (local LSN of the newest commit or 0, counter shown to SQLite, "
     "highest counter and highest cookie that it wrote, whether the open transaction has committed)."},
    {"forget", (PyCFunction)(void (*)(void))forget, METH_NOARGS, "Clear the report that `told` returns."},
    {"release", (PyCFunction)(void (*)(void))release, METH_NOARGS, "Release the writer lock that Python took over."},
    {"close", (PyCFunction)(void (*)(void))close_appender, METH_NOARGS, "Drop the transaction and stop appending."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject graft_appender_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "graft_sqlite_vfs._accelerator.Appender",
    .tp_doc = "Appends small commits of one open file to the journal.",
    .tp_basicsize = sizeof(graft_appender),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = appender_new,
    .tp_dealloc = (destructor)appender_dealloc,
    .tp_methods = appender_methods,
};
