"""Curation: concepts that an image shows but its caption omits (CoCu, Sec. 3.2 and 3.3)."""
