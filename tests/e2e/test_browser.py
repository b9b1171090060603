"""SQLSync's published client in a real browser, and a document of Python, on one server."""

import contextlib
import http.server
import importlib.util
import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from graft_server.modules import load_module
from sqlsync.documents.document import Document
from sqlsync.links.http_link import HttpLink
from testbed.patience import PATIENCE_S
from tests.graft_server import support

HERE = Path(__file__).parent / "browser"
PACKAGES = Path(__file__).parents[2] / ".cache" / "browser"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOOLS = {
    "chromium": CHROMIUM,
    "node": shutil.which("node"),
    "clang": shutil.which("clang"),
    "wasm-ld": shutil.which("wasm-ld"),
    "wasmtime": importlib.util.find_spec("wasmtime"),
    "the packages in .cache/browser": (PACKAGES / "node_modules" / "playwright-core").is_dir(),
}
MISSING = [name for name, found in TOOLS.items() if not found]

pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"no {', '.join(MISSING)} (make browser installs all that is needed)"
)


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The reducer, as bytes."""
    made = tmp_path_factory.mktemp("reducer") / "notes.wasm"
    flags = ["--target=wasm32", "-O2", "-Wall", "-Wextra", "-Werror", "-nostdlib", "-Wl,--no-entry"]
    subprocess.run(["clang", *flags, "-o", made, HERE / "notes.c"], check=True)
    return made.read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory, module):
    """The URL of a web server with the page, SQLSync's worker and the reducer."""
    directory = tmp_path_factory.mktemp("site")
    packages = PACKAGES / "node_modules"
    subprocess.run(
        [packages / ".bin" / "esbuild", HERE / "page.js", "--bundle", "--format=esm", "--log-level=error",
         f"--outfile={directory / 'page.js'}"],
        check=True, env={"NODE_PATH": str(packages), "PATH": "/usr/bin:/bin:" + str(Path(TOOLS["node"]).parent)},
    )  # fmt: skip
    worker = packages / "@orbitinghail" / "sqlsync-worker"
    shutil.copy(worker / "dist" / "worker.js", directory / "worker.js")
    shutil.copy(worker / "sqlsync-wasm" / "pkg" / "sqlsync_wasm_bg.wasm", directory / "sqlsync.wasm")
    (directory / "reducer.wasm").write_bytes(module)
    (directory / "favicon.ico").write_bytes(b"")
    (directory / "index.html").write_text('<div id="root"></div><script type="module" src="/page.js"></script>')

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(directory))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Tab:
    """A page in the browser."""

    def __init__(self, browser, name):
        self._browser, self._name = browser, name

    def call(self, function, argument=None):
        return self._browser.ask({"in": self._name, "call": function, "argument": argument})

    def until(self, function, argument=None):
        self._browser.ask({"in": self._name, "until": function, "argument": argument})

    def mutate(self, *words):
        self.call("(words) => window.app.mutate(words)", words)

    def mutate_many(self, mutations):
        self.call("async (all) => { for (const words of all) await window.app.mutate(words) }", mutations)

    def online(self, online):
        self.call("(online) => window.app.setOnline(online)", online)
        self.until(f"() => ['connected', 'disabled'].indexOf(window.app.status) === {0 if online else 1}")

    def notes(self):
        return self.call("() => window.app.notes")

    def until_notes(self, notes):
        try:
            self.until("(wanted) => JSON.stringify(window.app.notes) === JSON.stringify(wanted)", notes)
        except AssertionError:
            raise AssertionError(f"{self._name} shows {self.call('() => window.app')}, not {notes}") from None


class Browser:
    """Chromium, behind `bridge.mjs`."""

    def __init__(self, errors):
        command = [TOOLS["node"], HERE / "bridge.mjs", PACKAGES, CHROMIUM]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )

    def open(self, name, url, profile=None):
        self.ask({"open": name, "profile": profile or name, "url": url})
        tab = Tab(self, name)
        tab.until("() => window.app")
        return tab

    def ask(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser is gone"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def close(self):
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


@pytest.fixture
def browser(tmp_path):
    with (tmp_path / "browser.log").open("w") as errors, contextlib.closing(Browser(errors)) as opened:
        yield opened


def test_two_tabs_and_a_python_document_converge(browser, site, module, tmp_path):
    with support.running(tmp_path / "server", load_reducer=load_module, origins=(site,)) as server:
        support.upload(server, module)
        document = support.ask(server, "GET", "/new/shared notes")[1]
        url = f"{site}/?document={document}&coordinator=ws://127.0.0.1:{server.port}"
        one, two = browser.open("one", url), browser.open("two", url)
        beside = browser.open("beside one", url, profile="one")
        reducer = load_module(module)
        link = HttpLink(server.url, document, reducer=reducer)
        remote = f"{server.store.url}#{document}"
        with Document(tmp_path / "python", remote, reducer, link=link, store=server.store) as python:
            # Online: everybody sees what anybody does.
            one.mutate("init")
            one.mutate("put", "colour", "red")
            two.until_notes({"colour": "red"})
            two.mutate("append", "colour", " blue")
            python.mutate(b"append\0colour\0 green")
            python.sync(wait_s=20)
            python.sync()
            (shown,) = [value for (value,) in python.query("SELECT value FROM notes")]
            assert sorted(shown.split()) == ["blue", "green", "red"]
            for tab in (one, two, beside):
                tab.until_notes({"colour": shown})

            # Offline, each for itself; more than the client sends at once.
            one.online(online=False)
            many = 150
            one.mutate_many([["append", "one", f"{number},"] for number in range(many)])
            one.mutate("put", "colour", "one's")
            for number in range(many):
                python.mutate(f"append\0python\0{number},".encode())
            python.mutate(b"put\0colour\0python's")
            two.mutate("append", "two", "alone")
            for tab in (one, beside):
                tab.until("""() => window.app.notes.colour === "one's" && window.app.notes.one.endsWith('149,')""")
                assert "two" not in tab.notes()
                assert "python" not in tab.notes()

            # And back.
            one.online(online=True)
            python.sync(wait_s=20)
            two.until("() => window.app.notes.one?.endsWith('149,') && window.app.notes.python")
            python.sync()
            notes = dict(python.query("SELECT key, value FROM notes ORDER BY key"))
            numbers = "".join(f"{number}," for number in range(many))
            assert notes["one"] == notes["python"] == numbers
            assert notes["two"] == "alone"
            assert notes["colour"] in {"one's", "python's"}
            for tab in (one, two, beside):
                tab.until_notes(notes)
            assert not python.pending()


def test_tabs_outlive_their_server(browser, site, module, tmp_path):
    with support.running(tmp_path / "server", load_reducer=load_module, origins=(site,)) as server:
        support.upload(server, module)
        document = support.ask(server, "GET", "/new")[1]
        url = f"{site}/?document={document}&coordinator=ws://127.0.0.1:{server.port}"
        one, two = browser.open("one", url), browser.open("two", url)
        one.mutate("init")
        one.mutate("put", "a", "1")
        two.until_notes({"a": "1"})
    one.mutate("append", "a", "2")
    two.mutate("put", "b", "3")
    with support.running(
        tmp_path / "server", server.store, load_reducer=load_module, origins=(site,), port=server.port
    ) as again:
        one.until_notes({"a": "12", "b": "3"})
        two.until_notes({"a": "12", "b": "3"})
        two.mutate("append", "b", "4")
        one.until_notes({"a": "12", "b": "34"})
        assert list(again.served) == [document]
