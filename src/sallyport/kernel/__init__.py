"""Effects on netfilter: two tables of ours, their elements, and the flows they admit."""
