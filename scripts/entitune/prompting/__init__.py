"""From a sentence to a chat, and from an answer to a prediction."""
