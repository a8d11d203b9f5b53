"""Tables and synthetic numbers."""
