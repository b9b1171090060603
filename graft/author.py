"""Who makes commits and tags, for the log."""

import os
import pwd

from graft.settings import Settings

VARIABLE = "GRAFT_AUTHOR"
_CHARACTERS_MAX = 128


def author_of(settings: Settings) -> str:
    """Return the author as configured, else as the environment says (`GRAFT_AUTHOR`), else ``user@host``."""
    for named in (settings.author, os.environ.get(VARIABLE)):
        if named and (text := _on_one_line(named)):
            return text
    return _on_one_line(f"{_user()}@{os.uname().nodename}")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return os.environ.get("USER") or str(os.getuid())


def _on_one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:_CHARACTERS_MAX]
