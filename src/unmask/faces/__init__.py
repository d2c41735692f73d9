"""frames -> faces: find, align, track."""
