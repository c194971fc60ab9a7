"""The gateway at work: from a request to a binding, its books, and the calls to filters."""
