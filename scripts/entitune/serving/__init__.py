"""Finished runs behind a server: server, client and page."""
