"""Small data files of the package; each names its source and licence."""
