"""Text pieces and the joint vocabulary of text and motion codes."""
