/* The part of SQLite's binary interface that the accelerator uses, so that building it needs no SQLite header.
 *
 * Sources: https://sqlite.org/c3ref/vfs.html, https://sqlite.org/c3ref/io_methods.html and the order of the members of
 * `sqlite3_api_routines` in sqlite3ext.h. SQLite only ever appends to these structures; version numbers say which
 * members exist. tests/graft_sqlite_vfs/native/test_build.py compares them with the real headers where those are
 * installed.
 */
#ifndef GRAFT_SQLITE_ABI_H
#define GRAFT_SQLITE_ABI_H

#include <stdint.h>

enum {
    ABI_OK = 0,
    ABI_ERROR = 1,
    ABI_BUSY = 5,
    ABI_NOMEM = 7,
    ABI_INTERRUPT = 9,
    ABI_IOERR = 10,
    ABI_NOTFOUND = 12,
    ABI_CANTOPEN = 14,
    ABI_OK_LOAD_PERMANENTLY = 256,
    ABI_IOERR_SHORT_READ = 522,
};

enum {
    ABI_OPEN_READWRITE = 0x00000002,
    ABI_OPEN_CREATE = 0x00000004,
    ABI_OPEN_DELETEONCLOSE = 0x00000008,
    ABI_OPEN_EXCLUSIVE = 0x00000010,
    ABI_OPEN_MAIN_DB = 0x00000100,
    ABI_OPEN_MAIN_JOURNAL = 0x00000800,
    ABI_OPEN_TEMP_JOURNAL = 0x00001000,
    ABI_OPEN_WAL = 0x00080000,
};

enum { ABI_LOCK_NONE = 0, ABI_LOCK_SHARED = 1, ABI_LOCK_RESERVED = 2 };

enum { ABI_FCNTL_PRAGMA = 14, ABI_FCNTL_SYNC = 21 };

typedef struct abi_file abi_file;
typedef struct abi_vfs abi_vfs;
typedef void (*abi_function)(void);

typedef struct abi_io_methods {
    int version;
    int (*close)(abi_file *);
    int (*read)(abi_file *, void *, int amount, int64_t offset);
    int (*write)(abi_file *, const void *, int amount, int64_t offset);
    int (*truncate)(abi_file *, int64_t size);
    int (*sync)(abi_file *, int flags);
    int (*file_size)(abi_file *, int64_t *size);
    int (*lock)(abi_file *, int level);
    int (*unlock)(abi_file *, int level);
    int (*check_reserved_lock)(abi_file *, int *reserved);
    int (*file_control)(abi_file *, int op, void *argument);
    int (*sector_size)(abi_file *);
    int (*device_characteristics)(abi_file *);
    /* Version 1 ends here: no shared memory (a volume has no WAL) and no xFetch. */
} abi_io_methods;

struct abi_file {
    const abi_io_methods *methods;
};

struct abi_vfs {
    int version;
    int file_struct_bytes;
    int path_bytes_max;
    abi_vfs *next;
    const char *name;
    void *app_data;
    int (*open)(abi_vfs *, const char *name, abi_file *, int flags, int *out_flags);
    int (*delete_file)(abi_vfs *, const char *name, int sync_directory);
    int (*access)(abi_vfs *, const char *name, int flags, int *result);
    int (*full_pathname)(abi_vfs *, const char *name, int out_bytes, char *out);
    void *(*dl_open)(abi_vfs *, const char *name);
    void (*dl_error)(abi_vfs *, int bytes, char *message);
    abi_function (*dl_sym)(abi_vfs *, void *library, const char *symbol);
    void (*dl_close)(abi_vfs *, void *library);
    int (*randomness)(abi_vfs *, int bytes, char *out);
    int (*sleep)(abi_vfs *, int microseconds);
    int (*current_time)(abi_vfs *, double *);
    int (*get_last_error)(abi_vfs *, int bytes, char *message);
    /* Version 1 ends here. */
    int (*current_time_int64)(abi_vfs *, int64_t *);
    /* Version 2 ends here. */
    int (*set_system_call)(abi_vfs *, const char *name, abi_function);
    abi_function (*get_system_call)(abi_vfs *, const char *name);
    const char *(*next_system_call)(abi_vfs *, const char *name);
};

/* `sqlite3_api_routines` is a structure of function pointers only, so it is used as an array here. */
typedef abi_function abi_routines;

enum {
    ABI_ROUTINE_MALLOC = 68,
    ABI_ROUTINE_VFS_FIND = 141,
    ABI_ROUTINE_VFS_REGISTER = 142,
    ABI_ROUTINE_URI_PARAMETER = 189,
};

typedef void *(*abi_malloc)(int bytes);
typedef abi_vfs *(*abi_vfs_find)(const char *name);
typedef int (*abi_vfs_register)(abi_vfs *, int make_default);
typedef const char *(*abi_uri_parameter)(const char *filename, const char *name);

#endif
