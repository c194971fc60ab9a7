"""What keeps a benchmark from being made, in one line for the report."""


class Absent(Exception):
    """This setup cannot be measured in this way here; the message says why."""
