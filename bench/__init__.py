"""Benchmarks: Sallyport and its peers on the same work, in one run, side by side."""
