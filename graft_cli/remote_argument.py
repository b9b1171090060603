"""The argument ``REMOTE``: the address of a remote or of a volume in it, or a replica of one."""

import click

from graft.remote.address import RemoteAddress, parse_remote
from graft.replica.directory import STATE_FILE, is_replica, replica_path
from graft.replica.state import State


def remote_of(text: str) -> RemoteAddress:
    """Return the address that is meant; a replica stands for its volume."""
    if "#" not in text and "://" not in text and is_replica(path := replica_path(text)):
        state = State(path / STATE_FILE)
        try:
            identity = state.identity()
        finally:
            state.close()
        return RemoteAddress(identity.store_url, identity.name)
    return parse_remote(text)


def volume_of(text: str) -> RemoteAddress:
    """Return the address of a volume; raises `click.UsageError` for one without a name."""
    address = remote_of(text)
    if address.volume is None:
        raise click.UsageError(f"a volume is expected, as in {address.store_url}#name")
    return address
