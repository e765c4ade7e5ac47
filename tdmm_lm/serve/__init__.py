"""The chat endpoint. Every file is one step."""
