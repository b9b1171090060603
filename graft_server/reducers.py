"""The reducers of documents, stored by digest in the object store beside the volumes.

reducers/{base58 of SHA-256}.wasm   a module
replacements/{base58 of SHA-256}    small JSON: the digest of the module that was uploaded to replace this one
documents/{document}                small JSON: the digest of the module that the document runs, and of those before
"""

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from pagestore.errors import ObjectNotFound
from pagestore.objectstore import ObjectStore
from sqlsync.ids import base58, unbase58
from sqlsync.reducers.reducer import Reducer

MODULE_BYTES_MAX: Final = 10 * 1024 * 1024
_MAGIC: Final = b"\0asm"
_DIGEST_BYTES: Final = 32
_DIGITS_MAX: Final = 44
_BEFORE_MAX: Final = 32
_CHAIN_MAX: Final = 1000

LoadReducer: TypeAlias = Callable[[bytes], Reducer]
"""Creates a reducer from a WebAssembly module; raises `ValueError` or a `SqlSyncError` if it is not one."""


class NotAReducer(Exception):
    """The uploaded bytes cannot be used; the message says why."""


class NoSuchReducer(Exception):
    """No module with that digest was uploaded."""


class ReducerReplaced(Exception):
    """The document runs a newer reducer than the client's."""


class AnotherReducer(Exception):
    """The document belongs to another application than the client's reducer."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)
    reducer: str
    before: tuple[str, ...] = ()
    """The reducers that it ran before, newest first."""

    @property
    def digest(self) -> bytes:
        return parse_digest(self.reducer)

    def stored(self) -> bytes:
        return self.model_dump_json().encode()


class _Replacement(BaseModel):
    model_config = ConfigDict(frozen=True)
    by: str

    @property
    def digest(self) -> bytes:
        return parse_digest(self.by)


Stored = TypeVar("Stored", _Record, _Replacement)


class Reducers:
    """Stores and loads modules; every method blocks, and threads may share it. Raises the errors of pagestore too."""

    def __init__(self, store: ObjectStore, load: LoadReducer) -> None:
        """Store modules in ``store``, and create reducers from them with ``load``."""
        self._store = store
        self._load = load

    def keep(self, module: bytes, replaces: bytes | None = None) -> str:
        """Store a module, which may replace another one, and return its digest in base58; raises `NotAReducer`."""
        if len(module) > MODULE_BYTES_MAX:
            raise NotAReducer(f"the module has {len(module)} bytes; the limit is {MODULE_BYTES_MAX}")
        if not module.startswith(_MAGIC):
            raise NotAReducer("not a WebAssembly module: it does not begin with \\0asm")
        try:
            self._load(module)
        except Exception as error:
            raise NotAReducer(f"the module is not a reducer: {error}") from error
        digest = hashlib.sha256(module).digest()
        if replaces is not None and replaces != digest:
            self._require_uploaded(replaces)
        self._store.put(_module_key(digest), module)
        if replaces is not None and replaces != digest:
            self._replace(replaces, digest)
        return base58(digest)

    def load(self, digest: bytes) -> Reducer:
        """Return the reducer with a digest; raises `NoSuchReducer`."""
        try:
            module = self._store.get(_module_key(digest))
        except ObjectNotFound:
            raise NoSuchReducer(f"there is no reducer {base58(digest)}; upload it first") from None
        if hashlib.sha256(module).digest() != digest:
            raise NoSuchReducer(f"reducer {base58(digest)} was damaged in the store; upload it again")
        return self._load(module)

    def choose(self, document: str, asked: bytes | None) -> bytes:
        """Return the digest that a document runs when a client has reducer ``asked``, and record it.

        The first client's reducer becomes the document's. Afterwards the document moves only to a module that was
        uploaded to replace the current one, when the first client with that module connects. Raises `ReducerReplaced`
        for a module that was replaced, `AnotherReducer` for an unrelated one, `NoSuchReducer` if there is none.
        """
        record = self._record(document)
        if record is None:
            if asked is None:
                raise NoSuchReducer(f"document {document} has no reducer yet; name one")
            self._require_uploaded(asked)
            self._store.put_if_absent(_document_key(document), _Record(reducer=base58(asked)).stored())
            record = self._record(document)  # another server may have been faster
            if record is None:
                raise NoSuchReducer(f"the reducer of document {document} was removed while being recorded; try again")
        current = record.digest
        if asked is None or asked == current:
            return current
        if asked in self._replacements(current):
            return self._move(document, record, asked)
        if base58(asked) in record.before or current in self._replacements(asked):
            raise ReducerReplaced(
                f"document {document} runs reducer {base58(current)}, which replaced {base58(asked)}: upgrade the "
                "application"
            )
        self._require_uploaded(asked)
        raise AnotherReducer(
            f"document {document} belongs to reducer {base58(current)}, and {base58(asked)} was not uploaded to "
            f"replace it: upload it with ?replaces={base58(current)}, or move the document with the upload token"
        )

    def move(self, document: str, digest: bytes) -> None:
        """Set the module that a document runs from now on; raises `NoSuchReducer`."""
        record = self._record(document)
        if record is not None and record.digest == digest:
            return
        self._require_uploaded(digest)
        self._move(document, record, digest)

    def _move(self, document: str, record: _Record | None, digest: bytes) -> bytes:
        text = base58(digest)
        before = () if record is None else (record.reducer, *record.before)
        kept = tuple(found for found in before if found != text)[:_BEFORE_MAX]
        self._store.put(_document_key(document), _Record(reducer=text, before=kept).stored())
        return digest

    def _replacements(self, digest: bytes) -> list[bytes]:
        """Return the modules that replaced one, directly or through others, newest last."""
        found: list[bytes] = []
        while len(found) < _CHAIN_MAX:
            try:
                stored = self._store.get(_replacement_key(digest))
            except ObjectNotFound:
                break
            digest = _parsed(_Replacement, stored, "the replacement of a reducer").digest
            if digest in found:
                break
            found.append(digest)
        return found

    def _replace(self, old: bytes, new: bytes) -> None:
        """Record that a module replaces another one; drops the new module's own replacement, if it had one."""
        self._store.put(_replacement_key(old), _Replacement(by=base58(new)).model_dump_json().encode())
        self._store.delete(_replacement_key(new))

    def _record(self, document: str) -> _Record | None:
        try:
            stored = self._store.get(_document_key(document))
        except ObjectNotFound:
            return None
        return _parsed(_Record, stored, f"the reducer of document {document}")

    def _require_uploaded(self, digest: bytes) -> None:
        key = _module_key(digest)
        if not any(found.key == key for found in self._store.list(key, limit=1)):
            raise NoSuchReducer(f"there is no reducer {base58(digest)}; upload it first")


def _parsed(kind: type[Stored], stored: bytes, what: str) -> Stored:
    try:
        found = kind.model_validate_json(stored)
        _ = found.digest
    except (ValidationError, ValueError) as error:
        raise NoSuchReducer(f"{what} cannot be read: {error}") from error
    return found


def parse_digest(text: str) -> bytes:
    """Read a digest in base58; raises `ValueError`."""
    digest = unbase58(text) if len(text) <= _DIGITS_MAX else b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"not a digest ({_DIGEST_BYTES} bytes in base58): {text[:_DIGITS_MAX]!r}…")
    return digest


def _module_key(digest: bytes) -> str:
    return f"reducers/{base58(digest)}.wasm"


def _document_key(document: str) -> str:
    return f"documents/{document}"


def _replacement_key(digest: bytes) -> str:
    return f"replacements/{base58(digest)}"
