"""The page map: page index to location, copy on write."""
