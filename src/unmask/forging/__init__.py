"""Labelled forgeries of a manifest's real faces: made once on disk, or while a detector trains."""
