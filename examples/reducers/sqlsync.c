/* SQLSync's reducer ABI: buffers with a length, and messages in bincode. */
#include "sqlsync.h"

#define ASKED_MAX 16
#define PAGE 65536u

__attribute__((import_module("env"), import_name("host_log"))) extern void host_log(void *record);

extern unsigned char __heap_base;
static uintptr_t top;
static int is_done;

static void *allocate(uint32_t size) {
    if (!top) top = ((uintptr_t)&__heap_base + 7) & ~(uintptr_t)7;
    uintptr_t found = top;
    if (size > UINT32_MAX - 16 - found) __builtin_trap();
    top += (size + 7u) & ~7u;
    uintptr_t end = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
    if (top > end && __builtin_wasm_memory_grow(0, (top - end + PAGE - 1) / PAGE) == SIZE_MAX) __builtin_trap();
    return (void *)found;
}

/* A buffer is its length followed by its bytes; its pointer is the address of the bytes. */
SQLSYNC_EXPORT(ffi_buf_allocate) void *ffi_buf_allocate(uint32_t length) {
    uint32_t *found = allocate(length + 8);
    found[1] = length;
    return found + 2;
}
SQLSYNC_EXPORT(ffi_buf_deallocate) void ffi_buf_deallocate(void *buffer) {
    (void)buffer;
    if (is_done) top = 0;  /* that was the last reply of a mutation: all memory is free again */
    is_done = 0;
}
SQLSYNC_EXPORT(ffi_buf_len) uint32_t ffi_buf_len(void *buffer) { return ((uint32_t *)buffer)[-1]; }
SQLSYNC_EXPORT(ffi_init_reducer) void ffi_init_reducer(void) {}

/* Writing takes two passes: one computes the length, one writes. */
typedef struct { unsigned char *at; uint32_t length; } writer;
static void put(writer *out, const void *bytes, uint32_t length) {
    if (out->at) {
        __builtin_memcpy(out->at, bytes, length);
        out->at += length;
    }
    out->length += length;
}
static void put_u8(writer *out, uint8_t value) { put(out, &value, 1); }
static void put_u32(writer *out, uint32_t value) { put(out, &value, 4); }
static void put_u64(writer *out, uint64_t value) { put(out, &value, 8); }
static void put_text(writer *out, text value) {
    put_u64(out, value.length);
    put(out, value.bytes, value.length);
}

typedef struct { int is_exec; text sql; int count; const text *params; } request;
static request asked[ASKED_MAX];
static int asked_count, answered_from, answered_count, turn;
static uint32_t next_id;
static const unsigned char *answers[ASKED_MAX];
static int is_refused;
static text reason;

static void put_reply(writer *out) {
    if (is_refused) {
        put_u32(out, 1);  /* Err */
        put_u32(out, 1);  /* Unknown */
        put_text(out, reason);
        return;
    }
    put_u32(out, 0);  /* Ok */
    put_u8(out, asked_count > 0);
    if (!asked_count) return;
    put_u64(out, (uint64_t)asked_count);
    for (int i = 0; i < asked_count; i++) {
        put_u32(out, next_id + (uint32_t)i);
        put_u32(out, (uint32_t)asked[i].is_exec);
        put_text(out, asked[i].sql);
        put_u64(out, (uint64_t)asked[i].count);
        for (int j = 0; j < asked[i].count; j++) {
            put_u32(out, 3);  /* Text */
            put_text(out, asked[i].params[j]);
        }
    }
}

static void *reply(void) {
    writer measured = {0, 0};
    put_reply(&measured);
    unsigned char *buffer = ffi_buf_allocate(measured.length);
    put_reply(&(writer){buffer, 0});
    answered_from = (int)next_id;
    answered_count = asked_count;
    is_done = is_refused || !asked_count;
    next_id += (uint32_t)asked_count;
    asked_count = 0;
    return buffer;
}

static int ask(int is_exec, text sql, int count, const text *params) {
    if (asked_count == ASKED_MAX) __builtin_trap();
    text *kept = allocate((uint32_t)count * sizeof(text));
    for (int i = 0; i < count; i++) kept[i] = params[i];
    asked[asked_count] = (request){is_exec, sql, count, kept};
    return asked_count++;
}
int ask_query(text sql, int count, const text *params) { return ask(0, sql, count, params); }
int ask_exec(text sql, int count, const text *params) { return ask(1, sql, count, params); }
void refuse(text why) {
    is_refused = 1;
    reason = why;
}

SQLSYNC_EXPORT(ffi_reduce) void *ffi_reduce(void *mutation) {
    is_refused = asked_count = turn = 0;
    on_mutation((text){mutation, ffi_buf_len(mutation)});
    return reply();
}

SQLSYNC_EXPORT(ffi_reducer_version) uint32_t ffi_reducer_version(void) { return schema_version(); }

SQLSYNC_EXPORT(ffi_migrate) void *ffi_migrate(uint32_t version) {
    is_refused = asked_count = 0;
    turn = -1;
    on_migration(version);
    return reply();
}

static uint32_t get_u32(const unsigned char *at) {
    uint32_t value;
    __builtin_memcpy(&value, at, 4);
    return value;
}
static uint64_t get_u64(const unsigned char *at) {
    uint64_t value;
    __builtin_memcpy(&value, at, 8);
    return value;
}

/* Step input: option, count, then (request id, pointer) each. */
SQLSYNC_EXPORT(ffi_reactor_step) void *ffi_reactor_step(unsigned char *step) {
    if (ffi_buf_len(step) > 1 && step[0]) {
        uint64_t count = get_u64(step + 1);
        for (uint64_t i = 0; i < count; i++) {
            uint32_t number = get_u32(step + 9 + 8 * i) - (uint32_t)answered_from;
            if (number < (uint32_t)answered_count) answers[number] = (void *)(uintptr_t)get_u32(step + 13 + 8 * i);
        }
    }
    if (turn < 0) {
        for (int i = 0; i < answered_count; i++)
            if (failed(i)) refuse(TEXT("a migration failed"));
    } else if (answered_count) {
        on_answers(turn++);
    }
    return reply();
}

int failed(int number) { return get_u32(answers[number]) != 0; }
uint64_t changes(int number) { return failed(number) ? 0 : get_u64(answers[number] + 4); }

/* Rows: columns with their names, then rows of tagged values. */
static const unsigned char *rows(int number) {
    const unsigned char *at = answers[number] + 4;
    uint64_t columns = get_u64(at);
    at += 8;
    while (columns--) at += 8 + get_u64(at);
    return at;
}
uint64_t row_count(int number) { return failed(number) ? 0 : get_u64(rows(number)); }

static const unsigned char *after(const unsigned char *value) {
    switch (get_u32(value)) {
        case 0: return value + 4;
        case 1:
        case 2: return value + 12;
        default: return value + 12 + get_u64(value + 4);
    }
}

text cell(int number, int row, int column) {
    const unsigned char *at = rows(number) + 8;
    for (int i = 0; i <= row; i++) {
        uint64_t columns = get_u64(at);
        at += 8;
        for (uint64_t j = 0; j < columns; j++) {
            if (i == row && j == (uint64_t)column)
                return get_u32(at) < 3 ? TEXT("") : (text){(const char *)at + 12, (uint32_t)get_u64(at + 4)};
            at = after(at);
        }
    }
    return TEXT("");
}

text joined(text first, text second) {
    char *bytes = allocate(first.length + second.length);
    __builtin_memcpy(bytes, first.bytes, first.length);
    __builtin_memcpy(bytes + first.length, second.bytes, second.length);
    return (text){bytes, first.length + second.length};
}

static void put_record(writer *out, text message) {
    put_text(out, TEXT("INFO"));
    put_text(out, message);
    put_u8(out, 0);  /* no file */
    put_u8(out, 0);  /* no line */
}
void log_info(text message) {
    writer measured = {0, 0};
    put_record(&measured, message);
    unsigned char *buffer = ffi_buf_allocate(measured.length);
    put_record(&(writer){buffer, 0}, message);
    host_log(buffer);
}

/* Functions that the compiler may call, since there is no C library. */
void *memcpy(void *to, const void *from, size_t length) {
    for (size_t i = 0; i < length; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t length) {
    for (size_t i = 0; i < length; i++) ((char *)to)[i] = (char)value;
    return to;
}
