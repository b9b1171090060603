"""The order of pages by key, on a real B-tree with scattered pages."""

import random
from itertools import islice

import apsw
import pytest

from graft_sqlite_vfs.btree.key_order import KeyOrder, Parents

PAGE = 512


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A three-level table whose rows were inserted in random order, and its leaves in key order."""
    path = tmp_path_factory.mktemp("tree") / "plain.db"
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", PAGE)
    ids = list(range(20_000))
    random.Random(1).shuffle(ids)
    with connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((n, f"row {n:020d}") for n in ids))
    rows = connection.execute("SELECT path, pageno, pagetype FROM dbstat WHERE name = 't' ORDER BY path").fetchall()
    connection.close()
    data = path.read_bytes()
    leaves = [page for _, page, kind in rows if kind == "leaf"]
    interior = [page for _, page, kind in rows if kind == "internal"]
    return data, leaves, interior


def order_of(tree, known=None):
    data, _, interior = tree
    count = len(data) // PAGE
    parents = Parents()
    for page in known if known is not None else interior:
        parents.saw(page, data[(page - 1) * PAGE : page * PAGE], count)
    return KeyOrder(parents, lambda page: data[(page - 1) * PAGE : page * PAGE], count)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("start", [0, 7, 500, -1])
def test_leaves_follow_in_key_order_across_parents(tree, start, direction):
    _, leaves, interior = tree
    assert len(interior) > 20
    start = start % len(leaves)
    found = [page for page in order_of(tree).following(leaves[start], direction) if page not in set(interior)]
    assert found == (leaves[start + 1 :] if direction > 0 else leaves[:start][::-1])


def test_an_interior_page_comes_before_its_leaves(tree):
    _, leaves, interior = tree
    found = list(order_of(tree).following(leaves[0], 1))
    assert set(interior) & set(found)
    assert len(found) == len(set(found))


def test_interior_pages_that_are_not_here_end_the_order(tree):
    data, leaves, interior = tree
    count = len(data) // PAGE
    parents = Parents()
    for page in interior:
        parents.saw(page, data[(page - 1) * PAGE : page * PAGE], count)
    parent = parents.of(leaves[0])
    here = {parent, parents.of(parent)}
    order = KeyOrder(parents, lambda page: data[(page - 1) * PAGE : page * PAGE] if page in here else None, count)
    found = list(order.following(leaves[0], 1))
    family = [page for page in leaves if parents.of(page) == parent]
    assert found[: len(family) - 1] == family[1:]
    assert parents.of(found[len(family) - 1]) == parents.of(parent)


def test_pages_of_no_known_tree_go_by_number(tree):
    data, leaves, _ = tree
    assert list(order_of(tree, known=()).following(leaves[3], 1))[:3] == [leaves[3] + n for n in (1, 2, 3)]
    assert next(order_of(tree, known=()).following(len(data) // PAGE, 1), None) is None


def test_what_is_out_of_date_is_not_followed(tree):
    _, leaves, interior = tree
    order = order_of(tree)
    order._peek = lambda page: bytes(PAGE)
    assert next(order.following(leaves[9], 1)) == leaves[9] + 1
    assert interior


def test_pages_that_name_each_other_end_the_order():
    """As pages may that are out of date."""
    parents = Parents()
    bodies = {4: lone_parent_of(5), 5: lone_parent_of(4)}
    for page, data in bodies.items():
        parents.saw(page, data, 9)
    order = KeyOrder(parents, bodies.get, 9)
    assert order.distance(4, 5, 100) == 0
    assert list(order.following(4, 1)) == []


def lone_parent_of(page):
    return bytes([5]) + bytes(7) + page.to_bytes(4, "big") + bytes(PAGE - 12)


@pytest.mark.parametrize("steps_max", [5, 300, 5000])
def test_distances_are_those_of_the_way(tree, steps_max):
    """Also to and from interior pages; where some are not known, what they name is not near."""
    _, leaves, interior = tree
    chance = random.Random(8)
    for known in (None, interior[: len(interior) // 2]):
        order = order_of(tree, known)
        for start in [*chance.sample(leaves, 12), *chance.sample(interior, 3)]:
            expected = {}
            for direction in (1, -1):
                way = islice(order.following(start, direction), steps_max)
                expected.update((page, direction * steps) for steps, page in enumerate(way, 1))
            near = [*expected][:3] + [*expected][-3:] + chance.sample([*expected], min(len(expected), 40))
            for other in [*near, *chance.sample(leaves, 10), start]:
                found = order.distance(start, other, steps_max)
                assert found == expected.get(other, 0) or (known and not found and not named(order, other))


def named(order, page):
    """Whether a page and all above it, but the root, are known as somebody's children."""
    while order._parents.of(page):
        page = order._parents.of(page)
    return page == 2
