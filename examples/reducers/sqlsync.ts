// A small SDK for SQLSync reducers in AssemblyScript: extend Reducer, and pass an instance to `serve`.
//
// A reducer is a state machine: in each turn it reads the answers to its requests, sends more requests, or is done.

@external("env", "host_log")
declare function hostLog(record: usize): void;

// A buffer's length is stored in front of its bytes. Only `heap` keeps buffers alive.
export function ffi_buf_allocate(length: u32): usize {
  const block = heap.alloc(<usize>length + 8);
  store<u32>(block, length);
  return block + 8;
}
export function ffi_buf_deallocate(buffer: usize): void {
  heap.free(buffer - 8);
}
export function ffi_buf_len(buffer: usize): u32 {
  return load<u32>(buffer - 8);
}
export function ffi_init_reducer(): void {}

// AssemblyScript calls this when it throws; it sends the reason to the host.
export function abort(message: string | null, file: string | null, line: u32, _column: u32): void {
  const out = new Writer();
  out.text("ERROR");
  out.text(message ? message : "abort");
  out.u8(file ? 1 : 0);
  if (file) out.text(file);
  out.u8(1);
  out.u32(line);
  hostLog(out.buffer());
  unreachable();
}

export function logInfo(message: string): void {
  const out = new Writer();
  out.text("INFO");
  out.text(message);
  out.u8(0);
  out.u8(0);
  hostLog(out.buffer());
}

class Writer {
  private bytes: StaticArray<u8> = new StaticArray<u8>(256);
  private length: i32 = 0;

  private room(count: i32): usize {
    if (this.length + count > this.bytes.length) {
      const grown = new StaticArray<u8>(max(2 * this.bytes.length, this.length + count));
      memory.copy(changetype<usize>(grown), changetype<usize>(this.bytes), this.length);
      this.bytes = grown;
    }
    const at = changetype<usize>(this.bytes) + this.length;
    this.length += count;
    return at;
  }
  u8(value: u8): void {
    store<u8>(this.room(1), value);
  }
  u32(value: u32): void {
    store<u32>(this.room(4), value);
  }
  u64(value: u64): void {
    store<u64>(this.room(8), value);
  }
  text(value: string): void {
    const encoded = String.UTF8.encode(value);
    this.u64(encoded.byteLength);
    memory.copy(this.room(encoded.byteLength), changetype<usize>(encoded), encoded.byteLength);
  }
  buffer(): usize {
    const found = ffi_buf_allocate(this.length);
    memory.copy(found, changetype<usize>(this.bytes), this.length);
    return found;
  }
}

class Reader {
  constructor(private at: usize) {}
  u8(): u8 {
    this.at += 1;
    return load<u8>(this.at - 1);
  }
  u32(): u32 {
    this.at += 4;
    return load<u32>(this.at - 4);
  }
  u64(): u64 {
    this.at += 8;
    return load<u64>(this.at - 8);
  }
  text(): string {
    const length = <usize>this.u64();
    this.at += length;
    return String.UTF8.decodeUnsafe(this.at - length, length);
  }
  // A value as text; null for NULL. Numbers are decimal.
  value(): string | null {
    switch (this.u32()) {
      case 0: return null;
      case 1: return (<i64>this.u64()).toString();
      case 2: return reinterpret<f64>(this.u64()).toString();
      default: return this.text();
    }
  }
}

class Request {
  constructor(public isExec: bool, public sql: string, public params: string[]) {}
}

export class Answer {
  failed: bool = false;
  message: string = "";
  changes: u64 = 0;
  rows: Array<Array<string | null>> = [];
}

export abstract class Reducer {
  asked: Request[] = [];
  refusal: string | null = null;

  abstract schemaVersion(): u32;
  abstract migrate(version: u32): void;
  abstract begin(mutation: string): void;
  abstract answered(answers: Answer[]): void;

  query(sql: string, params: string[] = []): void {
    this.asked.push(new Request(false, sql, params));
  }
  exec(sql: string, params: string[] = []): void {
    this.asked.push(new Request(true, sql, params));
  }
  refuse(reason: string): void {
    this.refusal = reason;
  }
}

let current: Reducer | null = null;
let waiting: Request[] = [];
let firstId: u32 = 0;
let migrating: bool = false;

export function serve(reducer: Reducer): void {
  current = reducer;
}

function reply(): usize {
  const reducer = current!;
  const out = new Writer();
  waiting = reducer.asked;
  reducer.asked = [];
  if (reducer.refusal) {
    waiting = [];
    out.u32(1);
    out.u32(1);
    out.text(reducer.refusal!);
    return out.buffer();
  }
  out.u32(0);
  out.u8(waiting.length ? 1 : 0);
  if (waiting.length) {
    out.u64(waiting.length);
    for (let i = 0; i < waiting.length; i++) {
      const request = waiting[i];
      out.u32(firstId + i);
      out.u32(request.isExec ? 1 : 0);
      out.text(request.sql);
      out.u64(request.params.length);
      for (let j = 0; j < request.params.length; j++) {
        out.u32(3);
        out.text(request.params[j]);
      }
    }
  }
  return out.buffer();
}

export function ffi_reduce(mutation: usize): usize {
  const text = String.UTF8.decodeUnsafe(mutation, ffi_buf_len(mutation));
  ffi_buf_deallocate(mutation);
  migrating = false;
  current!.refusal = null;
  current!.begin(text);
  return reply();
}

export function ffi_reducer_version(): u32 {
  return current!.schemaVersion();
}

export function ffi_migrate(version: u32): usize {
  migrating = true;
  current!.refusal = null;
  current!.migrate(version);
  return reply();
}

export function ffi_reactor_step(step: usize): usize {
  const answers = new Array<Answer>(waiting.length);
  const input = new Reader(step);
  if (input.u8()) {
    for (let left = input.u64(); left > 0; left--) {
      const id = input.u32() - firstId;
      const pointer = <usize>input.u32();
      answers[id] = read(pointer, waiting[id].isExec);
      ffi_buf_deallocate(pointer);
    }
  }
  ffi_buf_deallocate(step);
  firstId += waiting.length;
  if (waiting.length) {
    if (migrating) {
      for (let i = 0; i < answers.length; i++) if (answers[i].failed) current!.refuse(answers[i].message);
    } else {
      current!.answered(answers);
    }
  }
  return reply();
}

function read(pointer: usize, isExec: bool): Answer {
  const found = new Answer();
  const input = new Reader(pointer);
  if (input.u32()) {
    found.failed = true;
    if (!input.u32()) input.u32(); // SQLite's code
    found.message = input.text();
  } else if (isExec) {
    found.changes = input.u64();
  } else {
    for (let left = input.u64(); left > 0; left--) input.text();
    for (let rows = input.u64(); rows > 0; rows--) {
      const row: Array<string | null> = [];
      for (let left = input.u64(); left > 0; left--) row.push(input.value());
      found.rows.push(row);
    }
  }
  return found;
}
