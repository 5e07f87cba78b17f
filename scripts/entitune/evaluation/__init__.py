"""Scores, error categories, audits of data, significance of differences."""
