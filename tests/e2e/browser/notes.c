/* A reducer in the ABI of SQLSync 0.3.2, without any library: notes with a key and a value.

   mutations: init | put NUL key NUL value | append NUL key NUL value */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(name))) __attribute__((used))

extern u8 __heap_base;
static u32 top;

/* Buffers are never freed: every document's reducer makes a few hundred bytes per mutation. A block begins with its
   length. */
static u8 *take(u32 length) {
  if (!top) top = ((u32)&__heap_base + 7) & ~7u;
  u32 at = top, end = (at + 8 + length + 7) & ~7u;
  u32 have = (u32)__builtin_wasm_memory_size(0) * 65536u;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) / 65536) == (unsigned long)-1) __builtin_trap();
  top = end;
  *(u32 *)at = length;
  return (u8 *)(at + 8);
}

EXPORT("ffi_buf_allocate") u8 *ffi_buf_allocate(u32 length) { return take(length); }
EXPORT("ffi_buf_deallocate") void ffi_buf_deallocate(u8 *buffer) { (void)buffer; }
EXPORT("ffi_buf_len") u32 ffi_buf_len(u8 *buffer) { return *(u32 *)(buffer - 8); }
EXPORT("ffi_init_reducer") void ffi_init_reducer(void) {}

void *memcpy(void *to, const void *from, unsigned long count) {
  for (unsigned long i = 0; i < count; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
  return to;
}

typedef struct {
  const u8 *at;
  u32 length;
} Text;

/* Written twice: to count, and to fill. */
typedef struct {
  u8 *at;
  u32 length;
} Out;

static void raw(Out *out, const void *from, u32 count) {
  if (out->at) memcpy(out->at + out->length, from, count);
  out->length += count;
}
static void put_u8(Out *out, u8 value) { raw(out, &value, 1); }
static void put_u32(Out *out, u32 value) { raw(out, &value, 4); }
static void put_u64(Out *out, u64 value) { raw(out, &value, 8); }
static void put_text(Out *out, Text text) {
  put_u64(out, text.length);
  raw(out, text.at, text.length);
}

static Text literal(const char *text) {
  u32 length = 0;
  while (text[length]) length++;
  return (Text){(const u8 *)text, length};
}

/* Ok(Some({0: Exec { sql, params }})) */
static void exec(Out *out, const char *sql, u32 count, const Text *params) {
  put_u32(out, 0);
  put_u8(out, 1);
  put_u64(out, 1);
  put_u32(out, 0);
  put_u32(out, 1);
  put_text(out, literal(sql));
  put_u64(out, count);
  for (u32 i = 0; i < count; i++) {
    put_u32(out, 3);
    put_text(out, params[i]);
  }
}

static void decide(Out *out, const Text *words) {
  switch (words[0].at[0]) {
    case 'i':
      exec(out, "CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, value TEXT)", 0, 0);
      return;
    case 'p':
      exec(out, "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", 2, words + 1);
      return;
    case 'a':
      exec(out, "INSERT INTO notes VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value || excluded.value", 2,
           words + 1);
      return;
    default:
      __builtin_trap();
  }
}

EXPORT("ffi_reduce") u8 *ffi_reduce(u8 *mutation) {
  u32 length = ffi_buf_len(mutation), start = 0, count = 0;
  Text words[3] = {{mutation, 0}, {mutation, 0}, {mutation, 0}};
  for (u32 end = 0; end <= length && count < 3; end++) {
    if (end < length && mutation[end]) continue;
    words[count++] = (Text){mutation + start, end - start};
    start = end + 1;
  }
  Out counted = {0, 0};
  decide(&counted, words);
  Out filled = {take(counted.length), 0};
  decide(&filled, words);
  return filled.at;
}

/* Ok(None) */
EXPORT("ffi_reactor_step") u8 *ffi_reactor_step(u8 *responses) {
  (void)responses;
  Out out = {take(5), 0};
  put_u32(&out, 0);
  put_u8(&out, 0);
  return out.at;
}
