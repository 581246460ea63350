"""Explains: reads run folders, never writes there; numbers first, then charts."""
