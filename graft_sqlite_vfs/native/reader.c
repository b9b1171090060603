#include "reader.h"

#include <stddef.h>
#include <string.h>
#include <structmember.h>

/* Without the GIL */

static bool is_newest(const graft_reader *reader)
{
    if (reader->fixed)
        return true;
    if (!reader->keepable || reader->counters.obj == NULL || reader->forks != fork_count)
        return false;
    const _Atomic uint64_t *words = reader->counters.buf;
    return atomic_load_explicit(&words[WORD_GENERATION], memory_order_acquire) == reader->generation &&
           atomic_load_explicit(&words[WORD_LOCAL_LSN], memory_order_acquire) <= reader->local_lsn;
}

static bool is_probe(int amount, int64_t offset)
{
    return amount == PROBE_BYTES && offset == PROBE_OFFSET;
}

bool reader_read(graft_reader *reader, void *out, int amount, int64_t offset)
{
    if (reader->state != READER_HELD || amount <= 0 || offset < 0)
        return false;
    bool hit = true;
    if (is_probe(amount, offset) && reader->has_probe)
        memcpy(out, reader->probe, PROBE_BYTES);
    else if (!overlay_has_journal(&reader->overlay) ||
             !overlay_read(&reader->overlay, out, (uint32_t)amount, (uint64_t)offset))
        hit = reader->snapshot != NULL &&
              snapshot_read(reader->snapshot, &reader->section, out, (uint32_t)amount, (uint64_t)offset);
    reader->hits += hit;
    return hit;
}

bool reader_lock_shared(graft_reader *reader)
{
    if (reader->state != READER_IDLE || !is_newest(reader))
        return false;
    reader->state = READER_HELD;
    return true;
}

bool reader_unlock(graft_reader *reader)
{
    /* Withdraw a version that is no longer the newest now, so that its memory can be freed. */
    if (reader->state != READER_HELD || !is_newest(reader))
        return false;
    reader->state = READER_IDLE;
    return true;
}

/* With the GIL */

int reader_learn(graft_reader *reader, const void *read, int amount, int64_t offset)
{
    reader->misses++;
    if (reader->state != READER_HELD)
        return 0;
    if (is_probe(amount, offset)) {
        memcpy(reader->probe, read, PROBE_BYTES);
        reader->has_probe = true;
    }
    if (reader->snapshot == NULL)
        return 0;
    return snapshot_learn_chunk(reader->snapshot, (uint64_t)offset >> reader->snapshot->page_shift);
}

void reader_withdraw(graft_reader *reader)
{
    reader->state = READER_WITHDRAWN;
    reader->has_probe = reader->keepable = false;
    overlay_end(&reader->overlay);
    Py_CLEAR(reader->snapshot);
}

static PyObject *publish(graft_reader *reader, PyObject *args)
{
    PyObject *snapshot, *generation;
    long long file_bytes;
    unsigned long long local_lsn;
    Py_buffer probe;
    if (!PyArg_ParseTuple(args, "OLOKz*:publish", &snapshot, &file_bytes, &generation, &local_lsn, &probe))
        return NULL;
    if (snapshot != Py_None && !Py_IS_TYPE(snapshot, &native_snapshot_type))
        PyErr_Format(PyExc_TypeError, "the snapshot is a %s", Py_TYPE(snapshot)->tp_name);
    uint64_t number = PyErr_Occurred() || generation == Py_None ? 0 : PyLong_AsUnsignedLongLong(generation);
    bool fits = probe.buf == NULL || probe.len == PROBE_BYTES;
    if (!PyErr_Occurred() && !fits)
        PyErr_Format(PyExc_ValueError, "a probe of %zd bytes", probe.len);
    if (!PyErr_Occurred()) {
        overlay_end(&reader->overlay);
        native_snapshot *old = reader->snapshot;
        reader->snapshot = snapshot == Py_None ? NULL : (native_snapshot *)Py_NewRef(snapshot);
        reader->file_bytes = file_bytes;
        reader->state = READER_HELD;
        reader->keepable = generation != Py_None;
        reader->generation = number;
        reader->local_lsn = local_lsn;
        reader->has_probe = probe.buf != NULL;
        if (reader->has_probe)
            memcpy(reader->probe, probe.buf, PROBE_BYTES);
        Py_XDECREF((PyObject *)old);
    }
    PyBuffer_Release(&probe);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *provide(graft_reader *reader, PyObject *snapshot)
{
    if (!Py_IS_TYPE(snapshot, &native_snapshot_type))
        return PyErr_Format(PyExc_TypeError, "the snapshot is a %s", Py_TYPE(snapshot)->tp_name);
    if (reader->state == READER_HELD)
        Py_XSETREF(reader->snapshot, (native_snapshot *)Py_NewRef(snapshot));
    Py_RETURN_NONE;
}

static PyObject *withdraw(graft_reader *reader, PyObject *Py_UNUSED(ignored))
{
    reader_withdraw(reader);
    Py_RETURN_NONE;
}

static PyObject *close_reader(graft_reader *reader, PyObject *Py_UNUSED(ignored))
{
    reader_withdraw(reader);
    PyBuffer_Release(&reader->counters);
    Py_RETURN_NONE;
}

static PyObject *read_here(graft_reader *reader, PyObject *args)
{
    int amount;
    long long offset;
    if (!PyArg_ParseTuple(args, "iL:read", &amount, &offset))
        return NULL;
    PyObject *result = PyBytes_FromStringAndSize(NULL, amount > 0 ? amount : 0);
    if (result == NULL)
        return NULL;
    bool hit;
    Py_BEGIN_ALLOW_THREADS /* as SQLite would */
    hit = reader_read(reader, PyBytes_AS_STRING(result), amount, offset);
    Py_END_ALLOW_THREADS
    if (!hit)
        Py_SETREF(result, Py_NewRef(Py_None));
    return result;
}

static PyObject *lock_here(graft_reader *reader, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(reader_lock_shared(reader));
}

static PyObject *unlock_here(graft_reader *reader, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(reader_unlock(reader));
}

static PyObject *learn_here(graft_reader *reader, PyObject *args)
{
    Py_buffer bytes;
    long long offset;
    if (!PyArg_ParseTuple(args, "y*L:learn", &bytes, &offset))
        return NULL;
    int failed = reader_learn(reader, bytes.buf, (int)bytes.len, offset);
    PyBuffer_Release(&bytes);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"counters", NULL};
    PyObject *counters;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:Reader", names, &counters))
        return NULL;
    graft_reader *reader = (graft_reader *)type->tp_alloc(type, 0);
    if (reader == NULL)
        return NULL;
    section_add(&reader->section);
    reader->forks = fork_count;
    reader->fixed = counters == Py_None;
    bool fits = reader->fixed || PyObject_GetBuffer(counters, &reader->counters, PyBUF_SIMPLE) == 0;
    if (fits && !reader->fixed) {
        fits = reader->counters.len >= WORDS_NEEDED * 8 && (uintptr_t)reader->counters.buf % 8 == 0;
        if (!fits)
            PyErr_SetString(PyExc_ValueError, "the counters are too few or not aligned");
    }
    if (!fits) {
        Py_DECREF(reader);
        return NULL;
    }
    return (PyObject *)reader;
}

static void reader_dealloc(graft_reader *reader)
{
    section_remove(&reader->section);
    reader_withdraw(reader);
    PyBuffer_Release(&reader->counters);
    Py_TYPE(reader)->tp_free((PyObject *)reader);
}

static PyMethodDef reader_methods[] = {
    {"publish", (PyCFunction)(void (*)(void))publish, METH_VARARGS,
     "Read from a snapshot: publish(snapshot or None, file_bytes, generation or None, local_lsn, probe or None)."},
    {"provide", (PyCFunction)(void (*)(void))provide, METH_O, "Add the pages of a version published without them."},
    {"withdraw", (PyCFunction)(void (*)(void))withdraw, METH_NOARGS, "Leave every read to Python."},
    {"close", (PyCFunction)(void (*)(void))close_reader, METH_NOARGS, "Withdraw, and release the counters."},
    {"read", (PyCFunction)(void (*)(void))read_here, METH_VARARGS,
     "read(amount, offset): return the bytes that SQLite would get without Python, None if Python must answer."},
    {"lock_shared", (PyCFunction)(void (*)(void))lock_here, METH_NOARGS, "Go from IDLE to HELD if it is the newest."},
    {"unlock", (PyCFunction)(void (*)(void))unlock_here, METH_NOARGS, "Go from HELD to IDLE if it is the newest."},
    {"learn", (PyCFunction)(void (*)(void))learn_here, METH_VARARGS,
     "Store what Python's answer to a read has revealed: learn(bytes, offset)."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef reader_members[] = {
    {"snapshot", T_OBJECT, offsetof(graft_reader, snapshot), READONLY, "The published snapshot, or None."},
    {"hits", T_ULONGLONG, offsetof(graft_reader, hits), READONLY, "Reads answered without Python."},
    {"misses", T_ULONGLONG, offsetof(graft_reader, misses), READONLY, "Reads that Python answered."},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject graft_reader_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "graft_sqlite_vfs._accelerator.Reader",
    .tp_doc = "The version that one open file reads now.",
    .tp_basicsize = sizeof(graft_reader),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = reader_new,
    .tp_dealloc = (destructor)reader_dealloc,
    .tp_methods = reader_methods,
    .tp_members = reader_members,
};
