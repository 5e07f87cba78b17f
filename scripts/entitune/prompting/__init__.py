"""Chats from sentences, and predictions from answers."""
