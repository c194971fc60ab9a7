"""Protocol filters: one protocol's dialogue per file, written against the filter interface only."""
