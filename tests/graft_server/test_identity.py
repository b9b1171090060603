"""Whose timelines are, over the network: secrets, principals, and clients that have neither."""

import pytest
from websockets.exceptions import ConnectionClosed

from sqlsync.documents.document import Document
from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import CoordinatorRefused, NotTheOwner, TimelineForked, TimelineGap
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from sqlsync.links.http_link import HttpLink
from testbed.patience import PATIENCE_S
from tests.graft_server import support
from tests.graft_server.support import MODULE, ask, digest_of
from tests.graft_server.wire_client import WireClient

TOKENS = {"ann": "token-of-ann", "bob": "token-of-bob"}


def mutation(timeline, lsn, payload=b"put\0a\x001", **more):
    return Mutation.captured(timeline, lsn, Opaque(payload), **more)


@pytest.fixture
def principals(tmp_path):
    """A server with a token for each principal."""
    with support.running(tmp_path / "server", document_tokens=TOKENS) as running:
        support.upload(running)
        yield running


@pytest.fixture
def links(document):
    made = []

    def link(server, token=None):
        made.append(HttpLink(server.url, document, reducer=support.OpaqueNotes(), token=token))
        return made[-1]

    yield link
    for each in made:
        each.close()


@pytest.fixture
def ann(server, document, links, tmp_path):
    with Document(
        tmp_path / "ann", f"{server.store.url}#{document}", support.OpaqueNotes(), link=links(server),
        actor="ann", store=server.store,
    ) as made:  # fmt: skip
        made.mutate(b"append\0a\x001")
        made.sync(wait_s=10)
        yield made


def append(document, value):
    receipt = document.mutate(f"append\0a\0{value}".encode())
    document.sync(wait_s=10)
    return receipt.state, dict(document.query("SELECT key, value FROM notes"))


def test_nobody_writes_to_a_timeline_without_its_secret(server, links, ann):
    stranger, timeline = links(server), ann.timeline
    for proof in (None, Proof(bytes(32), 1, None), Proof(bytes(32), 1, bytes(16)), Proof(None, 1, bytes(16))):
        for mutations in ([mutation(timeline, 1)], [mutation(timeline, 0)], []):
            with pytest.raises((NotTheOwner, TimelineForked, TimelineGap)):
                stranger.submit(timeline, mutations, rejections_seen=99, proof=proof)
    assert append(ann, "2") == ("confirmed", {"a": "12"})


def test_a_published_client_cannot_take_the_timeline_of_another(server, document, ann):
    thief = WireClient(document)
    thief.id = ann.timeline.raw
    for _ in range(2):  # the first one is there already
        thief.mutate("put", "a", "stolen")
    with pytest.raises(ConnectionClosed) as caught:
        thief.connect(server.websocket_url(document)).settle(lambda _: False)
    assert caught.value.rcvd.code == 4403
    assert append(ann, "2") == ("confirmed", {"a": "12"})


@pytest.mark.parametrize(
    ("header", "query"),
    [("x", ""), ("00", ""), ("zz" * 32, ""), ("00" * 33, ""), (None, "&link=00&first=0"), (None, f"&link={'0' * 32}"),
     (None, "&first=0"), (None, f"&link={'0' * 32}&first=-1"), (None, f"&link={'0' * 32}&first={10**20}")],
)  # fmt: skip
def test_proofs_that_make_no_sense_are_refused(server, document, header, query):
    import urllib3

    url = f"{server.url}/doc/{document}/timelines/{TimelineId.new()}?reducer={digest_of(MODULE)}{query}"
    headers = {} if header is None else {"Graft-Timeline-Secret": header}
    assert urllib3.request("POST", url, headers=headers, body=b"", retries=False).status == 400


def test_many_bytes_of_one_timeline_go_on_over_several_requests(server, links):
    link, timeline = links(server), TimelineId.new()
    large = [mutation(timeline, lsn, b"put\0a\0" + bytes([65 + lsn]) * 3_000_000) for lsn in range(3)]
    secret = bytes(range(32))
    assert link.submit(timeline, large, proof=Proof(secret, 0, bytes(16))).next_lsn == 3
    assert link.submit(timeline, large, proof=Proof(secret, 0, bytes(16))).next_lsn == 3


def test_an_author_is_its_token_s_principal(principals, links):
    ann, bob, timeline = links(principals, TOKENS["ann"]), links(principals, TOKENS["bob"]), TimelineId.new()
    with pytest.raises(NotTheOwner, match="names the actor 'bob'"):
        ann.submit(timeline, [mutation(timeline, 0, actor="bob")])
    ann.submit(timeline, [mutation(timeline, 0)])
    assert ann.wait(timeline, 0, timeout_s=PATIENCE_S).applied == 0
    with pytest.raises(NotTheOwner, match="another principal"):
        bob.submit(timeline, [mutation(timeline, 1)])
    with pytest.raises(NotTheOwner):
        bob.submit(timeline, [], rejections_seen=5)
    assert ann.submit(timeline, [mutation(timeline, 1)]).next_lsn == 2


def test_a_published_client_is_bound_to_the_principal_of_its_connection(principals, document):
    def url(who):
        return principals.websocket_url(document) + f"&token={TOKENS[who]}"

    ann = WireClient(document).connect(url("ann"))
    ann.mutate("put", "a", "1")
    ann.settle()
    thief = WireClient(document)
    thief.id = ann.id
    for _ in range(2):  # the first one is there already
        thief.mutate("put", "a", "stolen")
    with pytest.raises(ConnectionClosed) as caught:
        thief.connect(url("bob")).settle(lambda _: False)
    assert caught.value.rcvd.code == 4403
    ann.mutate("put", "b", "2")
    ann.settle()
    assert ann.notes() == {"a": "1", "b": "2"}
    ann.disconnect()


def test_authors_that_nothing_tells_apart_can_be_kept_out(tmp_path, document, links):
    with support.running(tmp_path, anonymous_timelines=False, document_token="all") as server:
        support.upload(server)
        with pytest.raises(ConnectionClosed) as caught:
            WireClient(document).connect(server.websocket_url(document) + "&token=all").settle()
        assert caught.value.rcvd.code == 4401
        link, timeline = links(server, "all"), TimelineId.new()
        with pytest.raises(CoordinatorRefused, match="without their timeline's secret"):
            link.submit(timeline, [mutation(timeline, 0)])
        proof = Proof(bytes(range(32)), 0, bytes(16))
        assert link.submit(timeline, [mutation(timeline, 0)], proof=proof).next_lsn == 1


def test_presence_of_a_client_is_its_principal_s(principals, document):
    path = f"/doc/{document}/presence/cursor?reducer={digest_of(MODULE)}"
    body = b'{"state": {"x": 1}}'
    assert ask(principals, "PUT", path, token=TOKENS["ann"], body=body)[0] == 204
    for method in ("PUT", "DELETE"):
        assert ask(principals, method, path, token=TOKENS["bob"], body=body)[0] == 403
    assert ask(principals, "DELETE", path, token=TOKENS["ann"])[0] == 204
    assert ask(principals, "PUT", path, token=TOKENS["bob"], body=body)[0] == 204


def test_a_client_without_a_secret_is_told_when_somebody_wrote_in_its_name(server, document):
    url = server.websocket_url(document)
    victim = WireClient(document).connect(url)
    victim.mutate("put", "a", "1")
    victim.settle()
    thief = WireClient(document)
    thief.id = victim.id
    for payload in ("1", "stolen"):
        thief.mutate("put", "a", payload)
    thief.connect(url).settle()
    victim.mutate("put", "a", "2")  # with the same LSN: refused, not confirmed
    with pytest.raises(ConnectionClosed) as caught:
        victim.settle(lambda _: False)
    assert caught.value.rcvd.code == 4410
    thief.disconnect()
    victim.disconnect()
