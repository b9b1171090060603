/* Takes Python's pending exception and puts it back; the same functions for all Python versions. */
#ifndef GRAFT_EXCEPTIONS_H
#define GRAFT_EXCEPTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Return the pending exception with its traceback, or NULL, and clear it. */
static inline PyObject *exception_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (type == NULL)
        return NULL;
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL)
        PyException_SetTraceback(value, trace);
    Py_DECREF(type);
    Py_XDECREF(trace);
    return value;
#endif
}

/* Set the pending exception; NULL clears it. Takes over the reference. */
static inline void exception_put(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    if (exception == NULL) {
        PyErr_Clear();
        return;
    }
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

#endif
