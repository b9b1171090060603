"""Extracts the server's own words from an error reply: S3's XML, a web page, JSON or plain text. Pure."""

import html
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree as ET

WORDS_MAX = 300
"""The most characters of a server's message that are shown."""

_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_UNSHOWN = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}\b")
_JSON_FIELDS = ("message", "Message", "error_description", "detail", "error", "title")


@dataclass(frozen=True, slots=True)
class ServerWords:
    """The content of an error reply's body."""

    code: str = ""
    """S3's error code; empty if the body is not S3's."""
    message: str = ""
    """One line of at most `WORDS_MAX` characters."""
    region: str = ""
    """The bucket's region, if the body names it."""


def read_words(body: bytes) -> ServerWords:
    """Parse ``body``, which may hold any bytes.

    >>> read_words(b"<html><title>502 Bad Gateway</title><h1>502</h1></html>").message
    '502 Bad Gateway'
    """
    root = parsed(body)
    if root is not None and local_name(root) == "ErrorResponse":  # the envelope of AWS's other services
        root = root.find("{*}Error")
    if root is not None and local_name(root) == "Error":
        return ServerWords(
            (root.findtext("{*}Code") or "").strip(),
            one_line(root.findtext("{*}Message") or ""),
            (root.findtext("{*}Region") or "").strip(),
        )
    text = body.decode("utf-8", "replace")
    return ServerWords(message=one_line(_json_message(text) or _page_message(text)))


def parsed(body: bytes) -> ET.Element | None:
    """Return the root element of a reply's body, or None if it is not XML."""
    with suppress(ET.ParseError, ValueError, LookupError):
        return ET.fromstring(body)  # noqa: S314 - expat bounds entity expansion; the server is the user's own
    return None


def local_name(root: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return root.tag.rpartition("}")[2]


def one_line(text: str) -> str:
    """Return ``text`` fit for a message: printable, on one line, of limited length, without access key ids."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    line = _KEY_ID.sub("(key id)", " ".join(printable.split()))
    return line if len(line) <= WORDS_MAX else line[: WORDS_MAX - 1] + "…"


def _json_message(text: str) -> str:
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(reply, dict):
        return ""
    words = next((reply[name] for name in _JSON_FIELDS if isinstance(reply.get(name), str | dict)), "")
    if isinstance(words, dict):
        words = next((words[name] for name in _JSON_FIELDS if isinstance(words.get(name), str)), "")
    return str(words)


def _page_message(text: str) -> str:
    title = _TITLE.search(text)
    shown = title[1] if title and title[1].strip() else _UNSHOWN.sub(" ", text)
    return html.unescape(_TAG.sub(" ", shown))
