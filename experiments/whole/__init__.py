"""Whole images: a truncated network tuned in folds, and measured on generators and cameras that no fold of it saw.

    python -m experiments.whole.material MEDIA.csv --out MATERIAL
    python -m experiments.whole.round_trips MATERIAL --taef2 FOLDER
    python -m experiments.whole.tune MATERIAL --start mobilenet_v2.safetensors --out WEIGHTS/B.safetensors --without ...
    python -m experiments.whole.score MATERIAL WEIGHTS/A.safetensors ... --out SCORES
    python -m experiments.whole.table MATERIAL SCORES

MEDIA.csv has the columns source, label (real, fake), method, group and path; files of one leakage group share `group`.
`sources.py` says which sources belong together, and what each fold leaves out. docs/tables/whole-images.md has what
came of it.
"""
