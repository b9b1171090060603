"""The cache of frames in the replica: files, index, cleaning."""
