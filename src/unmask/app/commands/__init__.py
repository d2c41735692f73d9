"""One file for each command or group. Imports of other packages stand inside the functions: help must be quick."""
