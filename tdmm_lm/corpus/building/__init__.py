"""How a recipe becomes shards and a card: its settings, rows, runners, counts and checks."""
