"""From a trained detector to the bundle that scans run, and from published checkpoints."""
