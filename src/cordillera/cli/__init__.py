"""The command line: `cordillera NOUN VERB`, on a lake in a folder or behind a server."""
