"""The mapped counters stay readable after they were closed."""

from graft.disk.shared_counters import SharedCounters


def test_a_reader_that_is_left_does_not_make_closing_fail(tmp_path):
    """As a connection's read path is, until the collector has come to it."""
    counters = SharedCounters(tmp_path / "shared")
    reader = memoryview(counters.words)
    counters.close()
    assert reader[2] == 0, "still mapped"
    reader.release()
    again = SharedCounters(tmp_path / "shared")
    again.close()


def test_closing_twice(tmp_path):
    counters = SharedCounters(tmp_path / "shared")
    counters.close()
    counters.close()
