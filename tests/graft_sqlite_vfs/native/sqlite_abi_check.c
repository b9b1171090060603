/* Compiled, never run: does native/sqlite_abi.h say what SQLite's own headers say? */
#include <stddef.h>

#include <sqlite3ext.h>

#include "sqlite_abi.h"

#define SAME(ours, theirs) _Static_assert((ours) == (theirs), #ours " is not " #theirs)
#define SAME_MEMBER(ours, member, theirs, original) \
    SAME(offsetof(ours, member), offsetof(theirs, original)); \
    SAME(sizeof(((ours *)0)->member), sizeof(((theirs *)0)->original))

#define METHOD(member, original) SAME_MEMBER(abi_io_methods, member, sqlite3_io_methods, original)
METHOD(version, iVersion);
METHOD(close, xClose);
METHOD(read, xRead);
METHOD(write, xWrite);
METHOD(truncate, xTruncate);
METHOD(sync, xSync);
METHOD(file_size, xFileSize);
METHOD(lock, xLock);
METHOD(unlock, xUnlock);
METHOD(check_reserved_lock, xCheckReservedLock);
METHOD(file_control, xFileControl);
METHOD(sector_size, xSectorSize);
METHOD(device_characteristics, xDeviceCharacteristics);
SAME_MEMBER(abi_file, methods, sqlite3_file, pMethods);

#define VFS(member, original) SAME_MEMBER(abi_vfs, member, sqlite3_vfs, original)
VFS(version, iVersion);
VFS(file_struct_bytes, szOsFile);
VFS(path_bytes_max, mxPathname);
VFS(next, pNext);
VFS(name, zName);
VFS(app_data, pAppData);
VFS(open, xOpen);
VFS(delete_file, xDelete);
VFS(access, xAccess);
VFS(full_pathname, xFullPathname);
VFS(dl_open, xDlOpen);
VFS(dl_error, xDlError);
VFS(dl_sym, xDlSym);
VFS(dl_close, xDlClose);
VFS(randomness, xRandomness);
VFS(sleep, xSleep);
VFS(current_time, xCurrentTime);
VFS(get_last_error, xGetLastError);
VFS(current_time_int64, xCurrentTimeInt64);
VFS(set_system_call, xSetSystemCall);
VFS(get_system_call, xGetSystemCall);
VFS(next_system_call, xNextSystemCall);
SAME(sizeof(abi_vfs), sizeof(sqlite3_vfs));

#define ROUTINE(index, original) SAME((index) * sizeof(abi_routines), offsetof(sqlite3_api_routines, original))
ROUTINE(ABI_ROUTINE_MALLOC, malloc);
ROUTINE(ABI_ROUTINE_VFS_FIND, vfs_find);
ROUTINE(ABI_ROUTINE_VFS_REGISTER, vfs_register);
ROUTINE(ABI_ROUTINE_URI_PARAMETER, uri_parameter);

SAME(ABI_OK, SQLITE_OK);
SAME(ABI_ERROR, SQLITE_ERROR);
SAME(ABI_BUSY, SQLITE_BUSY);
SAME(ABI_NOMEM, SQLITE_NOMEM);
SAME(ABI_INTERRUPT, SQLITE_INTERRUPT);
SAME(ABI_IOERR, SQLITE_IOERR);
SAME(ABI_NOTFOUND, SQLITE_NOTFOUND);
SAME(ABI_CANTOPEN, SQLITE_CANTOPEN);
SAME(ABI_OK_LOAD_PERMANENTLY, SQLITE_OK_LOAD_PERMANENTLY);
SAME(ABI_IOERR_SHORT_READ, SQLITE_IOERR_SHORT_READ);
SAME(ABI_OPEN_READWRITE, SQLITE_OPEN_READWRITE);
SAME(ABI_OPEN_CREATE, SQLITE_OPEN_CREATE);
SAME(ABI_OPEN_DELETEONCLOSE, SQLITE_OPEN_DELETEONCLOSE);
SAME(ABI_OPEN_EXCLUSIVE, SQLITE_OPEN_EXCLUSIVE);
SAME(ABI_OPEN_MAIN_DB, SQLITE_OPEN_MAIN_DB);
SAME(ABI_OPEN_MAIN_JOURNAL, SQLITE_OPEN_MAIN_JOURNAL);
SAME(ABI_OPEN_TEMP_JOURNAL, SQLITE_OPEN_TEMP_JOURNAL);
SAME(ABI_OPEN_WAL, SQLITE_OPEN_WAL);
SAME(ABI_LOCK_NONE, SQLITE_LOCK_NONE);
SAME(ABI_LOCK_SHARED, SQLITE_LOCK_SHARED);
SAME(ABI_LOCK_RESERVED, SQLITE_LOCK_RESERVED);
SAME(ABI_FCNTL_PRAGMA, SQLITE_FCNTL_PRAGMA);
SAME(ABI_FCNTL_SYNC, SQLITE_FCNTL_SYNC);
