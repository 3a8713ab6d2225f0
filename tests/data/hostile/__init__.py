"""Hostile and unlucky files, and the proof that nothing but a typed error comes of them.

An input is a kind and a number: the same ones give the same bytes. ``python -m tests.data.hostile
--count=10000 --seed=0`` runs that many of every kind in turn, in processes of their own, and ends
with 1 if one of them hung, died, took too much memory, opened a file outside the source, wrote one
outside the output, raised anything but the two errors of the package, or an error that does not
name a file.
"""
