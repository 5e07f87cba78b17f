"""Scores, error categories, audits of corpora, and significance tests."""
