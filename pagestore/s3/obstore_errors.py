"""What obstore's exceptions say, which is told only by their text: pure, and pinned by tests."""

import re

from pagestore.s3.errors import ErrorReply, NoAnswer, UntrustedCertificate, WrongReply
from pagestore.s3.replies import LENGTH_UNKNOWN

_REFUSED = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_CAUSE = re.compile(r'message: "([^"]*)"|kind: (TimedOut|Timeout)|(dns error)|(IncompleteMessage|IncompleteBody)')
_BAD_CERTIFICATE = re.compile(r"InvalidCertificate|UnknownIssuer|CertNotValid|NotValidForName|Expired\b.*[Cc]ert")
_WRONG_RANGES = ("Content-Range header ", "Failed to parse value for CONTENT_RANGE header", "Requested ")


class NotPartial(WrongReply):
    """A ranged GET was answered with the whole object."""


def translate(error: Exception) -> Exception:
    """Return the exception of ours that says what obstore's ``error`` says."""
    said, _, details = str(error).partition("\n\nDebug source:")
    refused = _REFUSED.search(said)
    if refused is not None:
        return _error_reply(refused[1], said)
    if "redirect without LOCATION" in said:
        return ErrorReply(301, "PermanentRedirect", "")
    if _BAD_CERTIFICATE.search(details):
        return UntrustedCertificate(_last_part(said))
    return _wrong_reply(said.removeprefix("Generic S3 error: ")) or _no_answer(said, details)


def _error_reply(status: str, said: str) -> ErrorReply:
    code, message = _CODE.search(said), _MESSAGE.search(said)
    return ErrorReply(int(status), (code and code[1]) or status, (message and message[1]) or "")


def _wrong_reply(said: str) -> WrongReply | None:
    if said.startswith("Received non-partial response"):
        return NotPartial(said)
    if said.startswith("Content-Length"):
        return WrongReply(LENGTH_UNKNOWN)
    if said.startswith(_WRONG_RANGES):
        return WrongReply(f"another range came than was asked for ({said})")
    return None


def _no_answer(said: str, details: str) -> NoAnswer:
    causes = [next(filter(None, cause)) for cause in _CAUSE.findall(details)]
    what = _last_part(said).removeprefix("Generic S3 error: ")
    return NoAnswer(f"{what} ({causes[-1]})" if causes else what)


def _last_part(said: str) -> str:
    """Leave out method, URL and time, which change with every try."""
    return said.rpartition(" - ")[2]
