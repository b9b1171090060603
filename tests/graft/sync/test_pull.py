"""A reader that pulls again and again, with never an idle second, and what its cache takes."""

from graft.sync.clone import clone
from graft.sync.pull import pull
from graft.sync.push import push
from tests.graft.support import fresh_store, leave, new_replica, small_settings


def test_replaced_pages_are_bounded_while_a_reader_pulls(tmp_path):
    store = fresh_store()
    settings = {"cache_bytes_max": 64 * 1024 * 1024, "cache_file_bytes": 256 * 1024, "page_size": 4096}
    writer = new_replica(tmp_path / "writer", store, inline_bytes_max=1024 * 1024, **settings)
    settings.pop("page_size")
    pages = 64
    with writer.begin(writer.snapshot()) as transaction:
        for page in range(1, pages + 1):
            transaction.write(page, page.to_bytes(4096, "little"))
        transaction.commit()
    push(writer)
    reader = clone(tmp_path / "reader", f"{store.url}#vol", store=store, settings=small_settings(**settings))
    most = 0
    for round_ in range(120):
        with writer.begin(writer.snapshot()) as transaction:
            for page in range(1, 33):
                transaction.write(page, (round_ * 1000 + page).to_bytes(4096, "little"))
            transaction.commit()
        push(writer)
        pull(reader)
        assert int.from_bytes(reader.snapshot().read(32), "little") == round_ * 1000 + 32
        most = max(most, reader.cache.use().bytes)
    assert most < 8 * pages * 4096, most
    leave(writer)
    leave(reader)
