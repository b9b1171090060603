/* The Python side of the object: the types, the hooks and what a caller may compare with. */
#include "appender.h"
#include "file.h"
#include "frames.h"
#include "host.h"
#include "location.h"
#include "reader.h"
#include "snapshot.h"

#include <pthread.h>

/* Raise it with every change of what graft_sqlite_vfs/accelerator.py relies on. */
enum { INTERFACE = 3 };

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
     "Say what opens volumes, completes paths, is told of errors and makes checksums."},
    {"watch_appends", (PyCFunction)(void (*)(void))watch_appends, METH_VARARGS | METH_KEYWORDS,
     "For tests: say what is called at points of a commit, and in place of the system; None for nothing."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "graft_sqlite_vfs._accelerator",
    .m_doc = "The read path without the GIL; use graft_sqlite_vfs.accelerator.",
    .m_size = -1,
    .m_methods = functions,
};

static int add_location_layout(PyObject *module)
{
    PyObject *layout = Py_BuildValue("(KKiii)", (unsigned long long)LOCATION_FRAME_TAG,
                                     (unsigned long long)LOCATION_JOURNAL_TAG, LOCATION_SLOT_BITS,
                                     LOCATION_OFFSET_BITS, LOCATION_CHUNK_SHIFT);
    if (layout == NULL || PyModule_AddObjectRef(module, "LOCATION_LAYOUT", layout) < 0) {
        Py_XDECREF(layout);
        return -1;
    }
    Py_DECREF(layout);
    return 0;
}

PyMODINIT_FUNC PyInit__accelerator(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (PyModule_AddType(module, &frame_slots_type) < 0 || PyModule_AddType(module, &native_snapshot_type) < 0 ||
        PyModule_AddType(module, &graft_reader_type) < 0 || PyModule_AddType(module, &graft_appender_type) < 0 ||
        add_location_layout(module) < 0 ||
        PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0 || file_prepare() < 0) {
        Py_DECREF(module);
        return NULL;
    }
    pthread_atfork(NULL, NULL, section_reset_all);
    pthread_atfork(NULL, NULL, appender_disown_all);
    return module;
}
