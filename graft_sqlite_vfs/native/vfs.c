#include "vfs.h"

#include "exceptions.h"
#include "file.h"
#include "host.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096 };

/* URI parameters that are passed to the `open_file` hook. */
static const char *const parameters[] = {
    "at", "durability", "immutable", "max_staleness_s", "min_lsn", "nolock", "snapshot", "wait_s",
};

static const sqlite_host *host_of(const abi_vfs *vfs)
{
    return vfs->app_data;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length >= tail && memcmp(name + length - tail, suffix, tail) == 0;
}

/* A volume's journal and WAL never exist. */
static bool is_side_file(const char *name)
{
    return ends_with(name, "-journal") || ends_with(name, "-wal");
}

static PyObject *parameters_of(const sqlite_host *host, const char *name)
{
    abi_uri_parameter uri_parameter = (abi_uri_parameter)host->api[ABI_ROUTINE_URI_PARAMETER];
    PyObject *found = PyDict_New();
    for (size_t i = 0; found != NULL && i < sizeof parameters / sizeof parameters[0]; i++) {
        const char *text = uri_parameter(name, parameters[i]);
        if (text == NULL)
            continue;
        PyObject *value = PyUnicode_FromString(text);
        if (value == NULL || PyDict_SetItemString(found, parameters[i], value) < 0)
            Py_CLEAR(found);
        Py_XDECREF(value);
    }
    return found;
}

/* Close a file that SQLite does not get to see, with the pending exception preserved. */
static void close_unused(PyObject *opened)
{
    PyObject *why = exception_take();
    PyObject *done = PyObject_CallMethod(opened, "xClose", NULL);
    if (done == NULL)
        PyErr_WriteUnraisable(opened);
    Py_XDECREF(done);
    exception_put(why);
}

static int open_volume(const sqlite_host *host, const char *name, abi_file *file, int flags)
{
    python_scope scope;
    if (!python_enter(&scope, host))
        return ABI_CANTOPEN;
    PyObject *found = parameters_of(host, name);
    PyObject *opened = found == NULL ? NULL : PyObject_CallFunction(hooks.open_file, "siO", name, flags, found);
    int code = ABI_OK;
    if (opened == NULL || file_init((graft_file *)file, host, opened) < 0) {
        if (opened != NULL)
            close_unused(opened);
        code = python_error_code(host, ABI_CANTOPEN);
    }
    Py_XDECREF(opened);
    Py_XDECREF(found);
    python_leave(&scope);
    return code;
}

static int x_open(abi_vfs *vfs, const char *name, abi_file *file, int flags, int *out_flags)
{
    const sqlite_host *host = host_of(vfs);
    abi_vfs *base = host->base;
    file->methods = NULL; /* or SQLite would close a file that was not opened */
    if (flags & (ABI_OPEN_MAIN_DB | ABI_OPEN_WAL)) {
        if (out_flags != NULL)
            *out_flags = flags;
        return open_volume(host, name == NULL ? "" : name, file, flags);
    }
    if (flags & ABI_OPEN_MAIN_JOURNAL) { /* not needed after a crash: a nameless temporary file */
        int scratch = ABI_OPEN_READWRITE | ABI_OPEN_CREATE | ABI_OPEN_EXCLUSIVE | ABI_OPEN_DELETEONCLOSE |
                      ABI_OPEN_TEMP_JOURNAL;
        return base->open(base, NULL, file, scratch, out_flags);
    }
    return base->open(base, name, file, flags, out_flags);
}

static int x_delete(abi_vfs *vfs, const char *name, int sync_directory)
{
    abi_vfs *base = host_of(vfs)->base;
    return is_side_file(name) ? ABI_OK : base->delete_file(base, name, sync_directory);
}

static int x_access(abi_vfs *vfs, const char *name, int flags, int *result)
{
    abi_vfs *base = host_of(vfs)->base;
    if (!is_side_file(name))
        return base->access(base, name, flags, result);
    *result = 0;
    return ABI_OK;
}

static int x_full_pathname(abi_vfs *vfs, const char *name, int out_bytes, char *out)
{
    const sqlite_host *host = host_of(vfs);
    python_scope scope;
    if (!python_enter(&scope, host))
        return ABI_CANTOPEN;
    PyObject *path = PyObject_CallFunction(hooks.full_pathname, "s", name);
    Py_ssize_t length = 0;
    const char *utf8 = path == NULL ? NULL : PyUnicode_AsUTF8AndSize(path, &length);
    int code = ABI_OK;
    if (utf8 == NULL)
        code = python_error_code(host, ABI_CANTOPEN);
    else if (length >= out_bytes)
        code = ABI_CANTOPEN;
    else
        memcpy(out, utf8, (size_t)length + 1);
    Py_XDECREF(path);
    python_leave(&scope);
    return code;
}

/* Everything else goes to the default VFS, whose functions need that VFS as their argument. */

static void *x_dl_open(abi_vfs *vfs, const char *name)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->dl_open(base, name);
}

static void x_dl_error(abi_vfs *vfs, int bytes, char *message)
{
    abi_vfs *base = host_of(vfs)->base;
    base->dl_error(base, bytes, message);
}

static abi_function x_dl_sym(abi_vfs *vfs, void *library, const char *symbol)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->dl_sym(base, library, symbol);
}

static void x_dl_close(abi_vfs *vfs, void *library)
{
    abi_vfs *base = host_of(vfs)->base;
    base->dl_close(base, library);
}

static int x_randomness(abi_vfs *vfs, int bytes, char *out)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->randomness(base, bytes, out);
}

static int x_sleep(abi_vfs *vfs, int microseconds)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->sleep(base, microseconds);
}

static int x_current_time(abi_vfs *vfs, double *now)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->current_time(base, now);
}

static int x_current_time_int64(abi_vfs *vfs, int64_t *now)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->current_time_int64(base, now);
}

static int x_get_last_error(abi_vfs *vfs, int bytes, char *message)
{
    abi_vfs *base = host_of(vfs)->base;
    return base->get_last_error(base, bytes, message);
}

static const abi_vfs template = {
    .path_bytes_max = PATH_BYTES_MAX,
    .name = "graft",
    .open = x_open,
    .delete_file = x_delete,
    .access = x_access,
    .full_pathname = x_full_pathname,
    .dl_open = x_dl_open,
    .dl_error = x_dl_error,
    .dl_sym = x_dl_sym,
    .dl_close = x_dl_close,
    .randomness = x_randomness,
    .sleep = x_sleep,
    .current_time = x_current_time,
    .get_last_error = x_get_last_error,
    .current_time_int64 = x_current_time_int64,
};

static int register_with(const abi_routines *api, bool raises_pending)
{
    abi_vfs_find find = (abi_vfs_find)api[ABI_ROUTINE_VFS_FIND];
    abi_vfs *known = find(template.name);
    if (known != NULL && known->open == x_open)
        return ABI_OK_LOAD_PERMANENTLY;
    abi_vfs *base = find(NULL);
    if (base == NULL || hooks.open_file == NULL)
        return ABI_ERROR;
    sqlite_host *host = calloc(1, sizeof *host); /* never freed: lives as long as the library */
    if (host == NULL)
        return ABI_NOMEM;
    int own = (int)sizeof(graft_file);
    *host = (sqlite_host){.vfs = template, .base = base, .api = api, .raises_pending = raises_pending};
    host->vfs.version = base->version >= 2 ? 2 : 1;
    host->vfs.file_struct_bytes = own > base->file_struct_bytes ? own : base->file_struct_bytes;
    host->vfs.app_data = host;
    int code = ((abi_vfs_register)api[ABI_ROUTINE_VFS_REGISTER])(&host->vfs, 0);
    if (code != ABI_OK)
        free(host);
    return code == ABI_OK ? ABI_OK_LOAD_PERMANENTLY : code;
}

int sqlite3_graftapsw_init(struct sqlite3 *connection, char **message, const abi_routines *api)
{
    (void)connection;
    (void)message;
    return register_with(api, true);
}

int sqlite3_extension_init(struct sqlite3 *connection, char **message, const abi_routines *api)
{
    (void)connection;
    (void)message;
    return register_with(api, false);
}
