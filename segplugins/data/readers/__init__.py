"""From typed records of files to records of the catalog, one module per kind of source."""
