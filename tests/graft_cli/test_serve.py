"""`graft serve`, as a process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from testbed.patience import PATIENCE_S
from tests.graft_server.support import MODULE, digest_of
from tests.graft_server.wire_client import WireClient

REPOSITORY = Path(__file__).parents[2]
REDUCER = ("--reducer", "tests.graft_server.support:OpaqueNotes")


@pytest.fixture
def serve(tmp_path):
    """Start `graft serve` on a directory, with a reducer of the tests; return the process and its URL."""
    started = []

    def start(*options):
        command = [sys.executable, "-m", "graft_cli", "serve", tmp_path / "remote", "--port", "0"]
        command += ["--directory", tmp_path / "server", *options]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        line = process.stdout.readline()
        assert line.startswith("Serving "), process.stderr.read()
        return process, line.split()[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_it_serves_until_it_is_told_to_stop_and_loses_nothing(serve):
    process, url = serve(*REDUCER)
    document = urllib3.request("GET", f"{url}/new/notes").data.decode()
    path = f"/doc/{document}?reducer={digest_of(MODULE)}"
    client = WireClient(document).connect(url.replace("http", "ws") + path)
    client.mutate("put", "a", "1")
    client.settle()
    client.mutate("put", "b", "2")  # acknowledged or not, it is with the client
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    client.disconnect()
    _, url = serve(*REDUCER)
    client.connect(url.replace("http", "ws") + path).settle()
    assert client.notes() == {"a": "1", "b": "2"}
    client.disconnect()


def test_a_second_server_in_the_directory_is_refused(serve, tmp_path, graft):
    serve()
    refused = graft("serve", tmp_path / "remote", "--directory", tmp_path / "server", "--port", 0, code=7)
    assert "another server" in refused.err


def test_ctrl_c_ends_it(serve):
    process, _ = serve()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["{tmp}/remote#volume"], 1, "names a volume; a server needs a whole store"),
        (["{tmp}/remote", "--host", "192.0.2.1"], 1, "listening on 192.0.2.1"),
        (["{tmp}/remote", "--port", "70000"], 2, "70000"),
        (["{tmp}/remote", "--upload-token", ""], 1, "upload_token: Value error, a token is empty"),
        (["{tmp}/remote", "--document-token", "  "], 1, "a token is empty"),
        (["{tmp}/remote", "--document-tokens", "{tmp}/none"], 1, "reading"),
        (["{tmp}/remote", "--poll", "0"], 2, "poll"),
        (["{tmp}/remote", "--reducer", "json"], 1, "does not name a reducer"),
        (["{tmp}/remote", "--reducer", "json:loads"], 1, "cannot load reducer json:loads"),
        (["{tmp}/remote", "--reducer", "no.such:thing"], 1, "No module named 'no'"),
    ],
)
def test_what_cannot_be_served_is_told(graft, tmp_path, options, code, message):
    arguments = [option.format(tmp=tmp_path) for option in options]
    refused = graft("serve", *arguments, "--directory", tmp_path / "server", code=code)
    assert message in refused.err


@pytest.mark.parametrize("variable", ["GRAFT_UPLOAD_TOKEN", "GRAFT_DOCUMENT_TOKEN"])
@pytest.mark.parametrize("value", ["", "  "])
def test_a_token_that_is_set_and_empty_is_refused(graft, tmp_path, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    refused = graft("serve", tmp_path / "remote", "--directory", tmp_path / "server", "--port", 0, code=1)
    assert f"{variable} is set but empty" in refused.err


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"ann": ""}', '{"": "1"}', '{"ann": "1", "bob": "1"}'])
def test_a_file_of_tokens_that_cannot_be_used_is_refused(graft, tmp_path, text):
    (tmp_path / "tokens.json").write_text(text)
    graft("serve", tmp_path / "remote", "--document-tokens", tmp_path / "tokens.json", "--port", 0, code=1)
