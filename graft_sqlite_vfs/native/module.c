/* The Python side of the object: the types, the hooks and what a caller may compare with. */
#include "file.h"
#include "frames.h"
#include "host.h"
#include "location.h"
#include "reader.h"
#include "snapshot.h"

#include <pthread.h>

/* Raise it with every change of what graft_sqlite_vfs/accelerator.py relies on. */
enum { INTERFACE = 2 };

static PyObject *set_hooks(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"open_file", "full_pathname", "failed", NULL};
    PyObject *open_file, *full_pathname, *failed;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:set_hooks", names, &open_file, &full_pathname, &failed))
        return NULL;
    Py_XSETREF(hooks.open_file, Py_NewRef(open_file));
    Py_XSETREF(hooks.full_pathname, Py_NewRef(full_pathname));
    Py_XSETREF(hooks.failed, Py_NewRef(failed));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_hooks", (PyCFunction)(void (*)(void))set_hooks, METH_VARARGS | METH_KEYWORDS,
     "Say what opens volumes, completes paths and is told of errors."},
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
        PyModule_AddType(module, &graft_reader_type) < 0 || add_location_layout(module) < 0 ||
        PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0 || file_prepare() < 0) {
        Py_DECREF(module);
        return NULL;
    }
    pthread_atfork(NULL, NULL, section_reset_all);
    return module;
}
