"""Addresses of volumes: parsing, one canonical spelling, and comparison.

    ./remote#app, ../x/remote#app, file:///home/ann/remote#app   →   /home/ann/remote#app
    s3://bucket/prefix/?client=boto3#app                         →   s3://bucket/prefix?client=boto3#app

The stored spelling depends neither on the working directory nor on how the address was typed. Two addresses are the
same place if they reach the same objects, with any client.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from graft.errors import BadRequest
from metastore.volumes import check_name
from pagestore.urls import refuse_slips

_OPTIONS = ("endpoint", "region", "client", "hedge_budget")
"""Options of an S3 URL in their stored order; a copy of `pagestore.s3.settings.URL_OPTIONS`, which imports slowly."""
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The address of a volume, ``s3://bucket/prefix#name``; the name may be left out."""

    store_url: str
    volume: str | None

    def __str__(self) -> str:
        return f"{self.store_url}#{self.volume}" if self.volume else self.store_url


def parse_remote(address: "str | os.PathLike[str] | RemoteAddress") -> RemoteAddress:
    """Parse an address into its canonical spelling. Raises `BadRequest`."""
    if isinstance(address, RemoteAddress):
        return RemoteAddress(canonical(address.store_url), address.volume)
    store_url, separator, name = os.fspath(address).partition("#")
    if not store_url:
        raise BadRequest(f"{address!r} names no store; expected something like s3://bucket/prefix#volume")
    if separator and not name:
        raise BadRequest(f"{address!r} names no volume after '#'; expected something like {store_url}#name")
    try:
        volume = check_name(name) if name else None
        if isinstance(address, str):
            refuse_slips(store_url)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    return RemoteAddress(canonical(store_url), volume)


def is_bare(address: "str | os.PathLike[str] | RemoteAddress") -> bool:
    """Return whether an address may be a bucket without its ``s3://``: a relative directory without ``./``."""
    store_url = address.partition("#")[0] if isinstance(address, str) else ""
    return bool(store_url) and "://" not in store_url and store_url[0] not in "./~"


def canonical(store_url: str) -> str:
    """Return a store's URL in its canonical spelling; a URL of no known store is returned unchanged."""
    if "://" not in store_url:
        return _path_text(store_url)
    try:
        parts = urlsplit(store_url)
    except ValueError:
        return store_url
    match parts.scheme:
        case "file" if parts.netloc in {"", "localhost"} and parts.path and not parts.query:
            return _path_text(unquote(parts.path))
        case "memory" if not parts.query:
            return f"memory://{(parts.netloc + parts.path).rstrip('/')}"
        case "s3":
            return _s3_text(parts)
        case _:
            return store_url


def is_same_store(one: str, other: str) -> bool:
    """Return whether two URLs, in any spelling, name the same place."""
    one, other = canonical(one), canonical(other)
    if one == other:
        return True
    if "://" not in one + other or (_as_path(one) and _as_path(other)):
        return _is_same_directory(_as_path(one), _as_path(other))
    parts = urlsplit(one), urlsplit(other)
    return all(each.scheme == "s3" for each in parts) and _bucket(parts[0]) == _bucket(parts[1])


def is_same_volume(store_url: str, name: str, address: RemoteAddress) -> bool:
    """Return whether an address, with or without the name, is that of a volume."""
    return address.volume in {None, name} and is_same_store(store_url, address.store_url)


def _path_text(path: str) -> str:
    """Return an absolute path without ``..``; symbolic links are resolved only before a ``..``."""
    try:
        absolute = Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise BadRequest(f"{path}: {error}") from error
    found = Path(absolute.anchor)
    for part in absolute.parts[1:]:
        found = Path(os.path.realpath(found)).parent if part == ".." else found / part
    text = str(found)
    return found.as_uri() if "#" in text or "://" in text else text


def _as_path(url: str) -> str:
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else ""


def _is_same_directory(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)


def _s3_text(parts: SplitResult) -> str:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if options.keys() - set(_OPTIONS) or "@" in parts.netloc:
        return parts.geturl()  # opening the store will refuse it
    if options.get("client") == "auto":
        del options["client"]
    if options.get("endpoint"):
        options["endpoint"] = options["endpoint"].rstrip("/")
    query = urlencode({name: options[name] for name in _OPTIONS if name in options}, safe=":/")
    place = f"s3://{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
    return f"{place}?{query}" if query else place


def _bucket(parts: SplitResult) -> tuple[str, str, str]:
    """Return what identifies a prefix: server, bucket, prefix."""
    endpoint = dict(parse_qsl(parts.query)).get("endpoint", "")
    if not endpoint:
        endpoint = next((os.environ[name] for name in _ENDPOINT_VARIABLES if os.environ.get(name)), "")
    return _server(endpoint), parts.netloc, parts.path.strip("/")


def _server(endpoint: str) -> str:
    """Return host and port; an empty string for AWS, where bucket names are global."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return endpoint
    host = parts.hostname or ""
    return "" if host.endswith(".amazonaws.com") else f"{host}:{port}" if host else ""
