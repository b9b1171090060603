/* The notes reducer in C. A mutation is JSON, which SQLite parses in the first turn. */
#include "sqlsync.h"

static const text PUT = TEXT(
    "INSERT INTO notes (key, value) VALUES (?1, ?2) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1");
static const text APPEND = TEXT(
    "INSERT INTO notes (key, value) VALUES (?1, ?2) "
    "ON CONFLICT (key) DO UPDATE SET value = value || excluded.value, version = version + 1");
static const text STAMP = TEXT(
    "INSERT INTO notes (key, value) VALUES (?1, sqlsync_actor() || ' ' || datetime() || ' ' || random()) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1");
static const text VALUE_OF = TEXT("SELECT value FROM notes WHERE key = ?1");

static enum { PARSED, PUTTING, TAKING, REMOVING, SWAPPING } state;
static text key, value, other;

static int is(text found, text wanted) {
    return found.length == wanted.length && !__builtin_memcmp(found.bytes, wanted.bytes, wanted.length);
}
int memcmp(const void *one, const void *two, size_t length) {
    const unsigned char *a = one, *b = two;
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i]) return a[i] - b[i];
    return 0;
}

uint32_t schema_version(void) { return 1; }

void on_migration(uint32_t version) {
    (void)version;
    ask_exec(
        TEXT("CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT, version INTEGER DEFAULT 1) STRICT"), 0, 0);
}

void on_mutation(text mutation) {
    state = PARSED;
    ask_query(
        TEXT("SELECT ?1 ->> 'tag', coalesce(?1 ->> 'key', ?1 ->> 'one'), coalesce(?1 ->> 'value', ''), "
             "coalesce(?1 ->> 'other', '')"),
        1, &mutation);
}

static void begin(text name) {
    state = PUTTING;
    if (is(name, TEXT("put"))) {
        ask_exec(PUT, 2, (text[]){key, value});
    } else if (is(name, TEXT("append"))) {
        ask_exec(APPEND, 2, (text[]){key, value});
    } else if (is(name, TEXT("stamp"))) {
        log_info(joined(TEXT("stamping "), key));
        ask_exec(STAMP, 1, &key);
    } else if (is(name, TEXT("take"))) {
        state = TAKING;
        ask_query(VALUE_OF, 1, &key);
    } else if (is(name, TEXT("remove"))) {
        state = REMOVING;
        ask_exec(TEXT("DELETE FROM notes WHERE key = ?1"), 1, &key);
    } else if (is(name, TEXT("swap"))) {
        state = SWAPPING;
        ask_query(VALUE_OF, 1, &key);
        ask_query(VALUE_OF, 1, &other);
    } else {
        refuse(joined(TEXT("there is no mutation "), name));
    }
}

void on_answers(int turn) {
    (void)turn;
    int was = state;
    state = PUTTING;
    if (was == PARSED) {
        if (failed(0)) {
            refuse(TEXT("the mutation is no JSON"));
            return;
        }
        key = cell(0, 0, 1);
        value = cell(0, 0, 2);
        other = cell(0, 0, 3);
        begin(cell(0, 0, 0));
    } else if (was == TAKING) {
        if (row_count(0)) refuse(joined(key, TEXT(" is taken")));
        else ask_exec(PUT, 2, (text[]){key, value});
    } else if (was == REMOVING) {
        if (!changes(0)) refuse(joined(TEXT("there is no "), key));
    } else if (was == SWAPPING) {
        if (!row_count(0) || !row_count(1)) {
            refuse(joined(joined(key, TEXT(" or ")), joined(other, TEXT(" is missing"))));
            return;
        }
        text first = cell(0, 0, 0), second = cell(1, 0, 0);
        ask_exec(PUT, 2, (text[]){key, second});
        ask_exec(PUT, 2, (text[]){other, first});
    } else if (failed(0)) {
        refuse(TEXT("a statement failed"));
    }
}
