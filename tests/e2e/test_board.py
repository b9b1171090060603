"""The example of a document: its story ends the way its comments say, also when it is told again."""

from examples.board import main


def test_the_story_of_the_board(tmp_path, capsys):
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "Bob sees himself in the review: bob" in told
    assert "SELECT text FROM title: The board" in told
    assert "SELECT text, colour FROM cards: Write the report, in ink, red" in told
    assert "SELECT holder FROM seats: ann" in told
    assert "Bob's seat is rejected: seats meeting 'review' was changed by another client" in told
    assert told.endswith("board: ok\n")
