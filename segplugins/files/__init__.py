"""One place per file format: bytes on disk to typed records, without running code from them."""
