"""Explains: reads run folders and result files; numbers first, then drawings."""
