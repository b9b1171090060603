#include "file.h"

#include "exceptions.h"

#include <string.h>

static struct {
    PyObject *read, *write, *truncate, *file_size, *lock, *unlock, *synced, *pragma, *close;
} names;

static PyObject *call_with_number(const graft_file *file, PyObject *name, int64_t number)
{
    PyObject *argument = PyLong_FromLongLong(number);
    PyObject *done = argument == NULL ? NULL : PyObject_CallMethodOneArg(file->file, name, argument);
    Py_XDECREF(argument);
    return done;
}

/* Tell Python that SQLite let go of the snapshot, if it has not been told: before it is asked for anything else. */
static int settle(graft_file *file)
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
    if (settle(file) == 0)
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
    if (reader_read(file->reader, out, amount, offset))
        return ABI_OK;
    return read_in_python(file, out, amount, offset);
}

static int size_in_python(graft_file *file, int64_t *size)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *value = settle(file) < 0 ? NULL : PyObject_CallMethodNoArgs(file->file, names.file_size);
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
    *size = reader->file_bytes;
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
    if (file->writing)
        return ABI_OK; /* PENDING and EXCLUSIVE: nobody else sees what the writer writes */
    int code = lock_in_python(file, level);
    file->writing = code == ABI_OK;
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
    bool reading_only = !file->writing;
    if (reading_only && (level > ABI_LOCK_NONE || file->reader->state == READER_IDLE || reader_unlock(file->reader)))
        return ABI_OK;
    file->writing = file->writing && level > ABI_LOCK_SHARED;
    return unlock_in_python(file, level);
}

static int x_check_reserved_lock(abi_file *base, int *reserved)
{
    *reserved = ((graft_file *)base)->writing;
    return ABI_OK;
}

/* Writing */

static int x_write(abi_file *base, const void *data, int amount, int64_t offset)
{
    graft_file *file = (graft_file *)base;
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *done = NULL;
    PyObject *bytes = PyBytes_FromStringAndSize(data, amount);
    PyObject *position = bytes == NULL ? NULL : PyLong_FromLongLong(offset);
    if (position != NULL && settle(file) == 0)
        done = PyObject_CallMethodObjArgs(file->file, names.write, bytes, position, NULL);
    int code = finished(file, done);
    Py_XDECREF(position);
    Py_XDECREF(bytes);
    python_leave(&scope);
    return code;
}

static int x_truncate(abi_file *base, int64_t size)
{
    graft_file *file = (graft_file *)base;
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    int code = finished(file, settle(file) < 0 ? NULL : call_with_number(file, names.truncate, size));
    python_leave(&scope);
    return code;
}

static int x_sync(abi_file *base, int flags)
{
    (void)base;
    (void)flags;
    return ABI_OK; /* SQLITE_FCNTL_SYNC came before and has settled everything */
}

/* Control */

static int sync_in_python(graft_file *file)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    int code = finished(file, PyObject_CallMethodNoArgs(file->file, names.synced));
    python_leave(&scope);
    return code;
}

static int pragma_in_python(graft_file *file, char **words)
{
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_IOERR;
    PyObject *text = NULL;
    if (settle(file) == 0)
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
                                : python_told_error_code(file->host, ABI_ERROR);
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
        return file->writing ? sync_in_python(file) : ABI_OK;
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
    python_scope scope;
    if (!python_enter(&scope, file->host))
        return ABI_OK; /* the process is ending, and its locks go with it */
    PyObject *done = PyObject_CallMethodNoArgs(file->file, names.close);
    int code = finished(file, done);
    PyObject *pending = exception_take();
    reader_withdraw(file->reader);
    Py_CLEAR(file->file);
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

int file_init(graft_file *file, const sqlite_host *host, PyObject *opened)
{
    PyObject *reader = PyObject_GetAttrString(opened, "reader");
    if (reader == NULL)
        return -1;
    if (!Py_IS_TYPE(reader, &graft_reader_type)) {
        PyErr_Format(PyExc_TypeError, "the reader is a %s", Py_TYPE(reader)->tp_name);
        Py_DECREF(reader);
        return -1;
    }
    *file = (graft_file){.host = host};
    if (int_from(opened, "xSectorSize", &file->sector_size) < 0 ||
        int_from(opened, "xDeviceCharacteristics", &file->characteristics) < 0) {
        Py_DECREF(reader);
        return -1;
    }
    file->file = Py_NewRef(opened);
    file->reader = (graft_reader *)reader;
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
    names.close = PyUnicode_InternFromString("xClose");
    return PyErr_Occurred() ? -1 : 0;
}
