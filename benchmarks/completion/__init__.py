"""The benchmark of completions: how many a lake handles, and how soon what waits for them starts."""
