"""Page order derived from SQLite's B-tree pages, for readahead and layout."""
