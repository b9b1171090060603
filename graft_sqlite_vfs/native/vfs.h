/* The VFS `graft`, registered with each SQLite library that loads this object as an extension. */
#ifndef GRAFT_VFS_H
#define GRAFT_VFS_H

#include "sqlite_abi.h"

#define GRAFT_EXPORT __attribute__((visibility("default")))

struct sqlite3;

/* Entry point for apsw's library, which raises pending exceptions. */
GRAFT_EXPORT int sqlite3_graftapsw_init(struct sqlite3 *connection, char **message, const abi_routines *api);

/* Entry point for any other library; SQLite calls it if no name is given. */
GRAFT_EXPORT int sqlite3_extension_init(struct sqlite3 *connection, char **message, const abi_routines *api);

#endif
