"""Configuration: a TOML file, or two interface names, read into values that have a meaning."""
