"""A task board that two people edit at the same time, also offline: ``python -m examples.board``.

It shows three ways to resolve a conflict: the newest title wins; the fields of a card are merged separately; one person
gets the seat in the review, and the other's call is rejected.
"""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlsync import (
    Coordinator,
    Document,
    LocalLink,
    PythonReducer,
    ReducerContext,
    last_writer_wins,
    merge_by_field,
    migration,
    mutation,
    reject_on_conflict,
)


class Board(PythonReducer):
    """The mutations of a board."""

    @migration(1)
    def tables(self, ctx: ReducerContext) -> None:
        """Create the empty tables."""
        ctx.execute(
            "CREATE TABLE title (id INTEGER PRIMARY KEY, text TEXT, stamp TEXT);"
            "CREATE TABLE cards (id TEXT PRIMARY KEY, text TEXT, colour TEXT, stamps TEXT);"
            "CREATE TABLE seats (meeting TEXT PRIMARY KEY, holder TEXT, version INTEGER)"
        )

    @mutation
    def rename(self, ctx: ReducerContext, text: str) -> None:
        """Set the board's title: the newest call wins, whenever it arrives."""
        last_writer_wins(ctx, "title", {"id": 1}, {"text": text})

    @mutation
    def edit(self, ctx: ReducerContext, card: str, text: str | None = None, colour: str | None = None) -> None:
        """Change a card: one person's change of the text and another's of the colour both take effect."""
        changes = {name: value for name, value in (("text", text), ("colour", colour)) if value is not None}
        merge_by_field(ctx, "cards", {"id": card}, changes)

    @mutation
    def sit(self, ctx: ReducerContext, meeting: str, seen: int = 0) -> None:
        """Take the seat in a meeting, if it is still as it was seen; otherwise the call is rejected."""
        reject_on_conflict(ctx, "seats", {"meeting": meeting}, {"holder": ctx.actor}, expected=seen)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; the first argument may name a directory to use instead of a temporary one."""
    given = sys.argv[1:] if arguments is None else arguments
    with ExitStack() as stack:
        directory = Path(given[0] if given else stack.enter_context(tempfile.TemporaryDirectory(prefix="board-")))
        remote = f"{directory / 'remote'}#board"
        coordinator = stack.enter_context(Coordinator(directory / "coordinator", remote, Board()))

        def client(name: str) -> Document:
            link = LocalLink(coordinator)  # over a network: sqlsync.links.http_link.HttpLink
            found = Document(directory / name, remote, Board(), link=link, actor=name, on_rejected="keep")
            return stack.enter_context(found)

        ann, bob = client("ann"), client("bob")
        ann.mutate("edit", card="1", text="Write the report", colour="white")
        _meet(coordinator, ann, bob)

        print("Ann and Bob go offline, and keep editing.")
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
    """Submit all mutations, apply them, and pull the result everywhere; `start` does this in threads."""
    for document in clients:
        document.sync()
    while coordinator.step():
        pass
    for document in clients:
        document.sync()


if __name__ == "__main__":
    sys.exit(main())
