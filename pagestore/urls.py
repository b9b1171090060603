"""Opening a store by its URL.

s3://bucket/prefix                                       AWS, or the endpoint in AWS_ENDPOINT_URL
s3://bucket/prefix?endpoint=http://127.0.0.1:9000        another S3-compatible server
s3://bucket/prefix?endpoint=…&region=eu-central-1
s3://bucket/prefix?client=boto3                          boto3, obstore, or auto: the faster one that works here
s3://bucket/prefix?hedge_budget=0                        never send a late read a second time
file:///home/ann/store, /home/ann/store, store           a directory
memory://name                                            this process's memory
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pagestore.mistyped import why_not_a_directory
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from pagestore.stores.hedged import HedgedStore
from pagestore.stores.local_dir import LocalDirStore
from pagestore.stores.memory import MemoryStore

if TYPE_CHECKING:
    from pagestore.s3.settings import S3Settings

_EXAMPLES = "use s3://bucket/prefix, file:///path, a plain path, or memory://name"
_CLIENT_VARIABLE = "GRAFT_S3_CLIENT"


def open_store(
    url: str | os.PathLike[str],
    *,
    runtime: Runtime = SYSTEM,
    s3_settings: "S3Settings | None" = None,
    must_exist: bool = False,
) -> ObjectStore:
    """Return the store at ``url``, without sending a request yet.

    With ``must_exist``, a write does not create a missing directory. Options in an S3 URL replace those of
    ``s3_settings``; if neither names a client, the environment variable GRAFT_S3_CLIENT may. Raises `ValueError` with a
    one-sentence explanation for a URL that names no store, and for one with credentials, which the message does not
    repeat.
    """
    if not isinstance(url, str):
        return LocalDirStore(Path(url).expanduser(), runtime=runtime, must_exist=must_exist)
    refuse_slips(url)
    if "://" not in url:
        return LocalDirStore(Path(url).expanduser(), runtime=runtime, must_exist=must_exist)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "the URL of a store must not contain credentials; "
            "put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or into a profile"
        )
    if parts.fragment or (parts.query and parts.scheme != "s3"):
        raise ValueError(f"{url!r} has a part that the URL of a store cannot have; {_EXAMPLES}")
    match parts.scheme:
        case "s3" if not parts.netloc:
            raise ValueError(f"{url!r} names no bucket; {_EXAMPLES}")
        case "s3":
            return _open_s3(parts, runtime, s3_settings)
        case "file":
            return _open_file(url, parts, runtime, must_exist=must_exist)
        case "memory":
            return MemoryStore((parts.netloc + parts.path).rstrip("/"), runtime=runtime)
        case _:
            raise ValueError(f"{url!r} has a scheme that is not supported; {_EXAMPLES}")


def refuse_slips(url: str) -> None:
    """Raise `ValueError` for an empty text or a likely mistyped URL, which would otherwise become a directory."""
    if not url:
        raise ValueError(f"the URL of a store must not be empty; {_EXAMPLES}")
    if (reason := why_not_a_directory(url)) is not None:
        shown = "the address" if "@" in url else repr(url.partition("?")[0])  # it may contain credentials
        raise ValueError(f"{shown} looks like a mistyped URL: {reason}; {_EXAMPLES} (for a directory, ./{{its path}})")


def local_directory(url: str) -> Path | None:
    """Return the directory of the store at a ``file://`` URL or plain path, or None for other stores."""
    if "://" not in url:
        return Path(url).expanduser()
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _open_file(url: str, parts: SplitResult, runtime: Runtime, *, must_exist: bool) -> ObjectStore:
    if parts.netloc not in {"", "localhost"} or not parts.path:
        raise ValueError(f"{url!r} needs an absolute path after file://, as in file:///home/ann/store")
    return LocalDirStore(unquote(parts.path), runtime=runtime, must_exist=must_exist)


def _open_s3(parts: SplitResult, runtime: Runtime, settings: "S3Settings | None") -> ObjectStore:
    from pydantic import ValidationError  # noqa: PLC0415 - other stores need neither pydantic nor boto3

    from pagestore.s3.settings import URL_OPTIONS, S3Settings  # noqa: PLC0415
    from pagestore.s3.store import S3Store  # noqa: PLC0415

    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(URL_OPTIONS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not an option of an S3 URL; the options are {', '.join(URL_OPTIONS)}")
    given = (settings or S3Settings()).model_dump() | options
    if given["client"] == "auto" and _CLIENT_VARIABLE in os.environ:
        given["client"] = os.environ[_CLIENT_VARIABLE]
    try:
        chosen = S3Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{first['loc'][0]}: " if first["type"] != "value_error" else ""
        raise ValueError(name + first["msg"].removeprefix("Value error, ")) from None
    store = S3Store(parts.netloc, parts.path.strip("/"), settings=chosen, runtime=runtime)
    return HedgedStore(store, policy=chosen.hedge_policy, runtime=runtime) if chosen.hedge_budget else store
