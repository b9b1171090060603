/* The Python module: the types, the hooks, and the layouts for graft_sqlite_vfs/readpath.py to compare. */
#include "appender.h"
#include "file.h"
#include "forks.h"
#include "frames.h"
#include "host.h"
#include "location.h"
#include "reader.h"
#include "snapshot.h"

#include <pthread.h>

/* Increment this with every change of what graft_sqlite_vfs/accelerator.py relies on. */
enum { INTERFACE = 4 };

static PyObject *set_hooks(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"open_file", "full_pathname", "failed", "checksum", NULL};
    PyObject *open_file, *full_pathname, *failed, *checksum;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:set_hooks", names, &open_file, &full_pathname, &failed,
                                     &checksum))
        return NULL;
    Py_XSETREF(hooks.open_file, Py_NewRef(open_file));
    Py_XSETREF(hooks.full_pathname, Py_NewRef(full_pathname));
    Py_XSETREF(hooks.failed, Py_NewRef(failed));
    Py_XSETREF(hooks.checksum, Py_NewRef(checksum));
    Py_RETURN_NONE;
}

static PyObject *or_null(PyObject *callable)
{
    return callable == Py_None ? NULL : Py_NewRef(callable);
}

static PyObject *watch_appends(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"failpoint", "pwritev", "fdatasync", NULL};
    PyObject *failpoint = Py_None, *pwritev = Py_None, *fdatasync = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:watch_appends", names, &failpoint, &pwritev, &fdatasync))
        return NULL;
    Py_XSETREF(watch.failpoint, or_null(failpoint));
    Py_XSETREF(watch.pwritev, or_null(pwritev));
    Py_XSETREF(watch.fdatasync, or_null(fdatasync));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_hooks", (PyCFunction)(void (*)(void))set_hooks, METH_VARARGS | METH_KEYWORDS,
     "Set the functions that open volumes, make paths absolute, receive errors and compute checksums."},
    {"watch_appends", (PyCFunction)(void (*)(void))watch_appends, METH_VARARGS | METH_KEYWORDS,
     "For tests: set functions that are called at points of a commit and instead of system calls; None for none."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "graft_sqlite_vfs._accelerator",
    .m_doc = "The read path without the GIL; use graft_sqlite_vfs.accelerator.",
    .m_size = -1,
    .m_methods = functions,
};

/* Add a layout for Python to compare with its own. Takes over `layout`, which may be NULL with an exception set. */
static int add_layout(PyObject *module, const char *name, PyObject *layout)
{
    int failed = layout == NULL ? -1 : PyModule_AddObjectRef(module, name, layout);
    Py_XDECREF(layout);
    return failed;
}

static PyObject *location_layout(void)
{
    return Py_BuildValue("(KKiii)", (unsigned long long)LOCATION_FRAME_TAG, (unsigned long long)LOCATION_JOURNAL_TAG,
                         LOCATION_SLOT_BITS, LOCATION_OFFSET_BITS, LOCATION_CHUNK_SHIFT);
}

/* The two headers of RECORD_LAYOUT in graft/journal/format.py, as they are encoded here. */
static PyObject *record_layout(void)
{
    const record_header samples[] = {
        {.page_size = 512, .local_lsn = 2, .slots = 3, .byte_size = 4, .min_page_count = 5, .timestamp_us = 6,
         .synced = true},
        {.page_size = 65536, .local_lsn = UINT64_C(1) << 40, .slots = 10, .byte_size = UINT64_C(1) << 45,
         .min_page_count = UINT64_C(1) << 30, .timestamp_us = UINT64_C(1) << 50, .after_synced = true},
    };
    PyObject *encoded[2];
    for (int i = 0; i < 2; i++) {
        uint8_t header[RECORD_UNSUMMED_BYTES];
        record_encode(&samples[i], header);
        encoded[i] = PyBytes_FromStringAndSize((const char *)header, sizeof header);
    }
    return Py_BuildValue("(NNiii)", encoded[0], encoded[1], RECORD_UNSUMMED_BYTES, RECORD_HEADER_BYTES,
                         RECORD_ALIGNMENT);
}

static PyObject *counter_layout(void)
{
    return Py_BuildValue("(iiii)", WORD_GENERATION, WORD_LOCAL_LSN, WORD_APPENDING, WORD_IN_DOUBT);
}

PyMODINIT_FUNC PyInit__accelerator(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (PyModule_AddType(module, &frame_slots_type) < 0 || PyModule_AddType(module, &native_snapshot_type) < 0 ||
        PyModule_AddType(module, &graft_reader_type) < 0 || PyModule_AddType(module, &graft_appender_type) < 0 ||
        add_layout(module, "LOCATION_LAYOUT", location_layout()) < 0 ||
        add_layout(module, "RECORD_LAYOUT", record_layout()) < 0 ||
        add_layout(module, "COUNTER_LAYOUT", counter_layout()) < 0 ||
        PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0 || file_prepare() < 0) {
        Py_DECREF(module);
        return NULL;
    }
    pthread_atfork(NULL, NULL, fork_counted);
    pthread_atfork(NULL, NULL, section_reset_all);
    pthread_atfork(NULL, NULL, appender_disown_all);
    return module;
}
