"""What frames, codecs and dictionaries cost: sizes counted, time by a model of the network."""
