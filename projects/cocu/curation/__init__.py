"""Curation: which concepts an image shows that its caption leaves out (CoCu, Sec. 3.2 and 3.3)."""
