"""The reducers that documents run, by digest, in the object store beside the volumes.

reducers/{base58 of SHA-256}.wasm   a module, written again by each upload: the one uploaded last is the newest
documents/{document}                small JSON: the digest of the module that the document runs
"""

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from pagestore.errors import ObjectNotFound
from pagestore.objectstore import ObjectStore
from sqlsync.ids import base58, unbase58
from sqlsync.reducers.reducer import Reducer

MODULE_BYTES_MAX: Final = 10 * 1024 * 1024
_MAGIC: Final = b"\0asm"
_DIGEST_BYTES: Final = 32
_DIGITS_MAX: Final = 44

LoadReducer: TypeAlias = Callable[[bytes], Reducer]
"""Makes a reducer from a WebAssembly module; raises `ValueError` or a `SqlSyncError` for what is none."""


class NotAReducer(Exception):
    """The uploaded bytes cannot be used; the message says why."""


class NoSuchReducer(Exception):
    """Nobody uploaded a module with that digest."""


class ReducerReplaced(Exception):
    """The document runs a newer reducer than the one that was named."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)
    reducer: str


class Reducers:
    """Keeps and loads modules; every method blocks, and threads may share it. Raises the errors of pagestore too."""

    def __init__(self, store: ObjectStore, load: LoadReducer) -> None:
        """Keep modules in ``store``, and turn them into reducers with ``load``."""
        self._store = store
        self._load = load

    def keep(self, module: bytes) -> str:
        """Store a module and return its digest in base58; raises `NotAReducer`."""
        if len(module) > MODULE_BYTES_MAX:
            raise NotAReducer(f"{len(module)} bytes are more than a reducer may have ({MODULE_BYTES_MAX})")
        if not module.startswith(_MAGIC):
            raise NotAReducer("this is no WebAssembly module: it does not begin with \\0asm")
        try:
            self._load(module)
        except Exception as error:
            raise NotAReducer(f"this module is no reducer: {error}") from error
        digest = hashlib.sha256(module).digest()
        self._store.put(_module_key(digest), module)
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
        """Return the digest that a document is to run when a client names ``asked``, and note it.

        A document starts with the module that is named first, and moves on when a client names one that was uploaded
        later. Raises `ReducerReplaced` for one that was uploaded earlier, `NoSuchReducer` where there is none.
        """
        current = self.current(document)
        if asked is None:
            if current is None:
                raise NoSuchReducer(f"document {document} has no reducer yet; name one")
            return current
        if asked == current:
            return asked
        uploaded_s = self._uploaded_s(asked)
        if uploaded_s is None:
            raise NoSuchReducer(f"there is no reducer {base58(asked)}; upload it first")
        if current is not None and uploaded_s < (self._uploaded_s(current) or 0.0):
            raise ReducerReplaced(
                f"document {document} runs reducer {base58(current)}, which was uploaded after {base58(asked)}: "
                "upgrade the application, or upload the old module again to go back to it"
            )
        self._store.put(_document_key(document), _Record(reducer=base58(asked)).model_dump_json().encode())
        return asked

    def current(self, document: str) -> bytes | None:
        """Return the digest that a document runs, None if nobody named one yet."""
        try:
            return parse_digest(_Record.model_validate_json(self._store.get(_document_key(document))).reducer)
        except ObjectNotFound:
            return None
        except (ValidationError, ValueError) as error:
            raise NoSuchReducer(f"what document {document} runs cannot be read: {error}") from error

    def _uploaded_s(self, digest: bytes) -> float | None:
        key = _module_key(digest)
        found = next(iter(self._store.list(key, limit=1)), None)
        return found.modified_s if found is not None and found.key == key else None


def parse_digest(text: str) -> bytes:
    """Read a digest in base58; raises `ValueError`."""
    digest = unbase58(text) if len(text) <= _DIGITS_MAX else b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest has {_DIGEST_BYTES} bytes in base58; this is none: {text[:_DIGITS_MAX]!r}…")
    return digest


def _module_key(digest: bytes) -> str:
    return f"reducers/{base58(digest)}.wasm"


def _document_key(document: str) -> str:
    return f"documents/{document}"
