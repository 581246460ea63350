"""Explains searches: reads run folders and never writes to them."""
