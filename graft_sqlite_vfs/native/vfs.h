/* The VFS `graft`, registered with each SQLite library that loads this object as an extension. */
#ifndef GRAFT_VFS_H
#define GRAFT_VFS_H

#include "sqlite_abi.h"

#define GRAFT_EXPORT __attribute__((visibility("default")))

struct sqlite3;

/* Entry point for the library of apsw, which raises exceptions that are pending. */
GRAFT_EXPORT int sqlite3_graftapsw_init(struct sqlite3 *connection, char **message, const abi_routines *api);

/* Entry point for any other library: the one that SQLite calls when it is told no name. */
GRAFT_EXPORT int sqlite3_extension_init(struct sqlite3 *connection, char **message, const abi_routines *api);

#endif
