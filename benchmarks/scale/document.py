"""The tables of docs/scale.md, made from figures; pure."""

from collections.abc import Iterable, Sequence

from benchmarks.scale.costs import Assumptions, Prices, month, opening
from benchmarks.scale.figures import LogFigures

READERS = (10, 10_000)
PUSHES_PER_S = (1, 100)


def document(
    text: str, rows: Sequence[LogFigures], prices: Prices | None = None, assumed: Assumptions | None = None
) -> str:
    """Return the page with its tables replaced; the text between them stays."""
    prices, assumed = prices or Prices(), assumed or Assumptions()
    tables = {
        "log": _log_table(rows),
        "opening": _opening_table(rows),
        "month": _inputs(prices, assumed) + _month_table(rows, prices, assumed),
    }
    for name, table in tables.items():
        begin, end = f"<!-- figures: {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no place for the figures {name!r}")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def _log_table(rows: Sequence[LogFigures]) -> str:
    titles = (
        "volume", "commits", "bases", "pages listed", "index, mean", "newest base",
        "composed", "asked for", "cold index",
    )  # fmt: skip
    return _table(
        titles,
        (
            (
                row.volume, f"{row.commits:,}", str(row.bases), f"{row.entries_mean:.1f}", _bytes(row.index_bytes_mean),
                _bytes(row.index_bytes_base), f"{row.chain_mean:.1f}, {row.chain_max}",
                f"{row.requests_mean:.1f}, {row.requests_max}", _bytes(row.cold_index_bytes),
            )
            for row in rows
        ),
    )  # fmt: skip


def _opening_table(rows: Sequence[LogFigures]) -> str:
    found = [opening(row) for row in rows if row.commits in {1_000, 1_000_000, 10_000_000}]
    titles = ("volume", "commits", "round trips", "requests", "bytes", "memory, 1 % touched", "memory, all touched")
    return _table(
        titles,
        (
            (
                each.volume, f"{each.commits:,}", str(each.round_trips), f"{each.requests:.0f}",
                _bytes(each.head_bytes), _bytes(each.memory_small_bytes), _bytes(each.memory_all_bytes),
            )
            for each in found
        ),
    )  # fmt: skip


def _inputs(prices: Prices, assumed: Assumptions) -> str:
    return (
        f"Prices (`benchmarks/scale/costs.py`): ${prices.put * 1000:g} for 1,000 PUTs or listings, "
        f"${prices.get * 1000:g} for 1,000 GETs,\n${prices.gb_month:g} for a GB and month, "
        f"${prices.gb_out:g} for a GB out of the region.\n"
        f"Assumed: {assumed.pages_per_commit} pages a commit, compressed to 1/{assumed.compression:g}; every reader "
        f"follows, looking each {assumed.follow_interval_s:g} s\nwithin {assumed.follow_requests_per_hour:,} requests "
        f"an hour, and reads {assumed.read_share:.0%} of the volume in the month.\n\n"
    )


def _month_table(rows: Sequence[LogFigures], prices: Prices, assumed: Assumptions) -> str:
    longest = {row.volume: row for row in rows}
    titles = (
        "volume", "readers", "commits/s", "PUT", "GET", "LIST", "stored", "received", "lag at most",
        "requests", "storage", "traffic, if outside",
    )  # fmt: skip
    cases = [
        month(row, readers, pushes, prices, assumed)
        for row in longest.values()
        for readers in READERS
        for pushes in PUSHES_PER_S
    ]
    return _table(
        titles,
        (
            (
                case.volume, f"{case.readers:,}", f"{case.pushes_per_s:g}", _count(case.put_requests),
                _count(case.get_requests), _count(case.list_requests), f"{case.stored_gb:,.1f} GB",
                f"{case.received_gb:,.0f} GB", f"{case.lag_s:.1f} s", f"${case.dollars_requests:,.0f}",
                f"${case.dollars_storage:,.0f}", f"${case.dollars_traffic:,.0f}",
            )
            for case in cases
        ),
    )  # fmt: skip


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(titles) + " |", "| --- |" + " ---: |" * (len(titles) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
        count /= 1000
    raise AssertionError("BUG: the last unit takes everything")


def _count(count: float) -> str:
    for unit in ("", " k", " M", " G"):
        if count < 1000 or unit == " G":
            return f"{count:.3g}{unit}" if count < 1000 else f"{count:,.0f}{unit}"
        count /= 1000
    raise AssertionError("BUG: the last unit takes everything")
