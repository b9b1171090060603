"""A volume's log and segments in the object store, as a replica reads them."""
