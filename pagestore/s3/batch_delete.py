"""Deletes any number of objects of a bucket, a thousand per request, and raises once for what the server refuses."""

from collections.abc import Callable, Iterator, Sequence

from pagestore.errors import PageStoreError, StoreUnavailable
from pagestore.keys import LIST_PAGE_KEYS
from pagestore.s3.api import NotDeleted, S3Api
from pagestore.s3.client import S3Requests
from pagestore.s3.errors import Answer, ErrorReply, GiveUp, TryAgain, judge, unexpected
from pagestore.s3.meanings import Remedy, meaning_of

_ROUNDS_MAX = 4
"""How often to send keys that the server was too busy to delete."""

_UNKNOWN_STATUSES = frozenset({404, 405, 501})
"""The answers of servers that do not support deleting many keys with one request."""


def delete_many(requests: S3Requests, full_keys: Sequence[str], delete_one: Callable[[str], None]) -> None:
    """Remove objects; ``delete_one`` is for servers that cannot remove many with one request.

    Removes every object that it can before it raises for the others.
    """
    refusal: PageStoreError | None = None
    for batch in _batches(full_keys):
        try:
            _delete_batch(requests, batch, delete_one)
        except PageStoreError as error:
            if isinstance(error, StoreUnavailable):
                raise
            refusal = refusal or error
    if refusal is not None:
        raise refusal


def _delete_batch(requests: S3Requests, batch: Sequence[str], delete_one: Callable[[str], None]) -> None:
    left = list(batch)
    for _ in range(_ROUNDS_MAX):
        wanted = left
        answer = requests.send(lambda api, wanted=wanted: _send(api, wanted))  # type: ignore[misc]
        if isinstance(answer, Answer):
            if answer.status not in _UNKNOWN_STATUSES:
                raise unexpected(answer, requests.where)
            for key in left:
                delete_one(key)
            return
        failed = [found for found in answer if found.code != "NoSuchKey"]
        refused = [found for found in failed if meaning_of(0, found.code).remedy is not Remedy.RETRY]
        if refused:
            raise _refusal(refused, requests.where)
        left = [found.full_key for found in failed]
        if not left:
            return
    raise StoreUnavailable(
        f"{requests.where} did not delete {len(left)} of {len(batch)} objects in {_ROUNDS_MAX} tries; "
        f"the first is {left[0]} ({failed[0].code}: {failed[0].message})"
    )


def _send(api: S3Api, full_keys: Sequence[str]) -> Sequence[NotDeleted]:
    return api.delete_many(full_keys)


def _refusal(refused: Sequence[NotDeleted], where: str) -> PageStoreError:
    first = refused[0]
    verdict = judge(ErrorReply(403, first.code, f"{first.full_key}: {first.message}"), where)
    match verdict:
        case GiveUp():
            return verdict.error
        case Answer():
            return unexpected(verdict, where)
        case TryAgain():
            return StoreUnavailable(f"{where}: {verdict.reason}")


def _batches(full_keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(full_keys), LIST_PAGE_KEYS):
        yield full_keys[start : start + LIST_PAGE_KEYS]
