"""Published experiments, run in full; each writes a record that the book's tables are made from."""
