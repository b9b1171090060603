"""Translates obstore's exceptions by their text, the only place where they say what happened. Pure, pinned by tests."""

import re

from pagestore.s3.errors import NoAnswer, NoETag, UntrustedCertificate, WrongReply, error_reply
from pagestore.s3.replies import LENGTH_UNKNOWN

_REFUSED = re.compile(r"non-2xx status code: (\d{3})[^:]*:? ?(.*)", re.DOTALL)
_CAUSE = re.compile(r'message: "([^"]*)"|kind: (TimedOut|Timeout)|(dns error)|(IncompleteMessage|IncompleteBody)')
_NOT_CONNECTED = re.compile(r"kind: Connect\b(?!.*TimedOut)", re.DOTALL)
_BAD_CERTIFICATE = re.compile(r"InvalidCertificate|UnknownIssuer|CertNotValid|NotValidForName|Expired\b.*[Cc]ert")
_WRONG_RANGES = ("Content-Range header ", "Failed to parse value for CONTENT_RANGE header", "Requested ")


class NotPartial(WrongReply):
    """The server answered a ranged GET with the whole object."""


class Unexplained(NoAnswer):
    """An error that obstore describes too vaguely; it may be a redirect that it could not follow."""


class Unreadable(Unexplained):
    """An error reply whose body is not UTF-8; obstore does not even report its status."""


def translate(error: Exception) -> Exception:
    """Return our exception for obstore's ``error``."""
    said, _, details = str(error).partition("\n\nDebug source:")
    refused = _REFUSED.search(said)
    if refused is not None:
        return error_reply(int(refused[1]), refused[2].encode())
    if "redirect without LOCATION" in said or "error following redirect" in said:
        return Unexplained(_last_part(said))
    if "ETag Header missing" in said:
        return NoETag()
    if _BAD_CERTIFICATE.search(details):
        return UntrustedCertificate(_last_part(said))
    return _wrong_reply(said.removeprefix("Generic S3 error: ")) or _no_answer(said, details)


def _wrong_reply(said: str) -> WrongReply | None:
    if said.startswith("Received non-partial response"):
        return NotPartial(said)
    if said.startswith("Content-Length"):
        return WrongReply(LENGTH_UNKNOWN)
    if said.startswith(_WRONG_RANGES):
        return WrongReply(f"the reply holds another range than requested ({said})")
    return None


def _no_answer(said: str, details: str) -> NoAnswer:
    causes = [next(filter(None, cause)) for cause in _CAUSE.findall(details)]
    what = _last_part(said).removeprefix("Generic S3 error: ")
    kind = Unreadable if "invalid utf-8" in what else Unexplained if _NOT_CONNECTED.search(details) else NoAnswer
    return kind(f"{what} ({causes[-1]})" if causes else what)


def _last_part(said: str) -> str:
    """Return the message without method, URL and time, which change with every try."""
    return said.rpartition(" - ")[2]
