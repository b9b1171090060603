#include "snapshot.h"

#include "location.h"

#include <stddef.h>
#include <string.h>

/* The mapped journal files that a snapshot may point into; shared by snapshots with the same set of files. */
struct journal_views {
    Py_ssize_t users;
    PyObject *mapping; /* the dict with the files, which is replaced but never modified */
    uint64_t first_file;
    size_t file_count;
    Py_buffer files[]; /* by file number, from first_file; `obj` is NULL for a missing number */
};

/* Reading, without the GIL */

static bool copy_from_frame(const native_snapshot *snapshot, read_section *section, uint64_t location, uint64_t page,
                            uint32_t start, uint8_t *out, uint32_t amount)
{
    uint64_t slot = location_slot(location);
    bool found = false;
    section_enter(section);
    const frame_body *body = frames_body(snapshot->slots, location_frame(location));
    if (body != NULL && slot < body->count) {
        uint32_t listed;
        memcpy(&listed, body->pages + slot * sizeof listed, sizeof listed);
        found = listed == page;
        if (found)
            memcpy(out, body->data + slot * snapshot->page_size + start, amount);
    }
    section_leave(section);
    return found;
}

static bool copy_from_journal(const native_snapshot *snapshot, uint64_t location, uint32_t start, uint8_t *out,
                              uint32_t amount)
{
    const journal_views *journal = snapshot->journal;
    uint64_t file = location_journal_file(location), offset = location_journal_offset(location);
    if (file < journal->first_file || file - journal->first_file >= journal->file_count)
        return false;
    const Py_buffer *view = &journal->files[file - journal->first_file];
    if (view->obj == NULL || offset + snapshot->page_size > (uint64_t)view->len)
        return false;
    memcpy(out, (const uint8_t *)view->buf + offset + start, amount);
    return true;
}

bool snapshot_read(const native_snapshot *snapshot, read_section *section, uint8_t *out, uint32_t amount,
                   uint64_t offset)
{
    uint64_t index = offset >> snapshot->page_shift;
    uint32_t start = (uint32_t)offset & (snapshot->page_size - 1);
    uint64_t chunk = index >> LOCATION_CHUNK_SHIFT;
    if (index == 0 || index >= snapshot->page_count || chunk >= snapshot->chunk_count ||
        amount > snapshot->page_size - start)
        return false;
    const uint64_t *locations = atomic_load_explicit(&snapshot->chunk_locations[chunk], memory_order_acquire);
    if (locations == NULL)
        return false;
    uint64_t location = locations[index & (LOCATION_CHUNK_PAGES - 1)];
    if (location & LOCATION_FRAME_TAG)
        return copy_from_frame(snapshot, section, location, index + 1, start, out, amount);
    if (location & LOCATION_JOURNAL_TAG)
        return copy_from_journal(snapshot, location, start, out, amount);
    if (location != 0)
        return false;
    memset(out, 0, amount);
    return true;
}

/* The journal's files */

static void journal_release(journal_views *journal)
{
    if (journal == NULL || --journal->users > 0)
        return;
    for (size_t i = 0; i < journal->file_count; i++)
        if (journal->files[i].obj != NULL)
            PyBuffer_Release(&journal->files[i]);
    Py_XDECREF(journal->mapping);
    PyMem_Free(journal);
}

static int journal_bounds(PyObject *mapping, uint64_t *first, size_t *count)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    uint64_t lowest = UINT64_MAX, highest = 0;
    while (PyDict_Next(mapping, &position, &key, &value)) {
        uint64_t number = PyLong_AsUnsignedLongLong(key);
        if (number == UINT64_MAX && PyErr_Occurred())
            return -1;
        lowest = number < lowest ? number : lowest;
        highest = number > highest ? number : highest;
    }
    *first = PyDict_GET_SIZE(mapping) ? lowest : 0;
    *count = PyDict_GET_SIZE(mapping) ? (size_t)(highest - lowest + 1) : 0;
    if (*count >= (size_t)1 << 21) { /* the location has room for fewer */
        PyErr_SetString(PyExc_ValueError, "journal file numbers are too far apart");
        return -1;
    }
    return 0;
}

static journal_views *journal_made(PyObject *mapping)
{
    uint64_t first;
    size_t count;
    if (journal_bounds(mapping, &first, &count) < 0)
        return NULL;
    journal_views *journal = PyMem_Calloc(1, sizeof *journal + count * sizeof journal->files[0]);
    if (journal == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    journal->users = 1;
    journal->mapping = Py_NewRef(mapping);
    journal->first_file = first;
    journal->file_count = count;
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(mapping, &position, &key, &value)) {
        uint64_t number = PyLong_AsUnsignedLongLong(key);
        if (PyObject_GetBuffer(value, &journal->files[number - first], PyBUF_SIMPLE) < 0) {
            journal_release(journal);
            return NULL;
        }
    }
    return journal;
}

/* The chunks */

static int learn(native_snapshot *snapshot, size_t number)
{
    PyObject *view = PyObject_GetAttrString(PyTuple_GET_ITEM(snapshot->chunks, (Py_ssize_t)number), "view");
    if (view == NULL)
        return -1;
    int failed = 0;
    if (view != Py_None) {
        Py_buffer buffer;
        failed = PyObject_GetBuffer(view, &buffer, PyBUF_SIMPLE);
        if (!failed) {
            failed = buffer.len != LOCATION_CHUNK_PAGES * (Py_ssize_t)sizeof(uint64_t) || (uintptr_t)buffer.buf % 8;
            if (failed)
                PyErr_Format(PyExc_ValueError, "chunk %zu has %zd bytes, or unaligned ones", number, buffer.len);
            else
                atomic_store_explicit(&snapshot->chunk_locations[number], buffer.buf, memory_order_release);
            PyBuffer_Release(&buffer); /* the chunk owns its view, and the snapshot holds the chunk */
        }
    }
    Py_DECREF(view);
    return failed ? -1 : 0;
}

int snapshot_learn_chunk(native_snapshot *snapshot, uint64_t page_index)
{
    uint64_t chunk = page_index >> LOCATION_CHUNK_SHIFT;
    if (chunk >= snapshot->chunk_count ||
        atomic_load_explicit(&snapshot->chunk_locations[chunk], memory_order_relaxed) != NULL)
        return 0;
    return learn(snapshot, (size_t)chunk);
}

/* Chunks shared with the previous snapshot cost only a comparison, so a commit costs only its own changes. */
static int fill_chunks(native_snapshot *snapshot, const native_snapshot *previous)
{
    for (size_t i = 0; i < snapshot->chunk_count; i++) {
        bool same = previous != NULL && i < previous->chunk_count &&
                    PyTuple_GET_ITEM(previous->chunks, (Py_ssize_t)i) ==
                        PyTuple_GET_ITEM(snapshot->chunks, (Py_ssize_t)i);
        if (same) {
            const uint64_t *known = atomic_load_explicit(&previous->chunk_locations[i], memory_order_relaxed);
            atomic_init(&snapshot->chunk_locations[i], known);
        } else if (learn(snapshot, i) < 0)
            return -1;
    }
    return 0;
}

static int fill(native_snapshot *snapshot, PyObject *chunks, PyObject *views, const native_snapshot *previous)
{
    snapshot->chunks = PySequence_Tuple(chunks);
    if (snapshot->chunks == NULL)
        return -1;
    snapshot->chunk_count = (size_t)PyTuple_GET_SIZE(snapshot->chunks);
    snapshot->chunk_locations = PyMem_Calloc(snapshot->chunk_count + 1, sizeof *snapshot->chunk_locations);
    if (snapshot->chunk_locations == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (previous != NULL && previous->journal->mapping == views) {
        snapshot->journal = previous->journal;
        snapshot->journal->users++;
    } else if ((snapshot->journal = journal_made(views)) == NULL)
        return -1;
    return fill_chunks(snapshot, previous);
}

static PyObject *snapshot_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"slots", "page_count", "chunks", "views", "previous", NULL};
    PyObject *chunks, *views, *previous = Py_None;
    frame_slots *slots;
    unsigned long long page_count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!KOO!|O:NativeSnapshot", names, &frame_slots_type, &slots,
                                     &page_count, &chunks, &PyDict_Type, &views, &previous))
        return NULL;
    if (previous != Py_None && !Py_IS_TYPE(previous, &native_snapshot_type))
        return PyErr_Format(PyExc_TypeError, "previous is a %s", Py_TYPE(previous)->tp_name);
    native_snapshot *snapshot = (native_snapshot *)type->tp_alloc(type, 0);
    if (snapshot == NULL)
        return NULL;
    snapshot->slots = (frame_slots *)Py_NewRef((PyObject *)slots);
    snapshot->page_size = slots->page_size;
    snapshot->page_shift = (uint32_t)__builtin_ctz(slots->page_size);
    snapshot->page_count = page_count;
    if (fill(snapshot, chunks, views, previous == Py_None ? NULL : (native_snapshot *)previous) < 0) {
        Py_DECREF(snapshot);
        return NULL;
    }
    return (PyObject *)snapshot;
}

static void snapshot_dealloc(native_snapshot *snapshot)
{
    journal_release(snapshot->journal);
    PyMem_Free(snapshot->chunk_locations);
    Py_XDECREF(snapshot->chunks);
    Py_XDECREF((PyObject *)snapshot->slots);
    Py_TYPE(snapshot)->tp_free((PyObject *)snapshot);
}

PyTypeObject native_snapshot_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "graft_sqlite_vfs._accelerator.NativeSnapshot",
    .tp_doc = "One version of a volume, for readers without the GIL.",
    .tp_basicsize = sizeof(native_snapshot),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = snapshot_new,
    .tp_dealloc = (destructor)snapshot_dealloc,
};
