"""Requests that are made to do harm: each is refused, and the document goes on."""

import json

import pytest

from sqlsync.envelope import Mutation, Opaque
from sqlsync.ids import TimelineId
from sqlsync.links.http_link import HttpLink
from sqlsync.links.mutation_batch import write_batches
from testbed.patience import PATIENCE_S
from tests.graft_server import support
from tests.graft_server.support import ask, digest_of, wait_for


@pytest.fixture
def link(server, document):
    made = HttpLink(server.url, document, reducer=support.OpaqueNotes())
    yield made
    made.close()


def applies(link):
    """Whether a mutation of somebody else gets into the volume."""
    timeline = TimelineId.new()
    link.submit(timeline, [Mutation.captured(timeline, 0, Opaque(b"put\0a\x001"))])
    return link.wait(timeline, 0, timeout_s=PATIENCE_S).applied == 0


@pytest.mark.parametrize(
    "query",
    ["seen=-2", "seen=-1", "seen=99", f"seen={10**19}", f"seen={10**20}", f"seen={-(10**20)}", "seen=1e3", "seen=",
     "seen=٣", "seen=1_0", f"born_us={10**20}", f"born_us={2**63}", "born_us=nan"],
)  # fmt: skip
def test_no_number_in_a_query_stops_a_document(server, document, link, query):
    timeline = TimelineId.new()
    (batch,) = write_batches([Mutation.captured(timeline, 0, Opaque(b"put\0b\x001"))])
    path = f"/doc/{document}/timelines/{timeline}?reducer={digest_of(support.MODULE)}&{query}"
    status, text = ask(server, "POST", path, body=batch)
    assert status == (200 if query in {"seen=-1", "seen=99"} else 400), text
    assert applies(link)
    status, text = ask(server, "GET", path.replace("seen", "lsn"))
    assert status in {200, 400}, text


@pytest.mark.parametrize(
    "state",
    ['{"x": NaN}', '{"x": Infinity}', '{"x": [-Infinity]}', '{"x": 1e999}', '{"x": "\\ud800"}', "[]", "null",
     '{"x": ' + "[" * 150 + "]" * 150 + "}", '{"x": ' + "[" * 30_000 + "]" * 30_000 + "}"],
)  # fmt: skip
def test_no_presence_makes_asking_for_it_fail(server, document, link, state):
    link.presence.set("good", {"x": 1})
    body = f'{{"state": {state}, "ttl_s": 30}}'.encode()
    status, text = ask(server, "PUT", f"/doc/{document}/presence/bad?reducer={digest_of(support.MODULE)}", body=body)
    assert (status, json.loads(text)["error"]) == (400, "BadMessage")
    assert link.presence.states() == {"good": {"x": 1}}


@pytest.mark.parametrize("ttl_s", ["NaN", "Infinity", "1e999", "-1", "0", '"x"'])
def test_presence_lives_for_a_time_that_is_one(server, document, link, ttl_s):
    link.presence.set("good", {"x": 1})
    body = f'{{"state": {{}}, "ttl_s": {ttl_s}}}'.encode()
    assert ask(server, "PUT", f"/doc/{document}/presence/bad", body=body)[0] == 400
    assert link.presence.states() == {"good": {"x": 1}}


class MemoryHog(support.OpaqueNotes):
    def apply(self, context):
        if context.mutation.body.payload == b"hog":
            raise MemoryError
        super().apply(context)


def test_health_tells_of_documents_that_are_well_and_of_those_that_are_not(tmp_path, document, monkeypatch):
    monkeypatch.setattr("sqlsync.coordination.apply_thread._RETRY_S", 0.01)
    with support.running(tmp_path, load_reducer=MemoryHog, document_token="secret") as server:
        support.upload(server)
        link = HttpLink(server.url, document, reducer=support.OpaqueNotes(), token="secret")
        assert json.loads(ask(server, "GET", "/health")[1]) == {"status": "ok", "documents": 0, "troubled": 0}
        timeline = TimelineId.new()
        link.submit(timeline, [Mutation.captured(timeline, 0, Opaque(b"hog"))])
        assert applies(link)

        def broken(*_):
            raise SystemError("out of the blue")

        with monkeypatch.context() as patch:
            patch.setattr(type(server.served[document].coordinator), "step", broken)
            timeline = TimelineId.new()
            link.submit(timeline, [Mutation.captured(timeline, 0, Opaque(b"put\0a\x001"))])
            wait_for(lambda: json.loads(ask(server, "GET", "/health")[1])["status"] == "degraded")
            told = ask(server, "GET", "/health")[1]
            assert document not in told
            of_document = json.loads(ask(server, "GET", f"/doc/{document}/health", token="secret")[1])
            assert of_document["trouble"] == "SystemError: out of the blue"
            assert ask(server, "GET", f"/doc/{document}/health")[0] == 401
        wait_for(lambda: json.loads(ask(server, "GET", "/health")[1])["status"] == "ok")
        link.close()
