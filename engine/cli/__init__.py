"""Settings, command lines, exit codes and signals."""
