"""From rows to weights: the training loops and what they write."""
