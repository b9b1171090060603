#include "file.h"

#include "exceptions.h"

#include <string.h>

static struct {
    PyObject *read, *write, *truncate, *file_size, *lock, *unlock, *synced, *pragma, *close, *take_over;
} names;

static PyObject *call_with_number(const graft_file *file, PyObject *name, int64_t number)
{
    PyObject *argument = PyLong_FromLongLong(number);
    PyObject *done = argument == NULL ? NULL : PyObject_CallMethodOneArg(file->file, name, argument);
    Py_XDECREF(argument);
    return done;
}

/* Tell Python that SQLite released SHARED, if it does not know yet; needed before any other call into Python. */
static int report_unlock(graft_file *file)
{
    if (file->reader->state != READER_IDLE)
        return 0;
    reader_withdraw(file->reader);
    PyObject *done = call_with_number(file, names.unlock, ABI_LOCK_NONE);
    Py_XDECREF(done);
    return done == NULL ? -1 : 0;
}

/* Drop the result of a call and return its result code. */
static int finished(const graft_file *file, PyObject *done)
{
    if (done == NULL)
        return python_error_code(file->host, ABI_IOERR);
    Py_DECREF(done);
    return ABI_OK;
}

static PyObject *call_write(const graft_file *file, const void *data, int amount, int64_t offset)
{
    PyObject *done = NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(data, amount);
    PyObject *position = bytes == NULL ? NULL : PyLong_FromLongLong(offset);
    if (position != NULL)
        done = PyObject_CallMethodObjArgs(file->file, names.write, bytes, position, NULL);
    Py_XDECREF(position);
    Py_XDECREF(bytes);
    return done;
}

/* Hand a transaction that was begun here to Python, with all pages that were written. */
static int leave_to_python(graft_file *file)
{
    if (file->writing != WRITING_HERE)
        return 0;
    PyObject *done = PyObject_CallMethodNoArgs(file->file, names.take_over);
    if (done == NULL)
        return -1; /* the appender holds the lock until SQLite unlocks */
    Py_DECREF(done);
    graft_appender *appender = file->appender;
    unsigned count = appender->count;
    appender_hand_over(appender);
    file->writing = WRITING_IN_PYTHON;
    for (unsigned i = 0; i < count && done != NULL; i++) {
        int64_t offset = (int64_t)(appender->pages[i] - 1) << appender->page_shift;
        done = call_write(file, appender_body(appender, i), (int)appender->page_size, offset);
        Py_XDECREF(done);
    }
    return done == NULL ? -1 : 0;
}

/* Reading */

static int take_bytes(PyObject *bytes, uint8_t *out, int amount, int *read)
{
    Py_buffer view;
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0)
        return -1;
    *read = view.len < amount ? (int)view.len : amount;
    memcpy(out, view.buf, (size_t)*read);
    memset(out + *read, 0, (size_t)(amount - *read));
    PyBuffer_Release(&view);
    return 0;
}

static PyObject *call_read(const graft_file *file, int amount, int64_t offset)
{
    PyObject *arguments[] = {file->file, PyLong_FromLong(amount), PyLong_FromLongLong(offset)};
    PyObject *bytes = NULL;
    if (arguments[1] != NULL && arguments[2] != NULL)
        bytes = PyObject_VectorcallMethod(names.read, arguments, 3, NULL);
    Py_XDECREF(arguments[1]);
    Py_XDECREF(arguments[2]);
    return bytes;
}

static int read_in_python(graft_file *file, uint8_t *out, int amount, int64_t offset)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *bytes = NULL;
    int read = 0;
    if (report_unlock(file) == 0)
        bytes = call_read(file, amount, offset);
    bool failed = bytes == NULL || take_bytes(bytes, out, amount, &read) < 0 ||
                  (read == amount && reader_learn(file->reader, out, amount, offset) < 0);
    int code = failed ? python_error_code(file->host, ABI_IOERR) : read < amount ? ABI_IOERR_SHORT_READ : ABI_OK;
    Py_XDECREF(bytes);
    python_leave(&scope);
    return code;
}

static int x_read(abi_file *base, void *out, int amount, int64_t offset)
{
    graft_file *file = (graft_file *)base;
    if (file->writing == WRITING_HERE && appender_read(file->appender, out, amount, offset))
        return ABI_OK;
    if (reader_read(file->reader, out, amount, offset))
        return ABI_OK;
    return read_in_python(file, out, amount, offset);
}

static int size_in_python(graft_file *file, int64_t *size)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *value = report_unlock(file) < 0 ? NULL : PyObject_CallMethodNoArgs(file->file, names.file_size);
    *size = value == NULL ? -1 : PyLong_AsLongLong(value);
    int code = PyErr_Occurred() ? python_error_code(file->host, ABI_IOERR) : ABI_OK;
    Py_XDECREF(value);
    python_leave(&scope);
    return code;
}

static int x_file_size(abi_file *base, int64_t *size)
{
    graft_file *file = (graft_file *)base;
    const graft_reader *reader = file->reader;
    if (reader->state != READER_HELD)
        return size_in_python(file, size);
    *size = file->writing == WRITING_HERE ? (int64_t)file->appender->file_bytes : reader->file_bytes;
    return ABI_OK;
}

/* Locks */

static int lock_in_python(graft_file *file, int level)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *done = call_with_number(file, names.lock, level);
    int code = done == NULL ? python_lock_error_code(file->host) : finished(file, done);
    python_leave(&scope);
    return code;
}

static int x_lock(abi_file *base, int level)
{
    graft_file *file = (graft_file *)base;
    if (level <= ABI_LOCK_SHARED)
        return reader_lock_shared(file->reader) ? ABI_OK : lock_in_python(file, level);
    if (file->writing != NOT_WRITING)
        return ABI_OK; /* PENDING and EXCLUSIVE: no other connection sees uncommitted writes */
    if (file->appender != NULL && appender_begin(file->appender)) {
        file->writing = WRITING_HERE;
        return ABI_OK;
    }
    int code = lock_in_python(file, level);
    file->writing = code == ABI_OK ? WRITING_IN_PYTHON : NOT_WRITING;
    return code;
}

static int unlock_in_python(graft_file *file, int level)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    int code = finished(file, call_with_number(file, names.unlock, level));
    python_leave(&scope);
    return code;
}

static int x_unlock(abi_file *base, int level)
{
    graft_file *file = (graft_file *)base;
    if (file->writing == WRITING_HERE && level <= ABI_LOCK_SHARED) {
        appender_end(file->appender);
        file->writing = NOT_WRITING;
    }
    bool reading_only = file->writing != WRITING_IN_PYTHON;
    if (reading_only && (level > ABI_LOCK_NONE || file->reader->state == READER_IDLE || reader_unlock(file->reader)))
        return ABI_OK;
    if (level <= ABI_LOCK_SHARED)
        file->writing = NOT_WRITING;
    return unlock_in_python(file, level);
}

static int x_check_reserved_lock(abi_file *base, int *reserved)
{
    *reserved = ((graft_file *)base)->writing != NOT_WRITING;
    return ABI_OK;
}

/* Writing */

static int x_write(abi_file *base, const void *data, int amount, int64_t offset)
{
    graft_file *file = (graft_file *)base;
    if (file->writing == WRITING_HERE && appender_write(file->appender, data, amount, offset))
        return ABI_OK;
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *done = NULL;
    if (report_unlock(file) == 0 && leave_to_python(file) == 0)
        done = call_write(file, data, amount, offset);
    int code = finished(file, done);
    python_leave(&scope);
    return code;
}

static int x_truncate(abi_file *base, int64_t size)
{
    graft_file *file = (graft_file *)base;
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *done = NULL;
    if (report_unlock(file) == 0 && leave_to_python(file) == 0)
        done = call_with_number(file, names.truncate, size);
    int code = finished(file, done);
    python_leave(&scope);
    return code;
}

static int x_sync(abi_file *base, int flags)
{
    (void)base;
    (void)flags;
    return ABI_OK; /* SQLITE_FCNTL_SYNC has committed before */
}

/* Control */

static int sync_in_python(graft_file *file)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *done = leave_to_python(file) < 0 ? NULL : PyObject_CallMethodNoArgs(file->file, names.synced);
    int code = finished(file, done);
    python_leave(&scope);
    return code;
}

static int sync_here(graft_file *file)
{
    graft_appender *appender = file->appender;
    if (appender->count == 0)
        return ABI_OK;
    if (!appender_can_commit(appender))
        return sync_in_python(file);
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    bool watched = appender_is_watched();
    append_outcome outcome = appender_prepare(appender) < 0 ? APPEND_RAISED : APPEND_DONE;
    if (outcome == APPEND_DONE && watched)
        outcome = appender_append(appender);
    int code = outcome == APPEND_RAISED ? python_error_code(file->host, ABI_IOERR) : ABI_OK;
    python_leave(&scope);
    if (outcome == APPEND_DONE && !watched)
        outcome = appender_append(appender);
    return outcome == APPEND_FAILED ? sync_in_python(file) : code;
}

static int pragma_in_python(graft_file *file, char **words)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *text = NULL;
    if (report_unlock(file) == 0 && leave_to_python(file) == 0)
        text = PyObject_CallMethod(file->file, "pragma", "sz", words[1], words[2]);
    int code = ABI_NOTFOUND;
    if (text != NULL && text != Py_None) {
        const char *utf8 = PyUnicode_AsUTF8(text);
        if (utf8 != NULL) {
            words[0] = host_text(file->host, utf8);
            code = words[0] == NULL ? ABI_NOMEM : ABI_OK;
        }
    }
    if (PyErr_Occurred()) {
        words[0] = python_error_message(file->host);
        code = words[0] == NULL ? python_error_code(file->host, ABI_ERROR)
                                : python_reported_error_code(file->host, ABI_ERROR);
    }
    Py_XDECREF(text);
    python_leave(&scope);
    return code;
}

static int x_file_control(abi_file *base, int op, void *argument)
{
    graft_file *file = (graft_file *)base;
    switch (op) {
    case ABI_FCNTL_SYNC:
        return file->writing == WRITING_HERE ? sync_here(file)
               : file->writing == WRITING_IN_PYTHON ? sync_in_python(file)
                                                    : ABI_OK;
    case ABI_FCNTL_PRAGMA:
        return pragma_in_python(file, argument);
    default:
        return ABI_NOTFOUND;
    }
}

static int x_sector_size(abi_file *base)
{
    return ((graft_file *)base)->sector_size;
}

static int x_device_characteristics(abi_file *base)
{
    return ((graft_file *)base)->characteristics;
}

/* Opening and closing */

static int x_close(abi_file *base)
{
    graft_file *file = (graft_file *)base;
    file->base.methods = NULL;
    if (file->writing == WRITING_HERE)
        appender_end(file->appender);
    python_scope scope;
    if (!Py_IsInitialized() || !python_enter(&scope, file->host))
        return ABI_OK; /* the process is ending, and its locks end with it */
    file->writing = NOT_WRITING;
    PyObject *done = PyObject_CallMethodNoArgs(file->file, names.close);
    int code = finished(file, done);
    PyObject *pending = exception_take();
    reader_withdraw(file->reader);
    Py_CLEAR(file->file);
    Py_CLEAR(file->appender);
    Py_CLEAR(file->reader);
    exception_put(pending);
    python_leave(&scope);
    return code;
}

static const abi_io_methods methods = {
    .version = 1,
    .close = x_close,
    .read = x_read,
    .write = x_write,
    .truncate = x_truncate,
    .sync = x_sync,
    .file_size = x_file_size,
    .lock = x_lock,
    .unlock = x_unlock,
    .check_reserved_lock = x_check_reserved_lock,
    .file_control = x_file_control,
    .sector_size = x_sector_size,
    .device_characteristics = x_device_characteristics,
};

static int int_from(PyObject *opened, const char *name, int *result)
{
    PyObject *value = PyObject_CallMethod(opened, name, NULL);
    long number = value == NULL ? -1 : PyLong_AsLong(value);
    Py_XDECREF(value);
    *result = (int)number;
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *typed_from(PyObject *opened, const char *name, PyTypeObject *type)
{
    PyObject *found = PyObject_GetAttrString(opened, name);
    if (found != NULL && found != Py_None && !Py_IS_TYPE(found, type)) {
        PyErr_Format(PyExc_TypeError, "the %s is a %s", name, Py_TYPE(found)->tp_name);
        Py_CLEAR(found);
    }
    return found;
}

int file_init(graft_file *file, const sqlite_host *host, PyObject *opened)
{
    *file = (graft_file){.host = host};
    PyObject *reader = typed_from(opened, "reader", &graft_reader_type);
    PyObject *appender = reader == NULL ? NULL : typed_from(opened, "appender", &graft_appender_type);
    if (reader == Py_None)
        PyErr_SetString(PyExc_TypeError, "there is no reader");
    if (appender == NULL || reader == Py_None || int_from(opened, "xSectorSize", &file->sector_size) < 0 ||
        int_from(opened, "xDeviceCharacteristics", &file->characteristics) < 0) {
        Py_XDECREF(appender);
        Py_XDECREF(reader);
        return -1;
    }
    if (appender == Py_None)
        Py_CLEAR(appender);
    file->file = Py_NewRef(opened);
    file->reader = (graft_reader *)reader;
    file->appender = (graft_appender *)appender;
    file->base.methods = &methods;
    return 0;
}

int file_prepare(void)
{
    names.read = PyUnicode_InternFromString("xRead");
    names.write = PyUnicode_InternFromString("xWrite");
    names.truncate = PyUnicode_InternFromString("xTruncate");
    names.file_size = PyUnicode_InternFromString("xFileSize");
    names.lock = PyUnicode_InternFromString("xLock");
    names.unlock = PyUnicode_InternFromString("xUnlock");
    names.synced = PyUnicode_InternFromString("synced");
    names.take_over = PyUnicode_InternFromString("take_over");
    names.close = PyUnicode_InternFromString("xClose");
    return PyErr_Occurred() ? -1 : 0;
}
