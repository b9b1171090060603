"""Tags, the list of branches, deleting them, and replicas that move from one to another."""

import pytest

from graft.errors import (
    BadRequest,
    HistoryLost,
    NoSuchVersion,
    NoSuchVolume,
    OtherVolume,
    TagExists,
    VolumeExists,
)  # fmt: skip
from graft.sync.branches import delete_branch, list_branches
from graft.sync.clone import init
from graft.sync.fork import fork
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.switch import switch
from graft.sync.tags import delete_tag, list_tags, tag
from graft.sync.time_travel import snapshot_at
from tests.graft.support import as_other_process, commit
from tests.graft.sync.test_branches import MAIN, Family, content, written


@pytest.fixture
def family(tmp_path):
    made = Family(tmp_path)
    yield made
    for replica in made.open:
        replica.close()


class TestTags:
    def test_a_tag_names_a_version_in_three_requests(self, family):
        spent = family.spent(lambda: tag(family.main, "v1", 2, message="two"))
        assert (spent.conditional_puts, spent.requests) == (1, 3)
        assert content(snapshot_at(family.main, "v1")) == written(*MAIN[:2])
        (found,) = list_tags(family.main)
        assert (found.name, found.lsn, found.message, found.inherited) == ("v1", 2, "two", False)

    def test_the_newest_version_is_the_default(self, family):
        assert tag(family.main, "now").lsn == 4
        commit(family.main, [1], "local")
        with pytest.raises(BadRequest, match="push them first"):
            tag(family.main, "later")
        assert tag(family.main, "then", 4).lsn == 4

    def test_a_tag_stays_unless_it_is_forced(self, family):
        tag(family.main, "v1", 2)
        assert tag(family.main, "v1", 2).lsn == 2
        with pytest.raises(TagExists, match="LSN 2"):
            tag(family.main, "v1", 3)
        assert content(snapshot_at(family.main, "v1")) == written(*MAIN[:2])
        tag(family.main, "v1", 3, force=True)
        assert content(snapshot_at(family.main, "v1")) == written(*MAIN[:3])

    def test_a_deleted_tag_is_gone(self, family):
        tag(family.main, "v1", 2)
        assert delete_tag(family.main, "v1").lsn == 2
        assert list_tags(family.main) == []
        with pytest.raises(NoSuchVersion, match="has no tag v1"):
            delete_tag(family.main, "v1")

    @pytest.mark.parametrize(("name", "at"), [("7", None), ("head", None), ("a b", None), ("v1", 0)])
    def test_what_cannot_be_tagged(self, family, name, at):
        with pytest.raises(BadRequest):
            tag(family.main, name, at)
        assert list_tags(family.main) == []

    def test_an_unknown_version_says_what_there_is(self, family):
        for name in ("release-1", "release-2"):
            tag(family.main, name, 2)
        fork(family.main, "trial")
        with pytest.raises(NoSuchVersion, match="did you mean release-2 or release-1"):
            snapshot_at(family.main, "releaze-2")
        with pytest.raises(NoSuchVersion, match="did you mean trial"):
            snapshot_at(family.main, "trail")
        with pytest.raises(NoSuchVersion, match="has LSN 0 to 4, not 9"):
            tag(family.main, "v1", 9)
        with pytest.raises(NoSuchVersion, match="no tag or branch can be called so"):
            snapshot_at(family.main, "a/b")
        with pytest.raises(NoSuchVolume, match="did you mean trial"):
            snapshot_at(family.main, "trail@head")

    def test_a_tag_does_not_stand_for_what_took_the_place_of_its_commit(self, family):
        tag(family.main, "v1", 2)
        keys = sorted(found.key for found in family.store.list(f"logs/{family.main.log}/commits/"))
        family.store.delete(keys[-2])
        other = family.clone("vol", "other")
        with pytest.raises(HistoryLost):
            snapshot_at(other, "v1")
        with pytest.raises(HistoryLost):
            tag(other, "v2", 2)

    def test_versions_of_other_branches(self, family):
        tag(family.main, "v1", 2)
        fork(family.main, "b", at=3)
        branch = family.clone("b")
        family.push(branch, 1, "branch 4")
        tag(branch, "mine")
        tag(branch, "v1", 3)
        family.push(family.main, 1, "main 5")
        tag(family.main, "late")
        assert content(snapshot_at(family.main, "b")) == content(branch.snapshot())
        for text in ("b@mine", "b@4", "b@head"):
            assert content(snapshot_at(family.main, text)) == content(branch.snapshot())
        assert content(snapshot_at(family.main, "b@v1")) == written(*MAIN[:3])
        assert content(snapshot_at(branch, "vol@v1")) == written(*MAIN[:2])
        assert content(snapshot_at(branch, "late")) == written("main 5", *MAIN[1:])
        assert content(snapshot_at(branch, "head")) == content(branch.snapshot())
        assert [(found.name, found.inherited) for found in list_tags(branch)] == [
            ("late", True), ("mine", False), ("v1", False),
        ]  # fmt: skip

    def test_a_branch_from_a_tag_that_is_not_on_ones_own_line(self, family):
        fork(family.main, "b", at=2)
        tag(family.main, "late", 4)
        branch = family.clone("b")
        assert fork(branch, "c", at="late").lsn == 4
        found = family.clone("c")
        assert content(found.snapshot()) == written(*MAIN)
        assert content(snapshot_at(found, 3)) == written(*MAIN[:3])


class TestBranches:
    def test_they_are_listed_with_their_parents(self, family):
        fork(family.main, "b", at=3)
        branch = family.clone("b")
        family.push(branch, 1, "branch 4")
        fork(branch, "c")
        init(family.path / "unrelated", f"{family.store.url}#unrelated", store=family.store, page_size=512).close()
        for replica, current in ((family.main, "vol"), (branch, "b")):
            found = list_branches(replica)
            assert [(each.name, each.lsn, each.parent, each.start) for each in found] == [
                ("b", 4, "vol", 3), ("c", 4, "b", 4), ("vol", 4, None, 0),
            ]  # fmt: skip
            assert [each.name for each in found if each.current] == [current]

    def test_deleting_one(self, family):
        fork(family.main, "b")
        reader = family.clone("b")
        assert delete_branch(family.main, "b").lsn == 4
        assert [each.name for each in list_branches(family.main)] == ["vol"]
        commit(reader, [1], "late")
        with pytest.raises(NoSuchVolume, match="was removed"):
            push(reader)
        init(family.path / "new", f"{family.store.url}#new", store=family.store).close()  # no log counts as lost
        fork(family.main, "b")

    def test_what_is_not_deleted(self, family):
        fork(family.main, "b")
        branch = family.clone("b")
        family.push(branch, 1, "branch 5")
        fork(branch, "c")
        init(family.path / "unrelated", f"{family.store.url}#unrelated", store=family.store, page_size=512).close()
        for replica, name, error, why in (
            (branch, "b", BadRequest, "switch to another"),
            (branch, "vol", BadRequest, "was forked from no other"),
            (family.main, "b", BadRequest, "needed by c"),
            (family.main, "unrelated", OtherVolume, "no version in common"),
            (family.main, "bb", NoSuchVolume, "did you mean"),
        ):
            with pytest.raises(error, match=why):
                delete_branch(replica, name, force=True)
        delete_branch(family.main, "c")
        with pytest.raises(BadRequest, match="commits of its own, up to LSN 5"):
            delete_branch(family.main, "b")
        delete_branch(family.main, "b", force=True)


class TestSwitch:
    def test_there_and_back(self, family):
        fork(family.main, "b", at=3)
        branch = family.clone("b")
        family.push(branch, 1, "branch 4")
        done = switch(family.main, "b")
        assert (done.before, done.after, done.lsn) == ("vol", "b", 4)
        assert family.main.name == "b"
        assert content(family.main.snapshot()) == content(branch.snapshot())
        family.push(family.main, 2, "from here 5")
        pull(branch)
        assert content(branch.snapshot()) == content(family.main.snapshot())
        switch(family.main, "vol")
        assert content(family.main.snapshot()) == written(*MAIN)
        assert family.push(family.main, 1, "main 5") == 5

    def test_to_a_new_branch_in_two_requests_and_a_push_in_one(self, family):
        """Its name, and whether a collector gave up the version meanwhile."""
        spent = family.spent(lambda: switch(family.main, "b", create=True))
        assert (spent.conditional_puts, spent.lists, spent.requests) == (1, 1, 2)
        assert family.spent(lambda: family.push(family.main, 1, "branch 5")).requests == 1
        assert content(family.clone("b").snapshot()) == written("branch 5", *MAIN[1:])
        assert content(family.clone("vol", "other").snapshot()) == written(*MAIN)

    def test_local_commits_go_along_to_a_new_branch(self, family):
        commit(family.main, [1], "local")
        done = switch(family.main, "b", create=True)
        assert (done.carried_commits, done.discarded_commits) == (1, 0)
        commit(family.main, [2], "more")
        assert push(family.main).after == 5
        assert content(family.clone("b").snapshot()) == written("local", "more", *MAIN[2:])
        switch(family.main, "vol")
        assert content(family.main.snapshot()) == written(*MAIN)

    def test_local_commits_are_not_taken_elsewhere(self, family):
        fork(family.main, "b", at=2)
        commit(family.main, [1], "local")
        for call in (lambda: switch(family.main, "b"), lambda: switch(family.main, "c", create=True, at=2)):
            with pytest.raises(BadRequest, match="push them first"):
                call()
        assert (family.main.name, family.main.snapshot().local_commits) == ("vol", 1)
        assert [each.name for each in list_branches(family.main)] == ["b", "vol"]
        assert switch(family.main, "b", discard=True).discarded_commits == 1
        assert content(family.main.snapshot()) == written(*MAIN[:2])

    def test_another_process_follows(self, family):
        fork(family.main, "b", at=2)
        other = as_other_process(family.main.path, family.store)
        try:
            before = other.snapshot()
            switch(family.main, "b")
            assert content(other.snapshot()) == written(*MAIN[:2])
            assert other.name == "b"
            assert other.snapshot().history != before.history
            commit(other, [1], "theirs")
            assert push(other).after == 3
            assert content(before) == written(*MAIN), "a reader keeps its version"
        finally:
            other.close_now()

    def test_it_is_still_there_after_reopening(self, family):
        commit(family.main, [1], "local")
        switch(family.main, "b", create=True)
        other = as_other_process(family.main.path, family.store)
        try:
            assert (other.name, other.snapshot().local_commits) == ("b", 1)
            assert push(other).after == 5
        finally:
            other.close_now()

    def test_what_is_refused(self, family):
        fork(family.main, "b")
        init(family.path / "u", f"{family.store.url}#u", store=family.store, page_size=512).close()
        with pytest.raises(NoSuchVolume):
            switch(family.main, "bb")
        with pytest.raises(OtherVolume, match="no branch of volume vol"):
            switch(family.main, "u")
        with pytest.raises(VolumeExists):
            switch(family.main, "b", create=True)
        with pytest.raises(VolumeExists):
            switch(family.main, "vol", create=True)
        with pytest.raises(BadRequest):
            switch(family.main, "b", at=2)
        assert switch(family.main, "vol").lsn == 4
        assert family.main.name == "vol"
