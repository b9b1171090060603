"""A task board that two people edit at once, offline too: ``python -m examples.board``.

Three ways to settle a conflict, side by side: the newest title wins; fields of a card are merged one by one; a seat in
the review is given once, and who comes too late is told.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from sqlsync.reducers.reducer import ReducerContext
from sqlsync.reducers.strategies import last_writer_wins, merge_by_field, reject_on_conflict


class Board(PythonReducer):
    """What can be done to a board."""

    @migration(1)
    def tables(self, ctx: ReducerContext) -> None:
        """Begin with empty tables."""
        ctx.execute(
            "CREATE TABLE title (id INTEGER PRIMARY KEY, text TEXT, stamp TEXT);"
            "CREATE TABLE cards (id TEXT PRIMARY KEY, text TEXT, colour TEXT, stamps TEXT);"
            "CREATE TABLE seats (meeting TEXT PRIMARY KEY, holder TEXT, version INTEGER)"
        )

    @mutation
    def rename(self, ctx: ReducerContext, text: str) -> None:
        """Give the board a title: the newest wins, whenever it arrives."""
        last_writer_wins(ctx, "title", {"id": 1}, {"text": text})

    @mutation
    def edit(self, ctx: ReducerContext, card: str, text: str | None = None, colour: str | None = None) -> None:
        """Change a card: what one person did to the text and another to the colour are both kept."""
        changes = {name: value for name, value in (("text", text), ("colour", colour)) if value is not None}
        merge_by_field(ctx, "cards", {"id": card}, changes)

    @mutation
    def sit(self, ctx: ReducerContext, meeting: str, seen: int = 0) -> None:
        """Take the seat in a meeting, as it was seen: one person gets it, the other is told."""
        reject_on_conflict(ctx, "seats", {"meeting": meeting}, {"holder": ctx.actor}, expected=seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story; the first argument may name a directory to keep it in."""
    given = sys.argv[1:] if arguments is None else arguments
    with ExitStack() as stack:
        directory = Path(given[0] if given else stack.enter_context(tempfile.TemporaryDirectory(prefix="board-")))
        remote = f"{directory / 'remote'}#board"
        coordinator = stack.enter_context(Coordinator(directory / "coordinator", remote, Board()))

        def client(name: str) -> Document:
            link = LocalLink(coordinator)  # over a network: sqlsync.http_link.HttpLink
            found = Document(directory / name, remote, Board(), link=link, actor=name, on_rejected="keep")
            return stack.enter_context(found)

        ann, bob = client("ann"), client("bob")
        ann.mutate("edit", card="1", text="Write the report", colour="white")
        _meet(coordinator, ann, bob)

        print("Ann and Bob go offline, and go on.")
        ann.mutate("rename", text="Ann's board")
        ann.mutate("edit", card="1", text="Write the report, in ink")
        ann.mutate("sit", meeting="review")
        bob.mutate("rename", text="The board")
        bob.mutate("edit", card="1", colour="red")
        late = bob.mutate("sit", meeting="review")
        print(f"Bob sees himself in the review: {bob.query('SELECT holder FROM seats')[0][0]!s}")

        print("They come back.")
        _meet(coordinator, ann, bob)
        for question in ("SELECT text FROM title", "SELECT text, colour FROM cards", "SELECT holder FROM seats"):
            answers = [document.query(question) for document in (ann, bob)]
            assert answers[0] == answers[1], "BUG: they did not converge"
            print(f"{question}: {', '.join(map(str, answers[0][0]))}")
        print(f"Bob's seat is {late.state}: {late.reason}")
    print("board: ok")
    return 0


def _meet(coordinator: Coordinator, *clients: Document) -> None:
    """Hand over what all called, apply it, and let all see it; `start` of each does this in a thread."""
    for document in clients:
        document.sync()
    while coordinator.step():
        pass
    for document in clients:
        document.sync()


if __name__ == "__main__":
    sys.exit(main())
