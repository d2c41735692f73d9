"""One file per attack on a detector or encoder; the file's name is the attack's name.

Attacks measure our own models: how small a change of a forgery makes a detector call it real, and what a defence gains.
"""
