#include "host.h"

#include "exceptions.h"

#include <string.h>

python_hooks hooks;

bool python_enter(python_scope *scope, const sqlite_host *host)
{
    /* An ending interpreter reports that it is not initialized while its last thread still runs Python. */
    if (!Py_IsInitialized() && PyGILState_GetThisThreadState() == NULL)
        return false;
    scope->host = host;
    scope->gil = PyGILState_Ensure();
    scope->earlier = exception_take();
    return true;
}

static void chain(PyObject *newest, PyObject *earlier)
{
    PyObject *last = newest, *context;
    while (last != earlier && (context = PyException_GetContext(last)) != NULL) {
        Py_DECREF(context); /* its owner still holds it */
        last = context;
    }
    if (last == earlier)
        Py_DECREF(earlier);
    else
        PyException_SetContext(last, earlier);
}

void python_leave(python_scope *scope)
{
    if (scope->earlier != NULL) {
        PyObject *newest = exception_take();
        if (newest == NULL)
            newest = scope->earlier;
        else
            chain(newest, scope->earlier);
        exception_put(newest);
    }
    PyGILState_Release(scope->gil);
}

static int code_of(PyObject *exception, int otherwise)
{
    long code = 0;
    PyObject *value = PyObject_GetAttrString(exception, "extendedresult");
    if (value != NULL && PyLong_Check(value))
        code = PyLong_AsLong(value);
    Py_XDECREF(value);
    PyErr_Clear();
    return code > 0 && code <= INT_MAX ? (int)code : otherwise;
}

static void report(PyObject *exception)
{
    PyObject *result = hooks.failed == NULL ? NULL : PyObject_CallOneArg(hooks.failed, exception);
    if (result == NULL)
        PyErr_WriteUnraisable(exception);
    Py_XDECREF(result);
}

static int raise_again(void *exception)
{
    exception_put(exception);
    return -1;
}

/* Ctrl-C and the like: raise it in the main thread after the library, which would drop it, has returned. */
static bool interrupts(PyObject *exception)
{
    if (PyObject_IsInstance(exception, PyExc_Exception) != 0)
        return false;
    Py_INCREF(exception);
    if (Py_AddPendingCall(raise_again, exception) == 0)
        return true;
    Py_DECREF(exception);
    return false;
}

int python_error_code(const sqlite_host *host, int otherwise)
{
    PyObject *exception = exception_take();
    if (exception == NULL)
        return otherwise;
    if (!host->raises_pending && interrupts(exception)) {
        Py_DECREF(exception);
        return ABI_INTERRUPT;
    }
    int code = code_of(exception, otherwise);
    if (host->raises_pending) {
        exception_put(exception);
    } else {
        report(exception);
        Py_DECREF(exception);
    }
    return code;
}

int python_lock_error_code(const sqlite_host *host)
{
    PyObject *exception = exception_take();
    int code = exception == NULL ? ABI_IOERR : code_of(exception, ABI_IOERR);
    if ((code & 0xff) == ABI_BUSY) {
        Py_XDECREF(exception);
        return code;
    }
    exception_put(exception);
    return python_error_code(host, ABI_IOERR);
}

int python_reported_error_code(const sqlite_host *host, int otherwise)
{
    if (host->raises_pending)
        return python_error_code(host, otherwise);
    PyObject *exception = exception_take();
    int code = exception == NULL ? otherwise : interrupts(exception) ? ABI_INTERRUPT : code_of(exception, otherwise);
    Py_XDECREF(exception);
    return code;
}

char *python_error_message(const sqlite_host *host)
{
    PyObject *exception = exception_take();
    if (exception == NULL)
        return NULL;
    PyObject *text = PyObject_Str(exception);
    const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8(text);
    char *message = utf8 == NULL ? NULL : host_text(host, utf8);
    Py_XDECREF(text);
    exception_put(exception); /* replaces an error from making the message */
    return message;
}

char *host_text(const sqlite_host *host, const char *text)
{
    size_t bytes = strlen(text) + 1;
    if (bytes > INT_MAX)
        return NULL;
    char *copy = ((abi_malloc)host->api[ABI_ROUTINE_MALLOC])((int)bytes);
    if (copy != NULL)
        memcpy(copy, text, bytes);
    return copy;
}
