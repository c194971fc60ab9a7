"""The load: an FTP server and clients that do little else than what is measured."""
