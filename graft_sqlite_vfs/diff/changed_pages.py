"""The pages of each table in which two versions may hold different rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graft.operations.changes import differing_pages
from graft_sqlite_vfs.btree.cells import TABLE_INTERIOR, children_of, first_key, kind_of
from graft_sqlite_vfs.diff.leaves import PageSet, TreePages, all_changed, guided, guides_to, page_set
from graft_sqlite_vfs.diff.version import Version


@dataclass(frozen=True, slots=True)
class Sides:
    """The pages of one table's tree that differ, in each of the two versions."""

    before: TreePages
    after: TreePages

    @property
    def differ(self) -> bool:
        """Whether there are any."""
        return bool(self.before.all() or self.after.all())

    def row_pages(self, before: Version, after: Version) -> tuple[list[int], list[int]]:
        """Return the pages with rows, of a table with rowids in key order, without those whose bytes are the same."""
        mine, theirs = self.before.rows(), self.after.rows()
        both = set(mine).intersection(theirs)
        before.bring(both)
        after.bring(both)
        alike = {page for page in both if before.page(page) == after.page(page)}
        return (
            _in_key_order(before, [page for page in mine if page not in alike], bool(self.before.moved)),
            _in_key_order(after, [page for page in theirs if page not in alike], bool(self.after.moved)),
        )


class ChangedPages:
    """The pages that differ between two versions, and the trees that they belong to."""

    def __init__(self, before: Version, after: Version) -> None:
        """Compare the page maps; reads no page."""
        self._before, self._after = before, after
        self.pages: Sequence[int] = differing_pages(before.snapshot.page_map, after.snapshot.page_map).tolist()
        self._in_before = page_set(self.pages, before.page_count)
        self._in_after = page_set(self.pages, after.page_count)

    def of_tables(self, roots: Sequence[int]) -> dict[int, Sides]:
        """Return what differs in the trees of tables with rowids that have the same root page in both versions."""
        if not self.pages or not roots:
            return {root: Sides(TreePages(), TreePages()) for root in roots}
        after = self._found(self._after, self._in_after, roots)
        # A tree without a changed interior page has the same leaves in both versions.
        reshaped = [root for root in roots if after[root].interior or self._is_changed(root)]
        before = {root: replace(found, interior=[]) for root, found in after.items()}
        if reshaped:
            before |= self._found(self._before, self._in_before, reshaped)
        for root in reshaped:
            self._add_moved(before[root], after[root])
        return {root: Sides(before[root], after[root]) for root in roots}

    def of_tree(self, before_root: int | None, after_root: int | None) -> Sides:
        """Return what differs between trees of any kind, by reading all their interior pages; None: there is no tree.

        Interior pages are among the ``leaves``, since those of a table without rowids hold rows.
        """
        mine, theirs = _every_page(self._before, before_root), _every_page(self._after, after_root)
        if before_root == after_root:
            changed = set(self.pages)
            shared = {page for page in set(mine).intersection(theirs) if page not in changed}
            mine, theirs = ([page for page in pages if page not in shared] for pages in (mine, theirs))
        return Sides(TreePages(leaves=mine), TreePages(leaves=theirs))

    def all_row_pages(self, root: int) -> list[int]:
        """Return all pages of a tree of the newer version that hold rows."""
        return _every_page(self._after, root)

    def _is_changed(self, root: int) -> bool:
        return bool(self._in_after[root]) if root < len(self._in_after) else True

    def _found(self, version: Version, changed: PageSet, roots: Sequence[int]) -> dict[int, TreePages]:
        mine = [page for page in self.pages if page <= version.page_count]
        version.bring(mine)
        return guided(version, roots, changed, guides_to(version, mine))

    def _add_moved(self, before: TreePages, after: TreePages) -> None:
        """Find the subtrees that came into the tree or left it without being written."""
        mine = _children(self._before, before.interior)
        theirs = _children(self._after, after.interior)
        changed = set(self.pages)
        before.moved = [leaf for page in mine - theirs - changed for leaf in _every_page(self._before, page)]
        after.moved = [leaf for page in theirs - mine - changed for leaf in _every_page(self._after, page)]


def _children(version: Version, interior: Iterable[int]) -> set[int]:
    return {child for page in interior for child in children_of(version.page(page), page).tolist()}


def _every_page(version: Version, root: int | None) -> list[int]:
    """Return the pages of a tree that hold rows; of a table's, in key order."""
    if root is None:
        return []
    found = all_changed(version, root, page_set(range(1, version.page_count + 1), version.page_count))
    holds_rows = not found.interior or kind_of(version.page(root), root) != TABLE_INTERIOR
    return found.leaves + found.interior if holds_rows else found.leaves


def _in_key_order(version: Version, leaves: list[int], is_mixed: bool) -> list[int]:
    """Return leaves in key order; those that moved come behind the others, and an empty leaf is a root alone."""
    if not is_mixed:
        return leaves
    keys = {leaf: first_key(version.page(leaf), leaf) for leaf in leaves}
    return sorted((leaf for leaf in leaves if keys[leaf] is not None), key=lambda leaf: keys[leaf] or 0)
