"""What the package, the book and the repository must satisfy."""
