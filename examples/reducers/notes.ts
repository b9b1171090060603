// The notes reducer in AssemblyScript. A mutation is JSON, which SQLite parses in the first turn.
import { Answer, Reducer, logInfo, serve } from "./sqlsync";
export {
  abort, ffi_buf_allocate, ffi_buf_deallocate, ffi_buf_len, ffi_init_reducer, ffi_migrate, ffi_reactor_step, ffi_reduce,
  ffi_reducer_version,
} from "./sqlsync";

const PUT = "INSERT INTO notes (key, value) VALUES (?1, ?2) "
  + "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1";
const APPEND = "INSERT INTO notes (key, value) VALUES (?1, ?2) "
  + "ON CONFLICT (key) DO UPDATE SET value = value || excluded.value, version = version + 1";
const STAMP = "INSERT INTO notes (key, value) VALUES (?1, sqlsync_actor() || ' ' || datetime() || ' ' || random()) "
  + "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1";
const VALUE_OF = "SELECT value FROM notes WHERE key = ?1";
const PARSE = "SELECT ?1 ->> 'tag', coalesce(?1 ->> 'key', ?1 ->> 'one'), coalesce(?1 ->> 'value', ''), "
  + "coalesce(?1 ->> 'other', '')";

class Notes extends Reducer {
  state: string = "";
  key: string = "";
  value: string = "";
  other: string = "";

  schemaVersion(): u32 {
    return 1;
  }

  migrate(_version: u32): void {
    this.exec("CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT, version INTEGER DEFAULT 1) STRICT");
  }

  begin(mutation: string): void {
    this.state = "parse";
    this.query(PARSE, [mutation]);
  }

  answered(answers: Answer[]): void {
    const first = answers[0];
    const was = this.state;
    this.state = "";
    if (first.failed) {
      this.refuse(first.message);
    } else if (was == "parse") {
      const row = first.rows[0];
      this.key = row[1]!;
      this.value = row[2]!;
      this.other = row[3]!;
      this.start(row[0]!);
    } else if (was == "take") {
      if (first.rows.length) this.refuse(this.key + " is taken");
      else this.exec(PUT, [this.key, this.value]);
    } else if (was == "remove") {
      if (!first.changes) this.refuse("there is no " + this.key);
    } else if (was == "swap") {
      const second = answers[1];
      if (!first.rows.length || !second.rows.length) {
        this.refuse(this.key + " or " + this.other + " is missing");
      } else {
        this.exec(PUT, [this.key, second.rows[0][0]!]);
        this.exec(PUT, [this.other, first.rows[0][0]!]);
      }
    }
  }

  private start(name: string): void {
    if (name == "put") {
      this.exec(PUT, [this.key, this.value]);
    } else if (name == "append") {
      this.exec(APPEND, [this.key, this.value]);
    } else if (name == "stamp") {
      logInfo("stamping " + this.key);
      this.exec(STAMP, [this.key]);
    } else if (name == "take") {
      this.state = "take";
      this.query(VALUE_OF, [this.key]);
    } else if (name == "remove") {
      this.state = "remove";
      this.exec("DELETE FROM notes WHERE key = ?1", [this.key]);
    } else if (name == "swap") {
      this.state = "swap";
      this.query(VALUE_OF, [this.key]);
      this.query(VALUE_OF, [this.other]);
    } else {
      this.refuse("there is no mutation " + name);
    }
  }
}

serve(new Notes());
