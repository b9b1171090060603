"""What SQLite's B-tree pages tell about the order of pages."""
