"""Training rules that wrap any method's step, one file each."""
