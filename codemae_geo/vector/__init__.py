"""Polygons and per-building tables from class rasters, as GeoPackages that open styled in QGIS."""
