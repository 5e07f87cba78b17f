"""Serving of finished runs: server, client and demo page."""
